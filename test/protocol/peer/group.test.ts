// Private groups: members serve and ask among themselves; who has no secret neither sees nor can ask them, even with their keys, addresses and overheard greetings.
import { expect, test } from 'vitest'
import { hex, sha256 } from '../../../protocol/hash.ts'
import { decodeMessage, encodeMessage, type Message, signOpen } from '../../../protocol/peer/messages.ts'
import { inputHashOf } from '../../../protocol/peer/receipt.ts'
import type { Node } from '../../sim/world.ts'
import { alone, ask, facts, lending, mesh, question } from './mesh.ts'

const invitation = sha256(new TextEncoder().encode('meadow in may')).slice(0, 16)
const otherInvitation = sha256(new TextEncoder().encode('meadow in june')).slice(0, 16)

function group() {
  // Members hold a third each; strangers hold the same, and would serve anyone.
  const m = mesh(
    [0, 1, 2, 0, 1, 2].map((third) => [third * 2, third * 2 + 2] as [number, number]),
    { node: (index) => (index < 3 ? { invitation } : {}), wait: false },
  )
  const members = m.hosts.slice(0, 3)
  const strangers = m.hosts.slice(3)
  const member = m.world.add('member', { invitation })
  const wrong = m.world.add('wrong', { invitation: otherInvitation })
  const relay = m.world.add('relay', { tells: true })
  for (const node of [...m.hosts, member, wrong, m.asker]) m.world.link(node, relay)
  const ready = (node: Node): number => node.peer.table.all().filter((one) => one.held.some((held) => held.ready)).length
  m.world.run(120_000, () => ready(member) === 3 && ready(m.asker) === 3)
  return { m, members, strangers, member, wrong, relay }
}

test('members see and use members only, strangers see and use strangers only', async () => {
  const { m, members, strangers, member, wrong, relay } = group()
  const keys = (nodes: Node[]): string[] => nodes.map((node) => node.key).sort()
  const seen = (node: Node): string[] =>
    node.peer.table
      .all()
      .map((one) => one.peer)
      .sort()
  expect(seen(member)).toEqual(keys(members))
  expect(seen(m.asker)).toEqual(keys(strangers))
  expect(seen(relay)).toEqual(keys(strangers))
  expect(seen(wrong)).toEqual([])
  const truth = (await alone(question())).tokens
  for (const [asker, hosts] of [
    [member, members],
    [members[0], members],
    [m.asker, strangers],
  ] as const) {
    const got = ask(m, question(), { asker })
    expect(got.tokens).toEqual(truth)
    expect(got.receipt!.hosts.map((host) => host.peer).sort()).toEqual(keys([...hosts]))
  }
  // Of another group, and alone in it: nobody is there, however many are around.
  expect(ask(m, question(), { asker: wrong }).failed).toMatchObject({ reason: 'nobody' })
  // With the members gone a member has nobody either.
  for (const one of members) m.world.kill(one)
  expect(ask(m, question(), { asker: member }).failed).toMatchObject({ reason: 'nobody' })
})

test('who knows where a member is and what members said when they met is still not let in', () => {
  const { m, members, member } = group()
  const overheard: Uint8Array[] = []
  m.world.onFrame = (_from, to, bytes) => {
    if (to === members[0] && decodeMessage(bytes).kind === 'hello') overheard.push(bytes.slice())
    return true
  }
  expect(ask(m, question(), { asker: member }).tokens.length).toBe(64)
  expect(overheard.length).toBeGreaterThan(0)
  const [host] = members
  const answers: Message[] = []
  const intruder = m.world.add('intruder')
  m.world.link(intruder, host)
  m.world.onFrame = (from, to, bytes) => {
    if (from === host && to === intruder) answers.push(decodeMessage(bytes))
    return true
  }
  // Its own machine is bypassed: it says what it likes.
  const say = (bytes: Uint8Array): void => m.world.step(host, { kind: 'frame', peer: intruder.key, bytes })
  const q = question()
  const open = signOpen(sha256(new TextEncoder().encode('secret intruder')).slice(), {
    session: '11'.repeat(16),
    epoch: 1,
    requester: intruder.key,
    modelId: facts.modelId,
    chain: [{ peer: host.key, from: 0, to: 2, addresses: [] }],
    input: hex(inputHashOf(q)),
    sampler: q.sampler,
    seed: q.seed,
    maxTokens: q.maxTokens,
    stopIds: [],
    promptLength: q.prompt.length,
    draft: false,
    terms: null,
  })
  for (const hello of [encodeMessage({ kind: 'hello', version: 1, group: null, tells: false }), ...overheard]) {
    say(hello)
    say(encodeMessage(open))
    say(encodeMessage({ kind: 'askPresence' }))
    m.world.run(2000)
  }
  // A greeting came, as to anyone; nothing after it.
  expect(answers.filter((one) => one.kind !== 'hello')).toEqual([])
  expect(host.notices.some((notice) => notice.of === 'host' && notice.what === 'opened' && notice.peer === intruder.key)).toBe(false)
  expect(host.peer.connected).not.toContain(intruder.key)
})

test('a member serves strangers nothing while it lends to its group, and the other way round', () => {
  const { m, members } = group()
  // The same device outside its group: only its own key is the same.
  m.world.step(members[0], { kind: 'lend', lending: lending(0, 2, { friends: [m.asker.key] }) })
  m.world.link(m.asker, members[0])
  m.world.run(5000)
  expect(m.asker.peer.connected).not.toContain(members[0].key)
  expect(m.asker.peer.table.get(members[0].key)).toBeUndefined()
})
