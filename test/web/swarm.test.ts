// What the pages make of the swarm's words: snapshots, verdicts, runs of layers, records of answers. All pure.
import { expect, test } from 'vitest'
import type { Notice } from '../../protocol/peer/machine.ts'
import type { AnswerReceipt } from '../../protocol/peer/receipt.ts'
import { repairText, verdictText } from '../../web/chat/route-text.ts'
import { swarmIsFaster, targetOf } from '../../web/chat/where.ts'
import { embedSnippet, inviteLink, newInvitation } from '../../web/home/invite.ts'
import { invitationOf } from '../../web/peer/mesh-config.ts'
import { coverageOf, holesOf, type ModelRow, parseSnapshot } from '../../web/peer/snapshot.ts'
import { emptySwarmAnswer, swarmAnswerOf, withNotice } from '../../web/peer/swarm-answer.ts'
import { verdictOf } from '../../web/peer/verdict.ts'
import { lanesOf, runsOf } from '../../web/swarm/runs.ts'

const key = (letter: string): string => letter.repeat(64)
const host = (peer: string, from: number, to: number, state = 'serving') => ({ peer: key(peer), from, to, state, tokensPerSecond: 10, slotsFree: 2 })
const model = (change: object = {}) => ({
  id: key('a'),
  title: 'Model',
  layers: 6,
  bytes: 1e9,
  hosts: [host('1', 0, 4), host('2', 2, 6)],
  runnable: true,
  tokensPerSecond: 12.34,
  slotsFree: 3,
  queue: 0,
  ...change,
})
const row = (change: object = {}): ModelRow => parseSnapshot({ models: [model(change)] })!.models[0]

test('a snapshot counts coverage and gaps itself, from hosts that serve', () => {
  const read = row({ hosts: [host('1', 0, 2), host('2', 1, 3), host('3', 4, 5, 'joining'), host('4', 5, 6)], bytesMissing: 5e8 })
  expect(read.coverage).toEqual([1, 2, 1, 0, 0, 1])
  expect(read.holes).toEqual([[3, 5]])
  expect(read.runnable).toBe(false)
  expect(read.bytesMissing).toBe(5e8)
  expect(coverageOf([], 2)).toEqual([0, 0])
  expect(holesOf([1, 1])).toEqual([])
})

test.each([
  ['nothing', null],
  ['a list', []],
  ['models that are no list', { models: 5 }],
])('%s is no snapshot', (_what, json) => {
  expect(parseSnapshot(json)).toBe(null)
})

test('rows that make no sense are dropped, the others stay', () => {
  const bad = [host('1', -1, 2), host('1', 0, 7), host('1', 3, 3), host('1', 0.5, 2), { ...host('1', 0, 2), peer: 'x' }, null, host('2', 0, 6)]
  expect(row({ hosts: bad }).hosts.map((one) => one.peer)).toEqual([key('2')])
  expect(parseSnapshot({ models: [{}, null, model({ layers: 0 }), model({ layers: 1e9 }), model({ id: 'f' })] })!.models).toEqual([])
  expect(row({ tokensPerSecond: Number.NaN, slotsFree: -1, queue: 'x', title: 5 })).toMatchObject({
    tokensPerSecond: null,
    slotsFree: null,
    queue: 0,
    title: key('a').slice(0, 12),
  })
})

test.each([
  [{}, 'now', 'Runs now, about 12 tokens/s; 3 places free.'],
  [{ tokensPerSecond: 3.21, slotsFree: 1 }, 'now', 'Runs now, about 3.2 tokens/s; 1 place free.'],
  [{ slotsFree: 0, queue: 2 }, 'wait', 'All places are taken: you would be number 3 in the queue, about 12 tokens/s.'],
  [{ slotsFree: 0 }, 'wait', 'All places are taken: you would be first in the queue, about 12 tokens/s.'],
  [{ hosts: [], bytesMissing: 2.5e9 }, 'no', 'Nobody lends a device for it yet. It needs 2.5 GB more of lent memory.'],
  [{ hosts: [host('1', 0, 3), host('2', 4, 6)], bytesMissing: 5e8 }, 'no', 'Layer 3 has no host. It needs 500 MB more of lent memory.'],
  [{ hosts: [host('1', 2, 4)] }, 'no', 'Layers 0–1, 4–5 have no host.'],
  [{ runnable: false }, 'no', 'Every layer has a host, but no route leads through them now.'],
])('whether a model can run now is one sentence: %o', (change, can, text) => {
  expect(verdictOf(row(change))).toMatchObject({ can, text })
})

test('runs join neighbouring layers with the same hosts, and lanes begin with the first layers', () => {
  expect(runsOf(row())).toEqual([
    { from: 0, to: 2, peers: [key('1')] },
    { from: 2, to: 4, peers: [key('1'), key('2')] },
    { from: 4, to: 6, peers: [key('2')] },
  ])
  expect(runsOf(row({ hosts: [] }))).toEqual([{ from: 0, to: 6, peers: [] }])
  expect(lanesOf(row({ hosts: [host('3', 3, 6), host('2', 0, 2), host('1', 0, 6)] }).hosts).map((one) => one.peer[0])).toEqual(['1', '2', '3'])
})

test('who answers follows the choice, what is here and what runs', () => {
  const here = key('a')
  const there = key('b')
  const runs = [row(), row({ id: there })]
  const gaps = [row({ hosts: [] })]
  expect(targetOf('local', null, null, runs)).toBe(null)
  expect(targetOf('local', here, null, [])).toEqual({ place: 'local', modelId: here, swarmToo: false })
  expect(targetOf('swarm', here, null, gaps)).toBe(null)
  expect(targetOf('swarm', null, there, runs)).toMatchObject({ place: 'swarm', modelId: there })
  expect(targetOf('swarm', null, key('c'), runs)).toMatchObject({ place: 'swarm', modelId: here })
  expect(targetOf('auto', here, here, runs)).toEqual({ place: 'local', modelId: here, swarmToo: true })
  expect(targetOf('auto', here, there, runs)).toMatchObject({ place: 'swarm', modelId: there })
  expect(targetOf('auto', here, there, gaps)).toEqual({ place: 'local', modelId: here, swarmToo: false })
  expect(targetOf('auto', null, null, runs)).toMatchObject({ place: 'swarm', modelId: here })
  expect(targetOf('auto', null, null, gaps)).toBe(null)
  expect(swarmIsFaster(30, 20)).toBe(true)
  expect(swarmIsFaster(29, 20)).toBe(false)
  expect(swarmIsFaster(null, 20)).toBe(false)
})

type AskNotice = Extract<Notice, { of: 'ask' }>
const link = (peer: string, from: number, to: number) => ({ peer: key(peer), from, to })
const told = (...notices: AskNotice[]) => notices.reduce(withNotice, emptySwarmAnswer())

test('an answer’s record sums the rounds of each host, keeps who left, and ends with the receipt', () => {
  const receipt = { version: 1, session: '0'.repeat(32), question: { modelId: key('a') }, tokens: [1], hosts: [] } as unknown as AnswerReceipt
  const record = told(
    { of: 'ask', what: 'route', ask: 1, epoch: 0, chain: [link('1', 0, 3), link('2', 3, 6)], tokenMs: 10 },
    {
      of: 'ask',
      what: 'round',
      ask: 1,
      rows: 1,
      accepted: 1,
      roundMs: 10,
      hops: [
        { waitMs: 1, computeMs: 4 },
        { waitMs: 0, computeMs: 5 },
      ],
    },
    {
      of: 'ask',
      what: 'round',
      ask: 1,
      rows: 5,
      accepted: 4,
      roundMs: 20,
      hops: [
        { waitMs: 3, computeMs: 6 },
        { waitMs: 0, computeMs: 7 },
      ],
    },
    { of: 'ask', what: 'repaired', ask: 1, lost: [key('2')], reason: 'the connection broke', stallMs: 840 },
    { of: 'ask', what: 'route', ask: 1, epoch: 1, chain: [link('1', 0, 3), link('3', 3, 6)], tokenMs: 10 },
    { of: 'ask', what: 'receipt', ask: 1, receipt },
  )
  expect(record).toEqual({
    hops: [
      { ...link('1', 0, 3), waitMs: 4, computeMs: 10, rounds: 2 },
      { ...link('3', 3, 6), waitMs: 0, computeMs: 0, rounds: 0 },
    ],
    left: [link('2', 3, 6)],
    repairs: [{ lost: [key('2')], reason: 'the connection broke', stallMs: 840 }],
    rounds: 2,
    roundMs: 30,
    guesses: 4,
    guessed: 3,
    receipt,
    payment: null,
  })
  expect(repairText(record.repairs[0])).toBe('22222222 was lost (the connection broke); others went on with the very same text after 840 ms.')
  expect(swarmAnswerOf(JSON.parse(JSON.stringify(record)))).toEqual(record)
})

test('a record from a file keeps what makes sense of it', () => {
  expect(swarmAnswerOf(null)).toBe(null)
  expect(swarmAnswerOf({ hops: [5, { peer: 'x' }], repairs: [{}], rounds: -1, receipt: { version: 2 } })).toEqual({
    ...emptySwarmAnswer(),
    repairs: [{ lost: [], reason: '', stallMs: 0 }],
  })
})

test('what a check found is said with the first difference and the names of those whose signatures are wrong', () => {
  const right = { peer: key('1'), from: 0, to: 3, verdict: 'right' as const, why: '' }
  const wrong = { peer: key('2'), from: 3, to: 6, verdict: 'wrong' as const, why: '' }
  expect(verdictText({ equal: true, firstDifference: null, hosts: [right], named: [], faults: [] }, 40)).toBe(
    'The same here: all 40 tokens, and every number that went from host to host.',
  )
  expect(verdictText({ equal: false, firstDifference: { index: 16, token: 1, expected: 2 }, hosts: [right, wrong], named: [key('2')], faults: [] }, 40)).toBe(
    'The answer first differs at token 17 of 40. 22222222 (layers 3–5) got the right numbers and signed for wrong ones.',
  )
  expect(verdictText({ equal: false, firstDifference: null, hosts: [], named: [], faults: ['nobody signed for layer 0'] }, 1)).toBe(
    'Nobody signed for layer 0. The words themselves are right.',
  )
})

test('an invitation’s link leads back to its secret, which no server is sent', () => {
  const secret = newInvitation()
  expect(secret).toMatch(/^[0-9a-f]{32}$/)
  const url = new URL(inviteLink('http://localhost:8787', 'chat', secret))
  expect(invitationOf(url.hash)).toBe(secret)
  expect(url.pathname + url.search).toBe('/chat/')
  expect(inviteLink('http://localhost:8787', 'contribute', null)).toBe('http://localhost:8787/contribute/')
  expect(embedSnippet('http://localhost:8787', 'chat')).toBe('<script src="http://localhost:8787/embed/v1.js" data-meadow="chat"></script>')
})
