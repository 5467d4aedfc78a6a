// What the explorer believes and tells, against a real ledger: proofs of records and transactions checked as a tab does, forgeries refused, a dispute told from its moves.
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { keyOf } from '../../ledger/records.ts'
import { fromHex, hex } from '../../protocol/hash.ts'
import { ledgerRoutes } from '../../relay/ledger/api.ts'
import { tellDispute } from '../../web/explorer/dispute.ts'
import { fieldsOf } from '../../web/explorer/fields.ts'
import { linkTo, routeOf, searchRoute } from '../../web/explorer/route.ts'
import { Ledger, NoLedger, Refused, RelayAway } from '../../web/ledger/client.ts'
import { NotProven } from '../../web/ledger/proof.ts'
import { amountText, amountTyped, spanText } from '../../web/ledger/words.ts'
import { credit, word } from '../ledger/world.ts'
import { hurriedRules, openStage, playDispute, type Stage } from '../relay/ledger/stage.ts'

let stage: Stage
let played: Awaited<ReturnType<typeof playDispute>>
/** Changes an answer on its way, as a lying relay would. */
let lie: ((path: string, json: Record<string, never>) => void) | null = null

beforeAll(async () => {
  stage = openStage(hurriedRules())
  played = await playDispute(stage)
  const routes = ledgerRoutes(stage.node, { operatorSecret: stage.who('operator').secret, reads: { perSecond: 1e6, burst: 1e6 } })
  vi.stubGlobal('fetch', async (path: string, init?: RequestInit) => {
    const response = await routes.request(String(path).replace('/ledger', ''), init)
    if (!lie || !response.ok || !response.headers.get('content-type')?.includes('json')) return response
    const json = (await response.json()) as Record<string, never>
    lie(String(path), json)
    return new Response(JSON.stringify(json), { headers: response.headers })
  })
  // A whole dispute is 1 s of work, and many times that on a machine that others use too.
}, 120_000)
afterAll(() => {
  vi.unstubAllGlobals()
  stage.node.close()
})

const ledger = new Ledger()

test('an account, the absence of one, a page of accounts and the stakes are proven', async () => {
  const bob = await ledger.record(keyOf.account(stage.who('bob').id))
  expect(bob.record!.stake).toBe(stage.node.chain.state.account(stage.who('bob').id).stake)
  expect(bob.evidence).toMatchObject({ what: 'record', height: stage.node.head!.header.height })
  expect(bob.evidence.siblings).toBeGreaterThan(0)
  expect((await ledger.record(keyOf.account(word('nobody')))).evidence.what).toBe('absent')
  const first = await ledger.records('account', '', 3)
  const second = await ledger.records('account', first.next!, 200)
  expect(first.list).toHaveLength(3)
  expect(new Set([...first.list, ...second.list].map(({ key }) => key)).size).toBe(stage.node.chain.state.keysOf('account').length)
  expect(second.next).toBe(null)
  const stakes = await ledger.records<'account'>('stake', '')
  expect(stakes.list.map(({ key }) => key)).toEqual([keyOf.account(stage.who('bob').id)])
})

test('a forged value, another record, a foreign header, a record out of date and a forged list are refused', async () => {
  const key = keyOf.account(stage.who('ann').id)
  const refused = async (forge: typeof lie) => {
    lie = forge
    await expect(ledger.record(key)).rejects.toThrow(NotProven)
    lie = null
  }
  const other = (await (await fetch(`/ledger/state/${keyOf.account(stage.who('cat').id)}`)).json()) as Record<string, never>
  await refused((_, json: Record<string, string>) => {
    json.value = json.value.replace(/.$/, (digit) => (digit === '0' ? '1' : '0'))
  })
  await refused((_, json) => Object.assign(json, other))
  await refused((_, json: Record<string, string>) => {
    json.header = json.header.replace(/.$/, (digit) => (digit === '0' ? '1' : '0'))
  })
  const old = (await (await fetch(`/ledger/state/${key}`)).json()) as Record<string, never>
  await stage.send('ann', { kind: 'transfer', to: word('shop'), amount: credit, note: new Uint8Array(0) })
  stage.block()
  await ledger.record(key)
  await refused((_, json) => Object.assign(json, old))
  lie = (_, json: { records?: { value: string }[] }) => {
    if (json.records) json.records[1].value = json.records[0].value
  }
  await expect(ledger.records('account', '')).rejects.toThrow(NotProven)
  lie = null
})

test('a transaction is proven to be in its block, found by every account and thing that it is about, and not believed when it is not', async () => {
  const id = await stage.send('ann', { kind: 'transfer', to: word('friend'), amount: 5n, note: new Uint8Array(0) })
  expect((await ledger.transaction(hex(id))).evidence).toBe(null)
  for (const name of ['bob', 'cat', 'dan']) await stage.send(name, { kind: 'transfer', to: word('friend'), amount: 5n, note: new Uint8Array(0) })
  stage.block()
  const found = await ledger.transaction(hex(id))
  expect(found.evidence).toMatchObject({ what: 'transaction', siblings: 2 })
  const { list } = await ledger.transactions({ about: hex(word('friend')) })
  expect(list.map(({ transaction }) => transaction.body.kind)).toEqual(['transfer', 'transfer', 'transfer', 'transfer'])
  expect((await ledger.transactions({ about: hex(stage.who('ann').id), limit: 1 })).list[0].id).toBe(hex(id))
  expect((await ledger.transactions({ about: hex(played.job) })).list.map(({ transaction }) => transaction.body.kind)).toEqual([
    'job.reveal',
    'job.commit',
    'job.create',
  ])
  expect((await ledger.transactionsOf(found.height)).list).toHaveLength(4)
  lie = (_, json: Record<string, unknown>) => {
    json.index = 1
  }
  await expect(ledger.transaction(hex(id))).rejects.toThrow(/not part of block/)
  lie = (_, json: Record<string, string>) => {
    json.bytes = `${json.bytes.slice(0, -2)}00`
  }
  await expect(ledger.transaction(hex(id))).rejects.toThrow(NotProven)
  lie = null
})

test('blocks follow one another, and one that was left out is missed', async () => {
  const { list, next } = await ledger.blocks(undefined, 5)
  expect(list).toHaveLength(5)
  expect((await ledger.blocks(next!, 5)).list[0].block.header.height).toBe(list.at(-1)!.block.header.height - 1)
  lie = (_, json: { blocks?: unknown[] }) => void json.blocks?.splice(2, 1)
  await expect(ledger.blocks()).rejects.toThrow(/does not follow/)
  lie = null
})

test('a dispute is told from its moves: tokens, layers, op, tile, element, and the judge is asked again', async () => {
  const { rounds, about } = await tellDispute(ledger, hex(played.dispute))
  expect(about).toEqual({ kind: 'job', id: hex(played.job) })
  const kinds = rounds.map((round) => round.kind)
  expect(kinds.slice(0, 4)).toEqual(['commit', 'challenge', 'defend', 'path'])
  for (const kind of ['reveal', 'pick', 'expand', 'open', 'prove', 'time'] as const) expect(kinds).toContain(kind)
  const proof = rounds.find((round) => round.kind === 'prove')!
  expect(proof.judged).toMatchObject({ verdict: 'unequal' })
  expect(proof.judged!.bytes).toBeLessThanOrEqual(65_536)
  // The activation that stage.ts altered.
  expect(proof.bars.map(({ name, from, to }) => [name, from, to])).toEqual([
    ['Tokens', 2, 3],
    ['Layers', 1, 2],
    ['Op', expect.any(Number), expect.any(Number)],
    ['Tile', 0, 1],
    ['Element', 5, 6],
  ])
  expect(proof.bars[2].text).toMatch(/wo/)
  // What is in question never grows along a path.
  const share = (bars: (typeof rounds)[0]['bars'], i: number): number => (bars[i] ? (bars[i].to - bars[i].from) / bars[i].total : 1)
  for (const [i, round] of rounds.entries()) {
    if (i === 0 || round.kind === 'path') continue
    for (const level of [0, 1]) expect(share(round.bars, level)).toBeLessThanOrEqual(share(rounds[i - 1].bars, level))
  }
})

test('searches lead to blocks, and ids to what they name', async () => {
  expect(searchRoute(' 1,234 ')).toBe('#/block/1234')
  expect(searchRoute('hello')).toBe(null)
  expect(searchRoute('ABCD')).toBe('#/find/abcd')
  const id = hex(played.model)
  expect(await ledger.find(id.slice(0, 9))).toEqual([{ kind: 'model', id }])
  expect((await ledger.find(hex(stage.who('bob').id))).map(({ kind }) => kind)).toEqual(['account'])
  for (const hash of ['#/', '#/blocks', linkTo.block(7), linkTo.transaction(id), linkTo.record('job', id), linkTo.key('channel/ab/0'), linkTo.find('abcd')])
    expect(routeOf(hash).view).not.toBe('unknown')
  for (const hash of ['#/nothing', '#/block/x', '#/tx/12', '#/key/../x', '#/%']) expect(routeOf(hash).view).toBe('unknown')
})

test('every kind of record and transaction can be read as rows', async () => {
  const { records } = { records: stage.node.chain.state.entries() }
  for (const [key, record] of records) expect(fieldsOf(record).length, key).toBeGreaterThan(0)
  const rules = fieldsOf(stage.node.get(keyOf.rules)!)
  expect(rules.find(({ label }) => label === 'Parameters · claim window')!.text).toBe('24 minutes')
  expect(rules.find(({ label }) => label === 'Parameters · split · burn')!.text).toBe('5 %')
  const account = fieldsOf({ owner: fromHex(hex(word('owner'))) })[0]
  expect(account.href).toBe(linkTo.record('account', hex(word('owner'))))
})

test('amounts are shown and read as people write them', () => {
  expect(amountText(1_234_567_890_000n)).toBe('1,234,567.89')
  expect(amountText(-5n)).toBe('−0.000005')
  expect(amountTyped('1,234.5')).toBe(1_234_500_000n)
  expect(amountTyped('0')).toMatch(/more than nothing/)
  expect(amountTyped('1.2345678')).toMatch(/six digits/)
  expect(spanText(90_000)).toBe('1.5 minutes')
})

test('a tab signs and sends with the next nonce; two at once take turns, and a refusal is a sentence', async () => {
  const eve = stage.who('eve')
  const body = { kind: 'transfer', to: word('two at once'), amount: 10n, note: new Uint8Array(0) } as const
  const [first, second] = await Promise.all([ledger.submit(eve.secret, body), ledger.submit(eve.secret, body)])
  expect(first.id).not.toBe(second.id)
  expect((await ledger.account(hex(word('two at once')))).balance).toBe(20n)
  const tooMuch = ledger.submit(eve.secret, { ...body, amount: 1_000_000n * credit })
  await expect(tooMuch).rejects.toThrow(Refused)
  await expect(tooMuch).rejects.toThrow(/credits are needed|are needed/)
  expect(await ledger.grant(hex(word('newcomer')))).toBe(20n * credit)
  await expect(ledger.grant(hex(word('newcomer')))).rejects.toThrow(/grant already/)
})

test('a relay without a ledger and one that is away are told apart', async () => {
  const real = globalThis.fetch
  vi.stubGlobal('fetch', async () => new Response('There is no such page.', { status: 404 }))
  await expect(new Ledger().checker()).rejects.toThrow(NoLedger)
  vi.stubGlobal('fetch', async () => Promise.reject(new TypeError('failed')))
  await expect(new Ledger().checker()).rejects.toThrow(RelayAway)
  vi.stubGlobal('fetch', real)
})
