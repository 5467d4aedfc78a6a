// Jobs and disputes with the default model and real processes, as a person runs them.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Hono } from 'hono'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { keyOf } from '../../ledger/records.ts'
import { fromHex, hex } from '../../protocol/hash.ts'
import { type RunningLedger, startLedger } from '../../relay/ledger/start.ts'
import { type RunningServer, startServer } from '../../relay/server.ts'
import { homeFolder, openStore } from '../../relay/store.ts'
import { root } from '../code/sources.ts'

let home: string
let ledger: RunningLedger
let server: RunningServer
let address: string
const children: ChildProcess[] = []

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'meadow-jobs-'))
  symlinkSync(join(homeFolder(), 'models'), join(home, 'models'))
  ledger = await startLedger(home)
  const app = new Hono()
  app.route('/ledger', ledger.routes)
  server = await startServer(app, 0, '127.0.0.1')
  address = `http://127.0.0.1:${server.port}`
  for (const { manifest } of await openStore(home).list()) await ledger.register(manifest)
  for (const args of [
    ['account', 'grant'],
    ['account', 'grant', 'host'],
    ['stake', '15', '--as', 'host'],
  ])
    expect(await meadow([...args, '--json']).ended).toMatchObject({ code: 0 })
})
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL')
  await server.close()
  ledger.close()
  rmSync(home, { recursive: true, force: true })
})

function meadow(
  args: string[],
  environment: Record<string, string> = {},
): { child: ChildProcess; ended: Promise<{ code: number | null; lines: Record<string, unknown>[]; stderr: string }> } {
  const child = spawn(process.execPath, [join(root, 'relay/main.ts'), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, MEADOW_HOME: home, MEADOW_RELAY: address, ...environment },
  })
  children.push(child)
  let stdout = ''
  let stderr = ''
  child.stdout!.on('data', (data) => {
    stdout += data
  })
  child.stderr!.on('data', (data) => {
    stderr += data
  })
  const ended = new Promise<{ code: number | null; lines: Record<string, unknown>[]; stderr: string }>((resolve) =>
    child.on('close', (code) => {
      const lines = stdout.trim().split('\n').filter(Boolean)
      resolve({ code, lines: lines.map((line) => JSON.parse(line) as Record<string, unknown>), stderr })
    }),
  )
  return { child, ended }
}

// Once only: the stake answers for the first claim for a day.
test('a job is created, answered by a staked host, and its answer is shown', { retry: 0 }, async () => {
  const host = meadow(['job', 'solve', '--json'])
  const asked = await meadow(['job', 'create', 'What is the capital of France?', '--max-tokens', '12', '--wait', '--json']).ended
  expect(asked).toMatchObject({ code: 0, lines: [{ text: expect.stringContaining('Paris') }] })
  const { claim, job } = asked.lines[0] as { claim: string; job: string }
  ledger.node.seal()
  expect(hex(ledger.node.get(keyOf.job(fromHex(job)))!.claim!)).toBe(claim)
  // A right claim gives nobody a reason to open a dispute.
  const opened = await meadow(['dispute', 'open', claim, '--as', 'ask', '--json']).ended
  expect(opened.lines.at(-1)).toEqual({ verdict: null, finding: 'right' })
  expect(opened.code).toBe(0)
  expect((await meadow(['dispute', 'list', '--json']).ended).lines).toEqual([{ disputes: [] }])
  host.child.kill('SIGTERM')
  expect((await host.ended).lines.map(({ type }) => type)).toEqual(expect.arrayContaining(['answered', 'committed', 'revealed']))
})

test('meadow demo fraud: a host that alters one activation of the default model is caught, and loses its stake to a judge without the model', async () => {
  const { code, lines, stderr } = await meadow(['demo', 'fraud', '--json']).ended
  const result = lines.at(-1)!
  expect({ code, stderr, verdict: result.verdict, justice: result.justice }).toEqual({ code: 0, stderr: '', verdict: 'fallen', justice: true })
  expect(result.reveals).toBeLessThanOrEqual(9)
  expect(result.evidenceBytes).toBeLessThanOrEqual(65_536)
  expect(result).toMatchObject({ modelsOfJudge: 0, judge: { rootsEqual: true } })
  expect(result.answer).not.toBe(result.right)
})
