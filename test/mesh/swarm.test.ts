import { expect, test } from 'vitest'
import { swarmTable } from '../../mesh/swarm.ts'
import type { ModelFacts } from '../../protocol/peer/machine.ts'
import type { Presence } from '../../protocol/peer/presence.ts'

const modelId = 'ab'.repeat(32)
const facts: ModelFacts = {
  modelId,
  name: 'Six',
  layers: 6,
  hidden: 32,
  vocab: 100,
  context: 512,
  tied: false,
  embedBytes: 1000,
  layerBytes: [10, 20, 30, 40, 50, 60],
  headBytes: 2000,
  positionBytes: 64,
}
const known = [{ facts, title: 'Six Layers' }]

function host(name: string, from: number, to: number, change: Partial<Presence['held'][number]> = {}, more: Partial<Presence> = {}): Presence {
  return {
    version: 1,
    network: 'main',
    peer: name.repeat(64),
    boot: 1,
    sequence: 1,
    state: 'serving',
    throttled: false,
    ttlMs: 90_000,
    addresses: ['/ip4/127.0.0.1/tcp/1/ws'],
    near: [],
    pay: null,
    held: [
      {
        modelId,
        layers: 6,
        from,
        to,
        ready: true,
        stepUs: 2000,
        rowUs: 500,
        freePositions: 10_000,
        sessions: 1,
        sessionsMax: 4,
        load: 250,
        ...change,
      },
    ],
    ...more,
  }
}

test('a model that nobody holds is listed as one hole of all its bytes', () => {
  const { models, peers, hosts } = swarmTable('main', [], known)
  expect({ peers, hosts }).toEqual({ peers: 0, hosts: 0 })
  expect(models).toMatchObject([
    { id: modelId, title: 'Six Layers', holes: [[0, 6]], runnable: false, bytesMissing: 3210, slotsFree: 0, tokensPerSecond: null },
  ])
})

test('layers are counted per host, what loads or leaves is not coverage, and holes are ranges', () => {
  const table = swarmTable('main', [host('a', 0, 2), host('b', 1, 3), host('c', 4, 6, { ready: false }), host('d', 3, 4, {}, { state: 'draining' })], known)
  expect(table.models[0]).toMatchObject({
    coverage: [1, 2, 1, 0, 0, 0],
    joining: [0, 0, 0, 0, 1, 1],
    holes: [[3, 6]],
    runnable: false,
    hosts: [{ from: 0 }, { from: 1 }, { from: 3, state: 'draining', slotsFree: 0 }, { from: 4, state: 'joining', slotsFree: 0 }],
  })
})

test('a covered model tells how many may begin and how fast one answer would be', () => {
  const table = swarmTable('main', [host('a', 0, 3), host('b', 3, 6, { sessions: 3 })], known)
  const [model] = table.models
  expect(model).toMatchObject({ runnable: true, holes: [], bytesMissing: 0 })
  expect(model!.slotsFree).toBeGreaterThan(0)
  expect(model!.tokensPerSecond).toBeGreaterThan(0)
  expect(model!.hosts.every((one) => one.tokensPerSecond === 500 && !one.tab)).toBe(true)
})

test('a record cannot change how many layers a known model has, nor can an idle peer be a host', () => {
  const table = swarmTable('main', [host('a', 0, 6, { layers: 12 }), host('b', 0, 6, {}, { state: 'idle' })], known)
  expect(table).toMatchObject({ peers: 2, models: [{ layers: 6, hosts: [], holes: [[0, 6]] }] })
})

test('who is reached through signalling alone is called a tab', () => {
  const table = swarmTable(
    'main',
    [host('a', 0, 6, {}, { addresses: ['/p2p/12D3KooWQWNMDczeEP6Lki3H1AvmvJFbZ1TZuekp7PmmRHAcVevm/p2p-circuit/webrtc'] })],
    known,
  )
  expect(table.models[0]!.hosts[0]!.tab).toBe(true)
})
