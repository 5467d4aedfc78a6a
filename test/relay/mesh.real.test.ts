// The mesh as people run it: a relay and hosts as processes of their own, with the default model. One third of the layers each; one is killed mid-answer.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { findOrAddModel } from '../../relay/models.ts'
import { openStore } from '../../relay/store.ts'
import { root } from '../code/sources.ts'

let home: string
let relay: string
const children = new Set<ChildProcess>()

function start(args: string[]): ChildProcess {
  const child = spawn(process.execPath, [join(root, 'relay/main.ts'), ...args], {
    env: { ...process.env, MEADOW_HOME: home, PORT: '', MEADOW_RELAY: relay ?? '' },
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

async function run(args: string[], onOutput: (text: string) => void = () => {}): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = start(args)
  let stdout = ''
  let stderr = ''
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

const json = async (args: string[]): Promise<Record<string, never>> => {
  const { code, stdout, stderr } = await run([...args, '--json'])
  expect({ code, stderr }).toMatchObject({ code: 0 })
  return JSON.parse(stdout.trim().split('\n').at(-1)!)
}

const host = (layers: string): { child: ChildProcess; serving: Promise<unknown> } => {
  const child = start(['host', '--layers', layers, '--threads', '1'])
  return { child, serving: line(child, /^Serving: /) }
}

beforeAll(async () => {
  const store = openStore()
  await findOrAddModel(store, undefined)
  home = await mkdtemp(join(tmpdir(), 'meadow-real-'))
  await symlink(join(store.home, 'models'), join(home, 'models'))
  await mkdir(join(home, 'pages'))
  await writeFile(join(home, 'pages', 'index.html'), '<!doctype html>')
  const child = start(['serve', '--no-host', '--host', '127.0.0.1', '--port', '0', '--pages', join(home, 'pages'), '--json'])
  relay = (await line(child, /"address":"([^"]+)"/))[1]!
})
afterAll(async () => {
  await Promise.all([...children].map((child) => new Promise((resolve) => child.once('exit', resolve) && child.kill('SIGKILL'))))
  await rm(home, { recursive: true, force: true })
})

const question = 'Write a long story about a fox and a crow.'

test('three hosts with a third each answer as one machine does; one is killed mid-answer and the text does not change; the receipt verifies', async () => {
  const hosts = ['0-9', '10-19', '20-29'].map(host)
  await Promise.all(hosts.map((one) => one.serving))
  const spare = host('10-19')
  await spare.serving
  // What a host says takes a moment to be known at the relay.
  let swarm = await json(['swarm'])
  while (Number(swarm.hosts) < 4) swarm = await json(['swarm'])
  expect(swarm).toMatchObject({ hosts: 4, models: [{ runnable: true, holes: [] }] })

  const alone = await json(['ask', question, '--max-tokens', '60'])
  const receipt = join(home, 'receipt.json')
  const plain = await json(['ask', question, '--max-tokens', '60', '--swarm', '--receipt', receipt])
  for (const key of ['text', 'tokens', 'inputHash', 'outputHash', 'stop']) expect(plain[key]).toEqual(alone[key])
  expect(plain.backend).toBe('swarm')

  const verdict = await run(['verify', receipt])
  expect(verdict).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Equal: all 60 tokens/) })
  const forged = JSON.parse(await readFile(receipt, 'utf8'))
  forged.tokens[7] = forged.tokens[7] === 100 ? 101 : 100
  await writeFile(receipt, JSON.stringify(forged))
  const wrong = await json(['verify', receipt]).catch(() => null)
  expect(wrong).toBeNull()
  expect((await run(['verify', receipt])).stdout).toMatch(/^Different from token 8 on/)

  // Both hosts of the middle are in the mesh; the one that the answer runs on is the one to die.
  let killed = false
  const broken = await run(['ask', question, '--max-tokens', '60', '--swarm'], (text) => {
    if (killed || text.split(' ').length < 15) return
    killed = true
    hosts[1]!.child.kill('SIGKILL')
    hosts[1] = spare
  })
  expect({ killed, code: broken.code, text: broken.stdout.trimEnd() }).toEqual({ killed: true, code: 0, text: String(alone.text).trimEnd() })

  // Whichever of the two it was: kill the other way round too.
  const again = host('10-19')
  await again.serving
  let second = false
  const once = await run(['ask', question, '--max-tokens', '60', '--swarm'], (text) => {
    if (second || text.split(' ').length < 15) return
    second = true
    spare.child.kill('SIGKILL')
  })
  expect({ second, code: once.code, text: once.stdout.trimEnd() }).toEqual({ second: true, code: 0, text: String(alone.text).trimEnd() })
})

test('a private group of real processes: members answer each other through the relay, and neither the open mesh nor another group sees or asks them', async () => {
  const invitation = '0123456789abcdef0123456789abcdef'
  const members = ['0-14', '15-29'].map((layers) => start(['host', '--layers', layers, '--threads', '1', '--invite', invitation]))
  await Promise.all(members.map((child) => line(child, /^Serving: /)))
  const alone = await json(['ask', question, '--max-tokens', '12'])
  const receipt = join(home, 'group-receipt.json')
  const answered = await json(['ask', question, '--max-tokens', '12', '--swarm', '--invite', invitation, '--receipt', receipt])
  expect(answered.text).toEqual(alone.text)
  const peersOf = async (path: string): Promise<string[]> => JSON.parse(await readFile(path, 'utf8')).hosts.map((host: { peer: string }) => host.peer)
  const memberKeys = await peersOf(receipt)
  expect(memberKeys).toHaveLength(2)
  // The relay tells the open mesh of others only.
  const swarm = await json(['swarm'])
  const seen = (swarm.models as { hosts: { peer: string }[] }[]).flatMap((model) => model.hosts.map((host) => host.peer))
  expect(seen.filter((peer) => memberKeys.includes(peer))).toEqual([])
  // Another group finds nobody, though hosts of this one and of the open mesh are a connection away.
  const outsider = await run(['ask', question, '--max-tokens', '12', '--swarm', '--invite', 'f'.repeat(32)])
  expect(outsider.code).not.toBe(0)
  expect(outsider.stderr).toMatch(/no hosts|nobody/i)
  await Promise.all(members.map((child) => new Promise((resolve) => child.once('exit', resolve) && child.kill('SIGKILL'))))
})
