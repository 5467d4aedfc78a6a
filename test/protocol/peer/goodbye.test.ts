import { expect, test } from 'vitest'
import { encodeMessage } from '../../../protocol/peer/messages.ts'
import { ask, mesh, question } from './mesh.ts'

test('a goodbye reaches everyone though the gossip of who goes reaches nobody any more', () => {
  const m = mesh([
    [0, 6],
    [0, 6],
  ])
  const relay = m.world.add('relay', { tells: true })
  for (const node of [...m.hosts, m.asker]) m.world.link(node, relay)
  m.world.run(1000)
  const [host] = m.hosts
  // Its stream to the relay broke; the connection itself was renewed.
  host.bend = (action) => (action.kind === 'publish' ? [] : [action])
  expect(m.asker.peer.table.get(host.key)).toBeDefined()
  m.world.step(host, { kind: 'leave' })
  // What was written before the connections ended arrives.
  m.world.run(20)
  m.world.kill(host)
  m.world.run(1000)
  for (const node of [m.asker, relay, m.hosts[1]]) expect(node.peer.table.get(host.key)).toBeUndefined()
  expect(ask(m, question()).tokens.length).toBe(64)
})

test('a relay that begins anew hears of its peers from themselves, at once', () => {
  const m = mesh([[0, 6]])
  const relay = m.world.add('relay', { tells: true })
  expect(relay.peer.table.size).toBe(0)
  m.world.link(m.hosts[0], relay)
  m.world.run(500)
  expect(relay.peer.table.get(m.hosts[0].key)?.state).toBe('serving')
})

test('nobody may tell of others unasked', () => {
  const m = mesh([[0, 6]])
  const liar = m.world.add('liar')
  m.world.link(liar, m.hosts[0])
  m.world.run(1000)
  const { bytes } = m.hosts[0].peer.table.records()[0]
  const before = m.asker.notices.length
  m.world.link(liar, m.asker)
  m.world.run(1000)
  m.world.step(m.asker, {
    kind: 'frame',
    peer: liar.key,
    bytes: encodeMessage({ kind: 'presences', records: [{ ageMs: 0, bytes }] }),
  })
  expect(m.asker.notices.slice(before).some((notice) => notice.of === 'mesh' && notice.what === 'misbehaved' && notice.peer === liar.key)).toBe(true)
})
