// Paid sessions over the mesh, from the quote to the ledger: the machines and the state machine themselves, only engines and network are toys.
import { expect, test } from 'vitest'
import { claimOf, recordsOf } from '../../../ledger/claims.ts'
import { sessionIdOf } from '../../../ledger/names.ts'
import { endingOf } from '../../../ledger/pay.ts'
import { decodeReceiptClaim, encodeReceiptClaim, receiptBytes, receiptsRoot } from '../../../ledger/receipt.ts'
import { keyOf } from '../../../ledger/records.ts'
import { decodeKept, decodeVoucher } from '../../../ledger/session.ts'
import { fromHex, hex } from '../../../protocol/hash.ts'
import { verify } from '../../../protocol/keys.ts'
import { decodeMessage, encodeMessage, type MessageOf } from '../../../protocol/peer/messages.ts'
import { tokenKeyOf } from '../../../protocol/peer/payment.ts'
import type { Node } from '../../sim/world.ts'
import { alone, ask, leftovers, lending, mesh, question as plain, start } from './mesh.ts'
import { type Money, money } from './money.ts'

const thirds: [number, number][] = [
  [0, 1],
  [1, 3],
  [3, 4],
]
const question = (m: Money, change = {}) => plain({ modelId: m.facts.modelId, ...change })
const asked = (m: Money, change = {}, options = {}) => ask(m.mesh, question(m, change), { model: m.facts, payer: m.payer(), ...options })
const truthOf = (m: Money, change = {}) => alone(question(m, change), m.facts)
const sessionOf = (m: Money, number: number) => m.ledger.chain.state.get(keyOf.session(sessionIdOf(m.ledger.name, m.ledger.who('ann').id, 0, number)))

const depositOf = (m: Money): bigint => m.ledger.chain.state.must(keyOf.channel(m.ledger.who('ann').id, 0)).deposit

test('an answer is paid token by token, every host holds the last voucher and all words when it ends, and any of them ends the session at once', async () => {
  const m = money(thirds)
  const got = asked(m)
  expect(got.tokens).toEqual((await truthOf(m)).tokens)
  expect(got.paid).toMatchObject({ paid: Number(m.cost(64)), limit: Number(m.cost(200)), tokens: 64 })
  m.mesh.world.run(1000)
  for (const host of m.mesh.hosts) {
    const kept = decodeKept([...host.vault.values()][0]!)
    expect(kept.voucher).toMatchObject({ amount: m.cost(64), last: true })
    expect(kept.ends).toHaveLength(3)
    expect(host.settled.size).toBe(1)
  }
  const before = m.ledger.account('ann')
  expect(m.settle()).toEqual(['accepted', 'phase', 'phase'])
  expect(sessionOf(m, 0)).toMatchObject({ open: false, reserved: 0n, settled: m.cost(64) })
  expect(depositOf(m)).toBe(100_000_000n - m.cost(64))
  expect(m.ledger.account('ann')).toEqual(before)
  expect(leftovers(m.mesh)).toBe(0)
})

/** A question that may have 200 tokens and stops before. */
const brief = async (m: Money) => ({ maxTokens: 200, stopIds: [(await truthOf(m)).tokens[40]!] })

test('a host that does not say that a session ends costs its requester ten minutes, and nobody else anything', async () => {
  for (const way of ['silent', 'forged'] as const) {
    const m = money(thirds)
    frames(m, 'end', (message, from) =>
      from !== m.mesh.hosts[1] ? message : way === 'silent' ? null : { ...message, end: message.end.with(9, message.end[9]! ^ 1) },
    )
    const cost = BigInt(asked(m, await brief(m)).paid!.paid)
    expect(cost).toBeLessThan(m.cost(64))
    m.mesh.world.run(2500)
    expect(m.mesh.hosts.map((host) => host.settled.size)).toEqual([1, 1, 1])
    expect(m.ended.size).toBe(0)
    expect(m.settle()).toEqual(['accepted', 'stale', 'stale'])
    expect(sessionOf(m, 0)).toMatchObject({ open: true, settled: cost, reserved: m.cost(200) - cost })
    m.ledger.pass(m.ledger.chain.parameters.sessionGraceMs)
    expect(sessionOf(m, 0)).toMatchObject({ open: false, reserved: 0n })
    expect(depositOf(m)).toBe(100_000_000n - cost)
  }
})

test('words that a requester makes up are worth nothing, and count against it', () => {
  const m = money(thirds)
  frames(m, 'ended', (message) => ({ ...message, ends: message.ends.toReversed() }))
  asked(m)
  m.mesh.world.run(2500)
  for (const host of m.mesh.hosts) {
    expect(decodeKept([...host.vault.values()][0]!).ends).toHaveLength(0)
    expect(host.notices.some((one) => one.of === 'mesh' && one.what === 'misbehaved')).toBe(true)
  }
})

test('the owner ends with the same words what hosts have settled one by one, or not at all', async () => {
  for (const settled of [true, false]) {
    const m = money(thirds)
    frames(m, 'ended', () => null)
    const cost = BigInt(asked(m, await brief(m)).paid!.paid)
    m.mesh.world.run(2500)
    if (settled) expect(m.settle()).toEqual(['accepted', 'stale', 'stale'])
    const { session, voucher, ends } = decodeKept(m.ended.get(0)!)
    const before = depositOf(m)
    const body = endingOf(session, voucher, ends, m.ledger.who('ann').id, settled)
    const events = m.ledger.submit(m.ledger.sign('ann', body))
    expect(sessionOf(m, 0)).toMatchObject({ open: false, reserved: 0n, settled: cost })
    const back = events.find((one) => one.type === 'ended')!.amount
    if (settled) expect(depositOf(m)).toBe(before + back)
    else expect(back).toBe(m.cost(200) - cost)
    m.ledger.block()
    if (!settled) expect(m.settle()).toEqual(['phase', 'phase', 'phase'])
  }
})

test('hosts sign claims about the whole answer with the records of their rows, and the last voucher names them', () => {
  const m = money(thirds)
  const got = asked(m, { sampler: plain().sampler, maxTokens: 20 })
  const [leg] = got.receipt!.payments!
  const session = fromHex(leg!.session)
  expect(leg!.claims.map(({ from, to }) => [from, to])).toEqual(thirds)
  const tokenKey = tokenKeyOf(got.receipt!.session, m.mesh.asker.key)
  expect(leg!.tokenKey).toBe(hex(tokenKey))
  const { question: q, tokens, stop } = got.receipt!
  for (const [i, { account, claim, signature, records }] of leg!.claims.entries()) {
    const said = decodeReceiptClaim(fromHex(claim))
    const rows = recordsOf(session, i, fromHex(records), q.prompt.length, i === 2 ? tokens : null)
    expect(rows.list).toHaveLength(q.prompt.length + 20 - 1)
    expect(said).toEqual(decodeReceiptClaim(encodeReceiptClaim(claimOf(session, i, { ...q, tokens, stop, tokenKey }, rows.root))))
    expect(verify(fromHex(account), 'receipt', receiptBytes(m.ledger.name, fromHex(claim)), fromHex(signature))).toBe(true)
    // What one host sent is what the next one got.
    if (i > 0) {
      const previous = recordsOf(session, i - 1, fromHex(leg!.claims[i - 1]!.records), q.prompt.length, null)
      for (let p = 0; p < rows.list.length; p++) expect(hex(rows.inRoot(p))).toBe(hex(previous.outRoot(p)))
    }
  }
  expect(leg!.receipt).toBe(hex(receiptsRoot(leg!.claims.map((one) => fromHex(one.claim)))))
})

test('claims hold with guesses, sampling and a long prompt too', () => {
  for (const seed of [1, 2, 3]) {
    const m = money(thirds, { seed })
    const prompt = Array.from({ length: 300 }, (_, i) => i & 31)
    const got = asked(m, { prompt, seed, maxTokens: 50 })
    expect(got.receipt!.payments![0]!.claims.every(({ claim }) => claim !== '')).toBe(true)
    expect(got.paid!.paid).toBe(Number(m.cost(50)))
  }
})

test('a whole-model host is paid and signs as well', () => {
  const m = money([[0, 4]])
  const got = asked(m)
  expect(got.paid!.paid).toBe(Number(m.cost(64, 1)))
  expect(got.receipt!.payments![0]!.claims).toHaveLength(1)
  expect(m.settle()).toEqual(['accepted'])
  // Alone it ends at once: the unused part is back in the channel.
  expect(sessionOf(m, 0)).toMatchObject({ open: false, reserved: 0n })
})

/** Frames of a kind from one node, as they go out. */
function frames<K extends 'voucher' | 'open' | 'tokens' | 'end' | 'ended'>(
  m: Money,
  kind: K,
  change: (message: MessageOf<K>, from: Node, to: Node) => MessageOf<K> | null,
): void {
  const { world } = m.mesh
  for (const node of world.nodes.values()) {
    node.bend = (action) => {
      if (action.kind !== 'send') return [action]
      const message = decodeMessage(action.bytes)
      const to = world.nodes.get(action.peer)!
      if (message.kind !== kind) return [action]
      const changed = change(message as MessageOf<K>, node, to)
      return changed ? [{ ...action, bytes: encodeMessage(changed) }] : []
    }
  }
}

/** Answer tokens for which a host has computed rows. */
const computedBy = (host: Node): number => {
  const engine = [...host.engines.values()][0] as unknown as { longest: number }
  return engine.longest - plain().prompt.length + 1
}

test.each([10, 16, 32])('a requester that pays nothing gets at most %i tokens, however it guesses', (creditTokens) => {
  const m = money(thirds, { creditTokens })
  frames(m, 'voucher', () => null)
  const most = m.mesh.hosts.map(() => 0)
  const { world, hosts } = m.mesh
  const { got, of } = start(m.mesh, question(m, { maxTokens: 200 }), { model: m.facts, payer: m.payer() })
  world.run(7000, () => {
    for (const [i, host] of hosts.entries()) most[i] = Math.max(most[i]!, computedBy(host))
    return false
  })
  of()
  expect(got.tokens.length).toBeGreaterThanOrEqual(creditTokens - 9)
  expect(got.tokens.length).toBeLessThanOrEqual(creditTokens)
  for (const one of most) expect(one).toBeLessThanOrEqual(creditTokens)
  expect(hosts.every((host) => host.vault.size === 0)).toBe(true)
})

test('who leaves tokens unpaid once too often is not served on credit again', () => {
  const m = money(thirds, { creditTokens: 16 })
  for (const [i, host] of m.mesh.hosts.entries()) m.mesh.world.step(host, { kind: 'lend', lending: lending(...thirds[i]!, { paidOnly: true }, m.facts) })
  m.mesh.world.run(3000)
  frames(m, 'voucher', () => null)
  const got: number[] = []
  for (let i = 0; i < 8; i++) got.push(asked(m, { maxTokens: 200, prompt: [i + 1, 2, 3] }, { ms: 60_000 }).tokens.length)
  // Each is cut off at the credit; from the third on nobody begins.
  expect(got[0]).toBeGreaterThan(0)
  expect(got.at(-1)).toBe(0)
})

test('a voucher that is forged, stale, of another session or above the limit pays nothing, and the answer stops', () => {
  for (const bend of ['forged', 'stale', 'torn'] as const) {
    const m = money(thirds, { creditTokens: 16 })
    let first: MessageOf<'voucher'> | null = null
    frames(m, 'voucher', (message) => {
      first ??= message
      if (bend === 'stale') return { ...first }
      const voucher = message.voucher.slice()
      voucher[bend === 'forged' ? voucher.length - 1 : 3]! ^= 1
      return { ...message, voucher }
    })
    const { got, of } = start(m.mesh, question(m, { maxTokens: 200 }), { model: m.facts, payer: m.payer() })
    m.mesh.world.run(7000)
    of()
    expect(got.tokens.length).toBeLessThanOrEqual(bend === 'stale' ? 16 + decodeVoucherTokens(m, first!) : 16)
    for (const host of m.mesh.hosts) expect(host.vault.size).toBe(bend === 'stale' ? 1 : 0)
  }
})
const decodeVoucherTokens = (m: Money, message: MessageOf<'voucher'>): number => Number((decodeVoucher(message.voucher).amount - m.cost(0)) / 1000n)

test('vouchers that the network loses, doubles or reorders are made good: everything is paid in the end', () => {
  for (const seed of [1, 2, 3, 4]) {
    const m = money(thirds, { seed, net: { loss: 30_000, double: 30_000, reorder: 30_000 } })
    const got = asked(m, { maxTokens: 100 })
    expect(got.failed).toBeNull()
    expect(got.tokens).toHaveLength(100)
    expect(got.paid!.legs.reduce((sum, leg) => sum + leg.tokens, 0)).toBe(100)
  }
})

const six: [number, number][] = [...thirds, ...thirds]

test('a host that dies is paid for what came before: the answer goes on in a new session, and no token is paid twice', async () => {
  const truth = (await truthOf({ facts: money(six).facts } as Money)).tokens
  for (let at = 16; at < 54; at += 12) {
    const m = money(six)
    const { got, of } = start(m.mesh, question(m), { model: m.facts, payer: m.payer() })
    let dead: Node | null = null
    m.mesh.world.run(300_000, () => {
      if (!dead && got.tokens.length >= at) {
        const route = m.mesh.asker.notices.findLast((one) => one.of === 'ask' && one.what === 'route')
        const chain = route && 'chain' in route ? route.chain : []
        dead = m.mesh.hosts.find((host) => host.key === chain[1]?.peer) ?? null
        if (dead) m.mesh.world.kill(dead)
      }
      return got.receipt !== null || got.failed !== null
    })
    of()
    expect(got.tokens).toEqual(truth)
    const { legs, paid } = got.paid!
    expect({ at, dead: dead !== null, repairs: got.repairs, legs: legs.length }).toEqual({ at, dead: true, repairs: 1, legs: 2 })
    expect(legs[0]!.tokens + legs[1]!.tokens).toBe(64)
    expect(paid).toBe(Number(m.cost(legs[0]!.tokens) + m.cost(legs[1]!.tokens)))
    expect(legs[1]!.claims.every(({ claim }) => claim !== '')).toBe(true)
    // Only the dead one comes back, with what its disk has.
    // Killed so early that its first voucher never reached its disk.
    if (dead!.vault.size === 0) continue
    const kept = decodeKept([...dead!.vault.values()][0]!)
    const firstTokens = Number((kept.voucher.amount - m.cost(0)) / 1000n)
    expect(firstTokens).toBeGreaterThan(0)
    expect(legs[0]!.tokens - firstTokens).toBeLessThanOrEqual(32)
    // The session of the dead one waits for the grace time: its word is missing.
    expect([...m.ended.keys()]).toEqual([1])
    expect(m.settle([dead!])).toEqual(['accepted'])
    const survivors = m.mesh.hosts.filter((host) => host !== dead && host.vault.size > 0)
    expect(m.settle(survivors).filter((code) => code === 'accepted').length).toBeGreaterThanOrEqual(2)
    expect(sessionOf(m, 0)!.settled + sessionOf(m, 1)!.settled).toBe(BigInt(paid))
  }
})

test('a ring that falls asleep and is woken goes on in the same session', () => {
  const m = money(thirds)
  const { world, asker, hosts } = m.mesh
  const { got, of } = start(m.mesh, question(m), { model: m.facts, payer: m.payer() })
  world.run(60_000, () => got.tokens.length > 20)
  world.part(hosts[0]!, hosts[1]!, true)
  world.run(4000)
  world.part(hosts[0]!, hosts[1]!, false)
  world.run(300_000, () => got.receipt !== null || got.failed !== null)
  of()
  expect(asker.notices.some((one) => one.of === 'ask' && one.what === 'repaired')).toBe(true)
  expect(got.paid!.legs).toHaveLength(1)
  expect(got.paid!.paid).toBe(Number(m.cost(64)))
})

test('a question that is cancelled pays for what came, and the rest of its limit is free', () => {
  const m = money(thirds)
  const { got, of, number } = start(m.mesh, question(m), { model: m.facts, payer: m.payer() })
  m.mesh.world.run(60_000, () => got.tokens.length >= 20)
  const tokens = got.tokens.length
  m.mesh.world.step(m.mesh.asker, { kind: 'cancel', ask: number })
  m.mesh.world.run(10_000)
  of()
  expect(m.promised.get(0)).toBe(m.cost(tokens))
  for (const host of m.mesh.hosts) expect(decodeKept([...host.vault.values()][0]!).voucher).toMatchObject({ amount: m.cost(tokens), last: true })
  // Hosts have said so too, after the question was over: what it did not use is back with the settlement.
  expect(m.settle()).toEqual(['accepted', 'phase', 'phase'])
  expect(depositOf(m)).toBe(100_000_000n - m.cost(tokens))
})

test('hosts that take no payment serve a paying requester for nothing, when nobody else does', () => {
  const m = money(thirds, { free: [0, 1, 2] })
  const got = asked(m)
  expect(got.tokens).toHaveLength(64)
  expect(got.paid).toBeNull()
  expect(m.mesh.asker.notices.some((one) => one.of === 'ask' && one.what === 'unpaid')).toBe(true)
})

test('a host that wants pay refuses strangers who offer none, and serves its friends', () => {
  const m = money([[0, 4]])
  const host = m.mesh.hosts[0]!
  m.mesh.world.step(host, { kind: 'lend', lending: lending(0, 4, { paidOnly: true }, m.facts) })
  m.mesh.world.run(2000)
  const refused = ask(m.mesh, question(m), { model: m.facts, ms: 5000 })
  expect(refused.tokens).toHaveLength(0)
  expect(asked(m).tokens).toHaveLength(64)
  m.mesh.world.step(host, { kind: 'lend', lending: lending(0, 4, { paidOnly: true, friends: [m.mesh.asker.key] }, m.facts) })
  m.mesh.world.run(40_000)
  expect(ask(m.mesh, question(m), { model: m.facts }).tokens).toHaveLength(64)
})

test('terms that do not fit are refused: another account, a spent channel, a session the ledger knows, an old or foreign header', () => {
  // The channel holds less than the limit.
  const poor = money([[0, 4]], { deposit: 10_000n })
  expect(asked(poor, {}, { payer: poor.payer({ limit: poor.cost(200) }), ms: 30_000 }).paid).toBeNull()
  // A number that was used before.
  const m = money([[0, 4]])
  asked(m)
  m.settle()
  const again = asked(m, {}, { payer: m.payer({ numbers: [0] }), ms: 30_000 })
  expect(again.paid).toBeNull()
  // Signed by somebody else than the owner.
  const forged = money([[0, 4]])
  frames(forged, 'open', (open) => {
    if (!open.terms) return open
    const terms = open.terms.slice()
    terms[terms.length >> 1]! ^= 1
    return { ...open, terms }
  })
  expect(asked(forged, {}, { ms: 30_000 }).paid).toBeNull()
})

test('the limit is never passed: a ring that costs too much ends in free hands or not at all, and vouchers stop at it', () => {
  const m = money(thirds)
  const limit = m.cost(30)
  const got = asked(m, { maxTokens: 64 }, { payer: m.payer({ limit }) })
  const amounts = [...m.promised.values()]
  expect(amounts.every((amount) => amount <= limit)).toBe(true)
  expect(got.tokens.length).toBeGreaterThanOrEqual(30)
})

test('who pays goes first: a crowd that pays nothing waits behind', () => {
  const m = money([[0, 4]], { node: () => ({ rowsMax: 2 }) })
  const free = Array.from({ length: 4 }, (_, i) => start(m.mesh, question(m, { prompt: [i + 1], maxTokens: 60 }), { model: m.facts, draft: false }))
  const paid = start(m.mesh, question(m, { maxTokens: 60 }), { model: m.facts, draft: false, payer: m.payer() })
  m.mesh.world.run(60_000, () => paid.got.stop !== null)
  expect(paid.got.tokens).toHaveLength(60)
  for (const { got } of free) expect(got.tokens.length).toBeLessThan(60)
})

test('a paid question leaves the host alone whose claim fell on the ledger, while there is another', () => {
  const fell = (m: Money, i: number) => m.payer({ standing: (account) => ({ score: 0, lost: account === m.accounts[i] ? 1 : 0 }) })
  const two = money([
    [0, 4],
    [0, 4],
  ])
  for (let round = 0; round < 6; round++)
    expect(asked(two, {}, { payer: fell(two, round % 2) }).receipt!.payments![0]!.claims[0]!.account).toBe(two.accounts[1 - (round % 2)])
  const one = money([[0, 4]])
  expect(asked(one, {}, { payer: fell(one, 0) }).tokens).toHaveLength(64)
})

test('a mesh without a ledger is as it was', () => {
  const m = mesh([[0, 6]])
  const got = ask(m)
  expect(got.receipt).not.toHaveProperty('payments')
  expect(got.paid).toBeNull()
})
