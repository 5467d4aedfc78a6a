import { expect, test } from 'vitest'
import { sessionIdOf } from '../../ledger/names.ts'
import { keyOf } from '../../ledger/records.ts'
import { verify } from '../../ledger/tree.ts'
import { equalBytes } from '../../protocol/hash.ts'
import { credit, day, World, word } from './world.ts'

test('a transfer moves money, pays its fee and counts the nonce', () => {
  const world = new World()
  const before = { ann: world.account('ann').balance, bob: world.account('bob').balance }
  world.send('ann', 'transfer', { to: world.who('bob').id, amount: 5n * credit, note: new Uint8Array(0) })
  world.block()
  const fee = before.ann - 5n * credit - world.account('ann').balance
  expect(fee).toBeGreaterThan(200n)
  expect(fee).toBeLessThan(500n)
  expect(world.account('bob').balance).toBe(before.bob + 5n * credit)
  expect(world.account('ann').nonce).toBe(1)
  expect(world.chain.state.must(keyOf.money).burned).toBe(fee - fee / 2n)
})

test('records and their absence are proven under the root', () => {
  const world = new World()
  world.send('ann', 'transfer', { to: word('somebody'), amount: 1n, note: new Uint8Array(0) })
  const root = world.block()
  const key = keyOf.account(word('somebody'))
  const { value, proof } = world.chain.state.prove(key)
  expect(verify(root, key, value, proof)).toBe(true)
  expect(verify(root, key, null, proof)).toBe(false)
  const absent = keyOf.account(word('nobody'))
  const shown = world.chain.state.prove(absent)
  expect(shown.value).toBe(null)
  expect(verify(root, absent, null, shown.proof)).toBe(true)
})

test('a session is paid by vouchers, held through the window, then split by layers', () => {
  const world = new World()
  const model = world.registerModel()
  world.send('ann', 'channel.open', { number: 0, deposit: 10n * credit })
  const terms = {
    model,
    hosts: [
      { account: world.who('bob').id, from: 0, to: 3 },
      { account: world.who('cat').id, from: 3, to: 4 },
    ],
    limit: 2n * credit,
    untilMs: world.timeMs + day,
  }
  world.block()
  const annBefore = world.account('ann').balance
  world.send('bob', 'channel.settle', world.voucher('ann', 0, terms, credit / 2n, false))
  expect(world.chain.state.must(keyOf.channel(world.who('ann').id, 0)).deposit).toBe(8n * credit)
  world.send('cat', 'channel.settle', world.voucher('ann', 0, terms, credit, true, false))
  // Two hosts: the other one has ten minutes to show a better voucher.
  expect(world.chain.state.must(keyOf.channel(world.who('ann').id, 0)).deposit).toBe(8n * credit)
  world.pass(600_000)
  expect(world.chain.state.must(keyOf.channel(world.who('ann').id, 0)).deposit).toBe(9n * credit)
  const id = sessionIdOf(world.name, world.who('ann').id, 0, 0)
  const session = world.chain.state.must(keyOf.session(id))
  expect(session.open).toBe(false)
  expect(session.held).toBeLessThan(credit)
  world.pass(day - 10_000)
  expect(world.account('bob').balance).toBe(10_000n * credit)
  world.pass(20_000)
  const bob = world.account('bob').balance - 10_000n * credit
  const cat = world.account('cat').balance - 10_000n * credit
  expect(bob).toBeGreaterThan(session.held / 3n)
  expect(bob / 3n).toBe(cat)
  expect(world.account('ann').balance).toBe(annBefore)
  world.send('ann', 'channel.close', { owner: world.who('ann').id, number: 0, session: null })
  world.pass(day)
  world.send('ann', 'channel.reclaim', { number: 0 })
  world.block()
  expect(world.account('ann').balance).toBeGreaterThan(annBefore + 9n * credit - 2000n)
  expect(equalBytes(id, sessionIdOf(world.name, world.who('ann').id, 0, 0))).toBe(true)
})
