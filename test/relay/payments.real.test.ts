// Paid answers as people have them: a relay with its ledger, three hosts with a third of the default model each and an account each, a requester that pays. Processes of
// their own; balances move by exact amounts; what a killed host was promised is not lost.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { recordsOf } from '../../ledger/claims.ts'
import { decodeAs } from '../../ledger/codec.ts'
import { decodeReceiptClaim } from '../../ledger/receipt.ts'
import { sessionTerms } from '../../ledger/transaction.ts'
import { fromHex, hex } from '../../protocol/hash.ts'
import { parseReceipt } from '../../protocol/peer/blame.ts'
import { findOrAddModel } from '../../relay/models.ts'
import { PaymentStore } from '../../relay/payments/store.ts'
import { openStore } from '../../relay/store.ts'
import { root } from '../code/sources.ts'

let home: string
let relay = ''
const children = new Set<ChildProcess>()

function start(name: string, args: string[]): ChildProcess {
  const child = spawn(process.execPath, [join(root, 'relay/main.ts'), ...args], {
    env: { ...process.env, MEADOW_HOME: join(home, name), PORT: '', MEADOW_RELAY: relay },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  children.add(child)
  child.once('exit', () => children.delete(child))
  return child
}

/** Resolves with the first line of either output that fits. */
function line(child: ChildProcess, pattern: RegExp): Promise<RegExpExecArray> {
  return new Promise((resolve, reject) => {
    for (const output of [child.stdout!, child.stderr!])
      createInterface({ input: output }).on('line', (text) => {
        const match = pattern.exec(text)
        if (match) resolve(match)
      })
    child.once('exit', (code) => reject(new Error(`it ended with ${code} before ${pattern}`)))
  })
}

async function run(
  name: string,
  args: string[],
  onOutput: (text: string) => void = () => {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = start(name, args)
  let [stdout, stderr] = ['', '']
  child.stdout!.on('data', (data) => {
    stdout += data
    onOutput(stdout)
  })
  child.stderr!.on('data', (data) => {
    stderr += data
  })
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, stdout, stderr }
}

async function json(name: string, args: string[]): Promise<Record<string, never>> {
  const { code, stdout, stderr } = await run(name, [...args, '--json'])
  expect({ code, stderr }).toMatchObject({ code: 0 })
  return JSON.parse(stdout.trim().split('\n').at(-1)!)
}

const ledger = async (path: string): Promise<Record<string, never>> => (await fetch(new URL(`/ledger/${path}`, relay))).json() as Promise<Record<string, never>>

async function until<T>(look: () => Promise<T | null>): Promise<T> {
  for (;;) {
    const found = await look()
    if (found !== null) return found
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

const layers = ['0-9', '10-19', '20-29']
const hosts: { child: ChildProcess; account: string; key: string }[] = []

async function host(i: number): Promise<void> {
  const child = start(`host${i}`, ['host', '--layers', layers[i]!, '--threads', '1'])
  const key = line(child, /^Hosting as ([0-9a-f]{12})/)
  await line(child, /^Serving: /)
  const { account } = await json(`host${i}`, ['account', 'show', 'host']).then((one) => ({ account: String(one.id) }))
  hosts[i] = { child, account, key: (await key)[1]! }
}

beforeAll(async () => {
  const store = openStore()
  await findOrAddModel(store, undefined)
  home = await mkdtemp(join(tmpdir(), 'meadow-paid-'))
  for (const name of ['relay', 'asker', 'host0', 'host1', 'host2']) {
    await mkdir(join(home, name))
    await symlink(join(store.home, 'models'), join(home, name, 'models'))
  }
  await mkdir(join(home, 'pages'))
  await writeFile(join(home, 'pages', 'index.html'), '<!doctype html>')
  const child = start('relay', ['serve', '--no-host', '--host', '127.0.0.1', '--port', '0', '--pages', join(home, 'pages'), '--json'])
  relay = (await line(child, /"address":"([^"]+)"/))[1]!
  await Promise.all([0, 1, 2].map(host))
  await until(async () => ((await json('asker', ['swarm'])).hosts === (3 as never) ? true : null))
})
afterAll(async () => {
  await Promise.all([...children].map((child) => new Promise((resolve) => child.once('exit', resolve) && child.kill('SIGKILL'))))
  await rm(home, { recursive: true, force: true })
})

const question = 'Write a long story about a fox and a crow.'
const price = 1000n
/** Of a settlement by three hosts with the word of each, estimated from above (ledger/pay.ts). */
const fee = 760n

test('a paid answer of 100 tokens: balances move by the exact amounts, hosts hold a third each, receipts are at the relay, what it did not use is back at once, and it costs at most 600 bytes of ledger', async () => {
  const plain = await json('asker', ['ask', question, '--max-tokens', '100', '--swarm'])
  expect(plain).not.toHaveProperty('paid')
  // Nobody has agreed to anything yet.
  expect(await run('asker', ['ask', question, '--max-tokens', '100', '--swarm', '--pay'])).toMatchObject({ code: 1, stderr: expect.stringMatching(/grant/) })
  expect(await run('asker', ['ask', question, '--max-tokens', '100', '--swarm', '--pay', '--yes', '--max-price', '0.05'])).toMatchObject({ code: 2 })

  const file = join(home, 'receipt.json')
  const paid = await json('asker', ['ask', question, '--max-tokens', '100', '--swarm', '--pay', '--yes', '--receipt', file])
  expect(paid.text).toBe(plain.text)
  const amount = 100n * price + fee
  expect(paid).toMatchObject({ paid: String(amount), channel: 0, returned: String(BigInt(paid.limit) - amount) })

  const session = String(paid.session)
  const record = await until(async () => (await ledger(`state/session/${session}`)).now as null | Record<string, never>)
  expect(record).toMatchObject({ settled: String(amount), reserved: '0', open: false })
  const shares = await Promise.all([0, 1, 2].map((i) => json(`host${i}`, ['account', 'show', 'host'])))
  const held = BigInt(record.held)
  for (const one of shares) expect(BigInt(one.held)).toBe(held / 3n)
  const account = await json('asker', ['account', 'show', 'ask'])
  // The grant, less the channel and its fee; the channel, less what was paid: all hosts had signed that it is over.
  const [channel] = account.channels as unknown as { deposit: string; sessions: number }[]
  expect(channel).toMatchObject({ sessions: 0 })
  expect(BigInt(channel!.deposit) + amount).toBe(BigInt(paid.limit) * 10n)

  const settlement = (await ledger(`transactions?about=${session}`)).transactions as unknown as { size: number; kind: string; fee: string }[]
  expect(settlement.map((one) => one.kind)).toEqual(['channel.end'])
  expect(settlement[0]!.size).toBeLessThanOrEqual(600)
  expect(held).toBe(amount - BigInt(settlement[0]!.fee))

  const receipt = parseReceipt(JSON.parse(await readFile(file, 'utf8')))
  const [leg] = receipt.payments!
  expect(leg!.claims.map(({ account: id }) => id)).toEqual(hosts.map((one) => one.account))
  for (const [i, { claim, signature, records }] of leg!.claims.entries()) {
    const pinned = new Uint8Array(await (await fetch(new URL(`/ledger/pins/receipts/${session}/${i}`, relay))).arrayBuffer())
    expect(hex(pinned)).toBe(signature + claim)
    const { root: recordsRoot } = recordsOf(fromHex(session), i, fromHex(records), receipt.question.prompt.length, i === 2 ? receipt.tokens : null)
    expect(hex(decodeReceiptClaim(fromHex(claim)).recordsRoot)).toBe(hex(recordsRoot))
  }
  expect(decodeAs(sessionTerms, fromHex(leg!.terms), 'terms').hosts).toHaveLength(3)
  expect(await run('asker', ['verify', file])).toMatchObject({ code: 0 })
  expect(await ledger('invariants')).not.toHaveProperty('error')
})

test('SIGKILL of a host between a voucher and its settlement loses nothing: it comes back and settles what its disk has', async () => {
  const before = await json('host2', ['account', 'show', 'host'])
  // All hosts die while the answer comes, so nobody settles; then one comes back.
  let killed = false
  const broken = run('asker', ['ask', question, '--max-tokens', '300', '--swarm', '--pay', '--yes'], (text) => {
    if (killed || text.split(' ').length < 40) return
    killed = true
    for (const { child } of hosts) child.kill('SIGKILL')
  })
  await until(async () => (killed ? true : null))
  await Promise.all(
    hosts.map(({ child }) => new Promise((resolve) => (child.exitCode === null && child.signalCode === null ? child.once('exit', resolve) : resolve(null)))),
  )
  const store = new PaymentStore(join(home, 'host2', 'payments', 'host'))
  const kept = store.all()
  store.close()
  expect(kept).toHaveLength(1)
  const { leg } = kept[0]!
  expect((await ledger(`state/session/${leg}`)).now).toBeNull()
  await host(2)
  const record = await until(async () => (await ledger(`state/session/${leg}`)).now as null | Record<string, never>)
  expect(BigInt(record.settled)).toBeGreaterThan(20n * price)
  await until(async () => {
    const { held } = await json('host2', ['account', 'show', 'host'])
    return BigInt(held) === BigInt(before.held) + BigInt(record.held) / 3n ? true : null
  })
  // The others come back too, have nothing more to bring, and the answer that was waiting goes on.
  await Promise.all([0, 1].map(host))
  const { code } = await broken
  expect(code === 0 || code === 1).toBe(true)
  expect(await ledger('invariants')).not.toHaveProperty('error')
})
