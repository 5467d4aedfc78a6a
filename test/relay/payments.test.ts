// What a host keeps on its disk, and the passes that bring it to the ledger of a relay, over HTTP as in life.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { serve } from '@hono/node-server'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { credit } from '../../ledger/amount.ts'
import { modelIdFrom } from '../../ledger/apply/model.ts'
import { defaultGenesis } from '../../ledger/genesis.ts'
import { sessionIdOf } from '../../ledger/names.ts'
import { type PaidSession, payFor, priceOf } from '../../ledger/pay.ts'
import { keyOf } from '../../ledger/records.ts'
import { encodeKept } from '../../ledger/session.ts'
import { settlePass } from '../../ledger/settling.ts'
import { NoChannel, quoteOf, Wallet } from '../../ledger/wallet.ts'
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

/** A session of ann's with bob and cat, and the voucher over `tokens` that one of them kept. */
function kept(number: number, tokens: number, host: number, last = true) {
  const hosts = [bob, cat].map(({ id }, i) => ({ account: id, from: i * 2, to: i * 2 + 2 }))
  const price = (count: number): bigint => priceOf(node.chain.parameters, { price: 1000n }, 2, count)
  const session: PaidSession = {
    chain: node.name,
    owner: ann.id,
    channel: 0,
    session: number,
    terms: { model, hosts, limit: price(20), untilMs: 1_900_000_000_000 },
  }
  session.terms.untilMs = Date.now() + 3_600_000
  const voucher = payFor(ann.secret, session, price(tokens), last, new Uint8Array(32))
  const one = { session, host, voucher }
  const id = sessionIdOf(node.name, ann.id, 0, number)
  return { leg: hex(id), record: encodeKept(one), amount: price(tokens), id }
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
  expect(done.settled).toMatchObject([{ by: 'self', amount: b.amount }])
  expect(done.settled[0]!.bytes).toBeLessThanOrEqual(400)
  node.seal()
  const other = await settlePass(first, remoteLedger(relay), bob.secret, Date.now() + 60_000)
  expect(other.settled).toMatchObject([{ by: 'other' }])
  expect(node.get(keyOf.session(b.id))!.settled).toBe(b.amount)
  expect([first.all(), last.all()]).toEqual([[], []])
  first.close()
  last.close()
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
