// What a host keeps on its disk, and the passes that bring it to the ledger of a relay, over HTTP as in life.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { serve } from '@hono/node-server'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { credit } from '../../ledger/amount.ts'
import { modelIdFrom } from '../../ledger/apply/model.ts'
import { type Asked, fundedBudget } from '../../ledger/funding.ts'
import { defaultGenesis } from '../../ledger/genesis.ts'
import { sessionIdOf } from '../../ledger/names.ts'
import { endWith, type PaidSession, payFor, priceOf } from '../../ledger/pay.ts'
import { keyOf } from '../../ledger/records.ts'
import { decodeKept, encodeKept } from '../../ledger/session.ts'
import { settlePass } from '../../ledger/settling.ts'
import { NoChannel, nameOfChannel, type OwnChannel, quoteOf, Wallet } from '../../ledger/wallet.ts'
import { fromHex, hex } from '../../protocol/hash.ts'
import { ledgerRoutes } from '../../relay/ledger/api.ts'
import { LedgerNode } from '../../relay/ledger/node.ts'
import { startEarning } from '../../relay/payments/earn.ts'
import { remoteLedger } from '../../relay/payments/remote.ts'
import { PaymentStore } from '../../relay/payments/store.ts'
import { operator, person, testCore, word } from '../ledger/world.ts'

const [ann, bob, cat] = ['ann', 'bob', 'cat'].map(person) as [ReturnType<typeof person>, ReturnType<typeof person>, ReturnType<typeof person>]
let folder: string
let node: LedgerNode
let relay: URL
let server: ReturnType<typeof serve>
let model: Uint8Array

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'meadow-payments-'))
  const genesis = defaultGenesis(operator.id, Date.now(), 'meadow-payments')
  const allocations = [...genesis.allocations, { account: ann.id, amount: 100n * credit }]
  node = new LedgerNode({
    folder: join(folder, 'ledger'),
    secret: operator.secret,
    genesis: { ...genesis, allocations, parameters: { ...genesis.parameters, blockIntervalMs: 50 } },
  })
  const port = await new Promise<number>((resolve) => {
    const app = ledgerRoutes(node, { operatorSecret: operator.secret })
    server = serve({ fetch: (request) => app.fetch(new Request(new URL(request.url.replace('/ledger', '')), request)), port: 0 }, (info) => resolve(info.port))
  })
  relay = new URL(`http://127.0.0.1:${port}/`)
  const body = { core: testCore(), tensorTableRoot: word('t'), constTablesRoot: word('c'), shardListHash: word('s') }
  await remoteLedger(relay).submit(operator.secret, {
    kind: 'model.register',
    ...body,
    price: 1000n,
    split: { owner: 0, trainer: 0 },
    trainer: operator.id,
    auditRate: 500,
  })
  model = modelIdFrom(body.core, body.tensorTableRoot, body.constTablesRoot, body.shardListHash)
  node.seal()
})
afterAll(() => {
  server.close()
  node.close()
  rmSync(folder, { recursive: true, force: true })
})

const storeOf = (name: string): PaymentStore => {
  mkdirSync(join(folder, name), { recursive: true })
  return new PaymentStore(join(folder, name))
}
const walletOf = (store: PaymentStore): Wallet => new Wallet(remoteLedger(relay), ann.secret, ann.id, store, () => Date.now())

test('a wallet says what is missing, then gives budgets whose numbers nobody else gets, and promises no more than its channel holds', async () => {
  const store = storeOf('ann')
  const wallet = walletOf(store)
  const quote = (await wallet.quote(hex(model), 100))!
  expect(quote).toEqual(quoteOf(node.chain.parameters, { price: 1000n }, 100))
  expect(await wallet.quote('00'.repeat(32), 100)).toBeNull()
  await expect(wallet.budget(hex(model), quote.limit)).rejects.toBeInstanceOf(NoChannel)
  await wallet.ledger.submit(ann.secret, { kind: 'channel.open', number: 0, deposit: quote.limit * 2n })
  node.seal()
  const hosts = [
    { account: hex(bob.id), from: 0, to: 2 },
    { account: hex(cat.id), from: 2, to: 4 },
  ]
  const [first, second] = [await wallet.budget(hex(model), quote.limit), await walletOf(storeOf('ann')).budget(hex(model), quote.limit)]
  const legs = [first!, second!].map(({ payer }) => payer.begin({ modelId: hex(model), hosts, tokens: 100 }))
  expect(new Set(legs.map((leg) => leg.session)).size).toBe(2)
  // What is signed is promised: the channel holds two such limits, and no third.
  for (const leg of legs) leg.pay(1, false, null)
  await expect(wallet.budget(hex(model), quote.limit)).rejects.toBeInstanceOf(NoChannel)
  const [channel] = await wallet.channels()
  expect(channel!.promised).toBe(BigInt(legs[0]!.limit + legs[1]!.limit))
  // A store that was lost counts from zero: numbers that the ledger knows are passed over.
  const fresh = await walletOf(storeOf('ann-again')).budget(hex(model), 1n)
  expect(fresh).not.toBeNull()
  store.close()
})

const untilMs = Date.now() + 3_600_000

/** A session of ann's with bob and cat, and the voucher over `tokens` that one of them kept. */
function kept(number: number, tokens: number, host: number, last = true, isEnded = false) {
  const hosts = [bob, cat].map(({ id }, i) => ({ account: id, from: i * 2, to: i * 2 + 2 }))
  const price = (count: number): bigint => priceOf(node.chain.parameters, { price: 1000n }, 2, count)
  const session: PaidSession = {
    chain: node.name,
    owner: ann.id,
    channel: 0,
    session: number,
    terms: { model, hosts, limit: price(20), untilMs },
  }
  const voucher = payFor(ann.secret, session, price(tokens), last, new Uint8Array(32))
  const ends = isEnded ? [bob, cat].map(({ secret }) => endWith(secret, session, voucher)) : []
  const one = { session, host, voucher, ends }
  const id = sessionIdOf(node.name, ann.id, 0, number)
  return { leg: hex(id), record: encodeKept(one), amount: price(tokens), id, limit: session.terms.limit, untilMs: session.terms.untilMs }
}

test('the last host settles at once, the others only what it did not; what the ledger has is let go', async () => {
  const [a, b] = [kept(100, 5, 0), kept(100, 6, 1)]
  const [first, last] = [storeOf('bob'), storeOf('cat')]
  await first.keep(a.leg, a.record)
  await last.keep(b.leg, b.record)
  first.settle(a.leg)
  last.settle(b.leg)
  const early = await settlePass(first, remoteLedger(relay), bob.secret, Date.now())
  expect(early).toMatchObject({ settled: [], problem: '' })
  expect(early.againMs).toBeGreaterThan(Date.now())
  const done = await settlePass(last, remoteLedger(relay), cat.secret, Date.now())
  expect(done).toMatchObject({ settled: [{ by: 'self', amount: b.amount }], problem: '' })
  expect(done.settled[0]!.bytes).toBeLessThanOrEqual(400)
  node.seal()
  const other = await settlePass(first, remoteLedger(relay), bob.secret, Date.now() + 60_000)
  expect(other.settled).toMatchObject([{ by: 'other' }])
  expect(node.get(keyOf.session(b.id))!.settled).toBe(b.amount)
  expect([first.all(), last.all()]).toEqual([[], []])
  first.close()
  last.close()
})

test('the last host brings the word of all: the session is over in that block, and what it did not use is back in the channel', async () => {
  const one = kept(110, 5, 1, true, true)
  const depositOf = (): bigint => node.get(keyOf.channel(ann.id, 0))!.deposit
  const before = depositOf()
  const store = storeOf('cat-ends')
  await store.keep(one.leg, one.record)
  store.settle(one.leg)
  const { settled } = await settlePass(store, remoteLedger(relay), cat.secret, Date.now())
  expect(settled).toMatchObject([{ by: 'self', amount: one.amount }])
  expect(node.get(keyOf.session(one.id))).toMatchObject({ open: false, reserved: 0n, settled: one.amount })
  expect(depositOf()).toBe(before - one.amount)
  store.close()
})

test('words that the ledger does not take cost a host nothing: it settles with the voucher alone', async () => {
  const one = kept(111, 5, 1, true, true)
  const { ends, ...rest } = decodeKept(one.record)
  const store = storeOf('cat-forged')
  await store.keep(one.leg, encodeKept({ ...rest, ends: ends.toReversed() }))
  store.settle(one.leg)
  const { settled } = await settlePass(store, remoteLedger(relay), cat.secret, Date.now())
  expect(settled).toMatchObject([{ by: 'self', amount: one.amount }])
  expect(node.get(keyOf.session(one.id))).toMatchObject({ open: true, settled: one.amount })
  store.close()
})

test('a store keeps the better voucher and the word of all, and never a second last one', async () => {
  const store = storeOf('better')
  const record = (): ReturnType<typeof decodeKept> => decodeKept(store.all()[0]!.record)
  const [low, high, ended] = [kept(112, 5, 1, false), kept(112, 6, 1), kept(112, 6, 1, true, true)]
  await store.keep(low.leg, low.record)
  await store.keep(low.leg, high.record)
  expect(record().voucher.amount).toBe(high.amount)
  await store.keep(low.leg, ended.record)
  await store.keep(low.leg, high.record)
  expect(record().ends).toHaveLength(2)
  for (const other of [kept(112, 7, 1), kept(112, 5, 1), kept(112, 7, 1, false), low])
    await expect(store.keep(low.leg, other.record)).rejects.toThrow('another voucher')
  expect(record()).toMatchObject({ voucher: { amount: high.amount, last: true } })
  store.close()
})

test('a store of the format before goes on with what was promised', async () => {
  const path = join(folder, 'old')
  mkdirSync(path, { recursive: true })
  const old = new DatabaseSync(join(path, 'payments.sqlite'))
  old.exec(
    'CREATE TABLE promises (channel TEXT NOT NULL, number INTEGER NOT NULL, most TEXT NOT NULL, amount TEXT NOT NULL, untilMs INTEGER NOT NULL, PRIMARY KEY (channel, number)) WITHOUT ROWID; PRAGMA user_version = 1',
  )
  old.exec("INSERT INTO promises VALUES ('here', 3, '500', '20', 77)")
  old.close()
  for (let times = 0; times < 2; times++) {
    const store = new PaymentStore(path)
    await expect(store.promises('here')).resolves.toEqual([{ number: 3, limit: 500n, amount: 20n, untilMs: 77 }])
    store.close()
  }
})

test('a wallet ends by itself what its hosts have signed and left open, when the rest is needed', async () => {
  const one = kept(113, 5, 1, true, true)
  const { ends: _, ...rest } = decodeKept(one.record)
  const host = storeOf('cat-alone')
  await host.keep(one.leg, encodeKept({ ...rest, ends: [] }))
  host.settle(one.leg)
  await settlePass(host, remoteLedger(relay), cat.secret, Date.now())
  node.seal()
  expect(node.get(keyOf.session(one.id))).toMatchObject({ open: true })
  const store = storeOf('ann-ends')
  const wallet = walletOf(store)
  const name = nameOfChannel(node.name, ann.id, 0)
  store.promise(name, { number: 113, limit: one.limit, amount: one.amount, untilMs: one.untilMs, end: one.record })
  const [{ deposit, promised }] = (await wallet.channels()) as [OwnChannel]
  expect(promised).toBe(0n)
  // A little more than is free: the rest of that session makes room for it.
  expect(await wallet.endLeft(deposit + one.limit)).toBe(false)
  const funding = { consent: async () => false, pause: async () => void node.seal() }
  const budget = await fundedBudget(wallet, hex(model), deposit + 5000n, funding)
  expect(budget).toMatchObject({ channel: 0, limit: deposit + 5000n })
  expect(node.get(keyOf.session(one.id))).toMatchObject({ open: false, reserved: 0n })
  expect((await wallet.channels())[0]!.deposit).toBeGreaterThan(deposit + one.limit - one.amount - 2000n)
  expect(await store.promises(name)).toEqual([])
  for (const each of [host, store]) each.close()
})

test('what all hosts have signed promises no more than it pays, before the ledger knows of it', async () => {
  const one = kept(114, 5, 1, true, true)
  const store = storeOf('ann-promises')
  const name = nameOfChannel(node.name, ann.id, 0)
  const promise = { number: 114, limit: one.limit, amount: one.amount, untilMs: one.untilMs }
  store.promise(name, promise)
  expect((await walletOf(store).channels())[0]!.promised).toBe(one.limit)
  store.promise(name, { ...promise, end: one.record })
  expect((await walletOf(store).channels())[0]!.promised).toBe(one.amount)
  store.close()
})

test('without a yes no money moves, and a newcomer is told what is missing', async () => {
  const fresh = person('fresh')
  const store = storeOf('fresh')
  const wallet = new Wallet(remoteLedger(relay), fresh.secret, fresh.id, store, () => Date.now())
  const said: string[] = []
  const funding = (yes: readonly string[]) => ({
    consent: async ({ kind }: Asked) => {
      said.push(kind)
      return yes.includes(kind)
    },
    pause: async () => void node.seal(),
  })
  const limit = credit / 10n
  await expect(fundedBudget(wallet, hex(model), limit, funding([]))).rejects.toMatchObject({ name: 'Unfunded', why: 'grant' })
  await expect(fundedBudget(wallet, hex(model), limit, funding(['grant']))).rejects.toMatchObject({ name: 'Unfunded', why: 'channel' })
  await expect(fundedBudget(wallet, hex(model), 1000n * credit, funding(['grant', 'channel']))).rejects.toMatchObject({ name: 'Unfunded', why: 'poor' })
  expect(await fundedBudget(wallet, hex(model), limit, funding(['channel']))).toMatchObject({ channel: 0, limit })
  expect(said).toEqual(['grant', 'grant', 'channel', 'channel'])
  store.close()
})

test('a relay that is away loses nothing: the voucher stays until it answers; one that is too late is said to be lost', async () => {
  const one = kept(101, 5, 1)
  const store = storeOf('away')
  await store.keep(one.leg, one.record)
  store.settle(one.leg)
  const nowhere = remoteLedger(new URL('http://127.0.0.1:9/'))
  expect(await settlePass(store, nowhere, cat.secret, Date.now())).toMatchObject({ settled: [], problem: expect.stringMatching(/cannot be reached/) })
  expect(store.all()).toHaveLength(1)
  expect((await settlePass(store, remoteLedger(relay), cat.secret, Date.now() + 7_200_000)).settled).toMatchObject([{ by: 'nobody' }])
  expect(store.all()).toHaveLength(0)
  store.close()
})

test('a host that starts settles what crashes cut off, also what processes left that are gone', async () => {
  const [own, orphan] = [kept(102, 7, 1), kept(103, 8, 1)]
  const before = new PaymentStore(join(folder, 'home', 'payments', 'host'))
  await before.keep(own.leg, own.record)
  before.close()
  // 2^22 is above every process number that Linux gives.
  const gone = new PaymentStore(join(folder, 'home', 'payments', 'host-4194305'))
  await gone.keep(orphan.leg, orphan.record)
  gone.close()
  const earning = startEarning({ home: join(folder, 'home'), relay, secret: cat.secret, name: 'host', modelIds: [hex(model)] })
  try {
    while (!node.get(keyOf.session(own.id)) || !node.get(keyOf.session(orphan.id))) await new Promise((resolve) => setTimeout(resolve, 50))
    while (!earning.earnings.payee) await new Promise((resolve) => setTimeout(resolve, 50))
    expect(fromHex(earning.earnings.payee.account)).toEqual(new Uint8Array(cat.id))
  } finally {
    await earning.close()
  }
})
