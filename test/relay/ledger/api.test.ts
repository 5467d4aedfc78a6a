// The ledger's routes over a real socket, and the command line's client, which checks what it is told.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Hono } from 'hono'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { checkHeader, checkRecord } from '../../../ledger/light.ts'
import { keyOf } from '../../../ledger/records.ts'
import { signTransaction } from '../../../ledger/transaction.ts'
import { fromHex, hex } from '../../../protocol/hash.ts'
import { verify } from '../../../protocol/keys.ts'
import { modelIdOf } from '../../../protocol/model/identity.ts'
import { openApi } from '../../../relay/ledger/api-description.ts'
import { LedgerClient } from '../../../relay/ledger/client.ts'
import { type RunningLedger, startLedger } from '../../../relay/ledger/start.ts'
import { type RunningServer, startServer } from '../../../relay/server.ts'
import { root } from '../../code/sources.ts'
import { person, word } from '../../ledger/world.ts'
import { tinyCore, tinyPackage } from '../../tiny-package.ts'

let home: string
let ledger: RunningLedger
let server: RunningServer
let address: string
const ann = person('ann of the api')

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'meadow-api-'))
  // Limits as on a relay, but for grants, of which these tests ask many.
  ledger = await startLedger(home, { grants: { perSecond: 1, burst: 10 } })
  const app = new Hono()
  app.route('/ledger', ledger.routes)
  server = await startServer(app, 0, '127.0.0.1')
  address = `http://127.0.0.1:${server.port}`
})
afterAll(async () => {
  await server.close()
  ledger.close()
  rmSync(home, { recursive: true, force: true })
})

const get = async (path: string) => {
  const response = await fetch(`${address}/ledger${path}`)
  return { status: response.status, body: (await response.json()) as Record<string, never> }
}
const post = async (bytes: Uint8Array) => {
  const response = await fetch(`${address}/ledger/transactions`, { method: 'POST', body: bytes as Uint8Array<ArrayBuffer> })
  return { status: response.status, body: (await response.json()) as { id: string; error: { code: string; message: string } } }
}

test('a newcomer is granted credits once, spends them, and proves what is left', async () => {
  const client = new LedgerClient(address)
  await client.grant(ann.id)
  await expect(client.grant(ann.id)).rejects.toThrow(/exists/)
  const sent = await client.submit(ann.secret, { kind: 'transfer', to: word('shop'), amount: 1_500_000n, note: new Uint8Array(0) })
  expect(sent.fee).toBeLessThan(400n)
  ledger.node.seal()
  const account = await client.record(keyOf.account(ann.id))
  expect(account!.balance).toBe(20_000_000n - 1_500_000n - sent.fee)
  expect(await client.record(keyOf.account(word('nobody')))).toBe(null)
  const found = await get(`/transactions/${sent.id}`)
  expect(found.body).toMatchObject({ kind: 'transfer', amount: '1500000', from: hex(ann.id) })
  const history = await get(`/accounts/${hex(ann.id)}/events?limit=1`)
  expect(history.body.events).toHaveLength(1)
  expect((await get(`/accounts/${hex(ann.id)}/events?before=${history.body.next}`)).body.events).toHaveLength(1)
})

test('a relay that lies about a record is found out', async () => {
  const { body } = await get(`/state/account/${hex(ann.id)}`)
  const { header, value, proof } = body as unknown as { header: string; value: string; proof: string }
  const chain = ledger.node.name
  const trust = { chain, producers: [ledger.node.genesis.operator] }
  const checked = checkHeader(trust, fromHex(header), verify)
  expect(checkRecord(checked, keyOf.account(ann.id), fromHex(value), fromHex(proof))!.balance).toBeGreaterThan(0n)
  const lie = fromHex(value)
  lie[3] ^= 1
  expect(() => checkRecord(checked, keyOf.account(ann.id), lie, fromHex(proof))).toThrow(/does not hold/)
  expect(() => checkRecord(checked, keyOf.account(ann.id), null, fromHex(proof))).toThrow(/does not hold/)
  const forged = fromHex(header)
  forged[10] ^= 1
  expect(() => checkHeader(trust, forged, verify)).toThrow()
  expect(() => checkHeader({ ...trust, producers: [ann.id] }, fromHex(header), verify)).toThrow(/nobody/)
  expect(() => checkHeader({ ...trust, heightMin: 1e9 }, fromHex(header), verify)).toThrow(/seen before/)
})

test('bad input is refused with a reason', async () => {
  expect(await post(new Uint8Array(10))).toMatchObject({ status: 422, body: { error: { code: 'encoding' } } })
  expect((await post(new Uint8Array(70 * 1024)).catch(() => ({ status: 413 }))).status).toBe(413)
  const early = signTransaction(ann.secret, ledger.node.name, 99, 1000n, { kind: 'transfer', to: word('x'), amount: 1n, note: new Uint8Array(0) })
  expect(await post(early)).toMatchObject({ status: 422, body: { error: { code: 'nonce' } } })
  expect((await get('/accounts/zz')).status).toBe(400)
  expect((await get('/state/..%2f..')).status).toBe(400)
  expect((await get('/blocks/999999')).status).toBe(404)
  expect((await get('/blocks?limit=x')).status).toBe(400)
  expect((await get(`/transactions/${hex(word('none'))}`)).status).toBe(404)
})

test('a follower hears of a transaction as soon as it is durable, and of its block', async () => {
  const abort = new AbortController()
  const response = await fetch(`${address}/ledger/follow?account=${hex(word('followed'))}`, { signal: abort.signal })
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  let heard = ''
  const hear = async (what: string) => {
    while (!heard.includes(what)) {
      const { value, done } = await reader.read()
      if (done) throw new Error(`the stream ended after ${heard}`)
      heard += value
    }
  }
  await hear('event: status')
  await new LedgerClient(address).submit(ann.secret, { kind: 'transfer', to: word('followed'), amount: 7n, note: new Uint8Array(0) })
  await hear('event: transaction')
  expect(heard).toContain('"received"')
  ledger.node.seal()
  await hear('event: block')
  abort.abort()
})

test('blocks and records can be paged through', async () => {
  const { body } = await get('/blocks?limit=1')
  expect(body.blocks).toHaveLength(1)
  const [{ height }] = body.blocks as { height: number }[]
  expect((await get(`/blocks/${height}`)).body).toMatchObject({ height })
  const first = await get('/records/account?limit=1')
  const second = await get(`/records/account?limit=1&after=${first.body.next}`)
  expect(second.body.records[0]).not.toEqual(first.body.records[0])
  expect((await get('/invariants')).body.emitted).toBe('0')
  expect((await get('/status')).body).toMatchObject({ chainId: 'meadow-local', stopped: null })
})

test('installed models are registered once, in the name of the relay', async () => {
  const { manifest } = tinyPackage(tinyCore('llama'), 3)
  await ledger.register(manifest)
  await ledger.register(manifest)
  expect(hex(ledger.node.get(keyOf.model(fromHex(modelIdOf(manifest))))!.owner)).toBe(hex(ledger.node.genesis.operator))
})

test('too many requests from one address are told to wait', async () => {
  const { ledgerRoutes } = await import('../../../relay/ledger/api.ts')
  const app = ledgerRoutes(ledger.node, { reads: { perSecond: 0.1, burst: 2 } })
  const statuses = []
  for (let i = 0; i < 3; i++) statuses.push((await app.request('/status')).status)
  expect(statuses).toEqual([200, 200, 429])
  expect((await app.request('/status')).headers.get('Retry-After')).toMatch(/^\d+$/)
})

test('every route is described', () => {
  const described = Object.keys(openApi.paths).map((path) => path.replaceAll(/\{(\w+)\}/g, ':$1'))
  const real = ledger.routes.routes.filter(({ method }) => method !== 'ALL').map(({ path }) => path.replace('{.+}', ''))
  expect([...new Set(real)].filter((path) => path !== '/openapi.json').sort()).toEqual(described.sort())
})

test('the command line shows, grants, sends, stakes, opens a channel, and tells the status', async () => {
  const meadow = async (...args: string[]) => {
    const { stdout } = await promisify(execFile)(process.execPath, [join(root, 'relay/main.ts'), ...args, '--json'], {
      env: { ...process.env, MEADOW_HOME: home, MEADOW_RELAY: address },
    })
    return JSON.parse(stdout) as Record<string, never>
  }
  expect((await meadow('account', 'grant')).amount).toBe('20000000')
  expect((await meadow('transfer', 'host', '2.5')).fee).toMatch(/^\d+$/)
  await meadow('stake', '3', '--roles', 'host,auditor')
  await meadow('unstake', '1')
  expect((await meadow('channel', 'open', '4')).number).toBe(0)
  await meadow('channel', 'top-up', '0', '1')
  ledger.node.seal()
  expect((await meadow('channel', 'show', '0')).deposit).toBe('5000000')
  await meadow('channel', 'close', '0')
  ledger.node.seal()
  const shown = await meadow('account', 'show', 'ask')
  expect(shown.proven).toMatchObject({ stake: '2000000', roles: 3, channels: 1 })
  expect((await meadow('account', 'show', 'host')).proven).toMatchObject({ balance: '2500000' })
  expect((await meadow('account', 'history', 'host')).events).toHaveLength(1)
  expect((await meadow('ledger', 'status')).height).toBeGreaterThan(0)
  await meadow('ledger', 'faucet', 'closed')
  await expect(new LedgerClient(address).grant(word('late'))).rejects.toThrow(/the faucet is closed/)
  // A store of its own: the relay of these tests holds this home's ledger.
  await expect(meadow('ledger', 'replay')).rejects.toThrow(/another relay/)
}, 240_000)
