import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openStore } from '../../relay/store.ts'
import { root } from '../code/sources.ts'
import { hashedPackage } from './hashed-package.ts'

let home: string
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'meadow-cli-'))
})
afterAll(() => rm(home, { recursive: true }))

interface Result {
  code: number | null
  stdout: string
  stderr: string
}

/** Runs the command; `onOutput` sees standard output as it grows and may send a signal. */
function meadow(
  args: string[],
  {
    input = '',
    onOutput,
    env = {},
  }: { input?: string; env?: Record<string, string>; onOutput?: (text: string, kill: (signal: NodeJS.Signals) => void) => void } = {},
): Promise<Result> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, 'relay/main.ts'), ...args], { env: { ...process.env, MEADOW_HOME: home, PORT: '', ...env } })
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (data) => {
      stdout += data
      onOutput?.(stdout, (signal) => child.kill(signal))
    })
    child.stderr.on('data', (data) => {
      stderr += data
    })
    child.stdin.end(input)
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, stdout, stderr }))
  })
}

test.for([
  '',
  ' ask',
  ' model',
  ' model add',
  ' model list',
  ' model show',
  ' model remove',
  ' eval',
  ' bench',
  ' bench engine',
  ' bench swarm',
  ' demo',
  ' demo fraud',
  ' dispute',
  ' dispute list',
  ' dispute show',
  ' dispute open',
  ' dispute play',
  ' job',
  ' job create',
  ' job solve',
  ' serve',
  ' watch',
  ' host',
  ' swarm',
  ' verify',
  ' identity',
  ' identity show',
  ' identity export',
  ' identity import',
])('meadow%s --help explains itself, without colours in a pipe', async (command) => {
  const { code, stdout, stderr } = await meadow([...command.split(' ').slice(1), '--help'])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout).toContain(`USAGE meadow${command}`)
  expect(stdout).not.toContain('\u001b')
})

test('--version is that of package.json', async () => {
  expect(await meadow(['--version'])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) })
})

test.for<[string[], RegExp]>([
  [[], /No command specified/],
  [['nonsense'], /Unknown command nonsense/],
  [['ask', 'x', '--nonsense'], /There is no option --nonsense\./],
  [['ask', 'x', '--no-nonsense'], /There is no option --nonsense\./],
  [['ask', 'two', 'words'], /"words" is one argument too many/],
  [['ask', 'x', '--max-tokens', '0'], /--max-tokens is 0, must be a whole number from 1/],
  [['ask', 'x', '--temperature', 'warm'], /--temperature is warm, must be a number from 0 to 100\./],
  [['ask', 'x', '--temperature', '-1'], /--temperature/],
  [['ask', 'x', '--top-p', '1.5'], /--top-p is 1\.5, must be a number from 0 to 1\./],
  [['ask', 'x', '--seed', '1e3'], /--seed is 1e3/],
  [['ask', 'x', '--model'], /Option --model needs a value\./],
  [['ask', 'x', '--backend', 'abacus'], /abacus/],
  [['ask', 'x', '--backend', 'reference', '--threads', '2'], /The reference engine has one thread\./],
  [['ask', ''], /There is no question/],
  [['eval'], /--text/],
  [['model', 'show'], /MODEL/],
  [['ask', 'x', '--receipt', 'x.json'], /--receipt belongs to --swarm\./],
  [['ask', 'x', '--swarm', '--relay', 'nowhere'], /Nowhere is no address of a relay, such as/],
  [['watch', '--share', '2'], /--share is 2, must be a number from 0 to 1\./],
  [['demo', 'fraud', '--max-tokens', '1'], /--max-tokens is 1, must be a whole number from 4/],
  [['dispute', 'show', 'abc'], /A dispute must be 64 hex digits\./],
  [['host', '--layers', '9-3'], /--layers is 9-3, must be auto or two numbers such as 0-9\./],
  [['host', '--layers', '0-3', '--model', 'a,b'], /--layers names layers of one model/],
  [['identity', 'import', 'three', 'words', 'only'], /"words" is one argument too many/],
  [['identity', 'import', 'three words only'], /A recovery phrase has 24 words, not 3\./],
  [['serve', '--ice', 'x'], /--ice x is no STUN or TURN address/],
  [['serve', '--port', '70000'], /--port is 70000, must be a whole number from 0 to 65535\./],
])('wrong usage is said and ends with code 2: meadow %s', async ([args, message]) => {
  const { code, stdout, stderr } = await meadow(args)
  expect(stderr).toMatch(message)
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
})

test.for<[string[], RegExp]>([
  [['model', 'show', 'nothing'], /^There is no model nothing \(none is installed\)\.\n$/],
  [['model', 'add', 'nothing.gguf'], /^There is no file .*nothing\.gguf\.\n$/],
  [['model', 'add', 'hf:x'], /^hf:x is not of the form hf:owner\/repo\/file\.gguf\.\n$/],
  [['eval', '--text', 'nothing.txt'], /^There is no file nothing\.txt\.\n$/],
  [['ask', 'x', '--model', 'nothing'], /^There is no model nothing/],
  [['serve', '--pages', '/nothing'], /^The pages are not built/],
  [['ask', 'x', '--swarm', '--relay', 'http://127.0.0.1:9'], /^The relay at http:\/\/127\.0\.0\.1:9 cannot be reached/],
  [['swarm', '--relay', 'http://127.0.0.1:9'], /^The relay at http:\/\/127\.0\.0\.1:9 cannot be reached/],
  [['verify', 'nothing.json'], /^There is no file nothing\.json\.\n$/],
  [['verify', '/etc/hostname'], /^\/etc\/hostname is not JSON\.\n$/],
])('what cannot be done is said in one sentence and ends with code 1: meadow %s', async ([args, message]) => {
  const { code, stdout, stderr } = await meadow(args)
  expect(stderr).toMatch(message)
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
})

test('a file that is no model is refused in one sentence, and nothing is installed', async () => {
  const path = join(home, 'noise.gguf')
  await writeFile(path, 'GGUF and then nothing that makes sense')
  const { code, stderr } = await meadow(['model', 'add', path])
  expect(code).toBe(1)
  expect(stderr.trim().split('\n').at(-1)).toMatch(/^.{10,}\.$/)
  expect(stderr).not.toMatch(/\n\s+at /)
  expect(await readdir(join(home, 'models'))).toEqual([])
})

test('models are listed, shown and removed, as JSON too', async () => {
  const tiny = await hashedPackage()
  const { id } = await openStore(home).install(tiny.writeTo, { name: null, source: 'here', pinned: 'local' }, () => 'as shipped')
  expect((await meadow(['model', 'list'])).stdout).toContain(id.slice(0, 12))
  const shown = (await meadow(['model', 'show', id.slice(0, 10)])).stdout
  for (const word of [id, 'llama', 'licence', 'layer-0', 'as shipped']) expect(shown).toContain(word)
  const { stdout } = await meadow(['model', 'show', id, '--json'])
  expect(JSON.parse(stdout.trim().split('\n').at(-1)!)).toMatchObject({
    id,
    architecture: 'llama',
    layers: tiny.manifest.core.layers,
    shards: tiny.manifest.shards.map(({ name, bytes }) => ({ name, bytes })),
  })
  expect((await meadow(['model', 'remove', id])).stdout).toMatch(/^Removed /)
  expect(JSON.parse((await meadow(['model', 'list', '--json'])).stdout).models).toEqual([])
})

test('the server names a taken port, before anything is downloaded', async () => {
  const pages = join(home, 'pages')
  await writePage(pages)
  const other = createServer()
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
  const { port } = other.address() as AddressInfo
  const { code, stderr } = await meadow(['serve', '--no-host', '--pages', pages, '--port', String(port), '--host', '127.0.0.1'])
  expect({ code, stderr }).toEqual({ code: 1, stderr: `Port ${port} is taken by another program: choose one with --port or PORT.\n` })
  await new Promise((resolve) => other.close(resolve))
})

test('the server prints its address, answers, and ends in good order at Ctrl-C', async () => {
  const pages = join(home, 'pages')
  await writePage(pages)
  const tiny = await hashedPackage()
  // Under the default model's name, so that nothing is downloaded.
  const { id } = await openStore(home).install(tiny.writeTo, { name: 'smollm2-135m', source: 'here', pinned: 'local' }, () => '')
  let health: Promise<unknown> | undefined
  const { code, stdout } = await meadow(['serve', '--no-host', '--pages', pages, '--port', '0', '--json'], {
    onOutput: (text, kill) => {
      const address = /"address":"([^"]+)"/.exec(text)?.[1]
      if (!address || health) return
      health = fetch(`${address}health`)
        .then((response) => response.json())
        .finally(() => kill('SIGINT'))
    },
  })
  expect(await health).toMatchObject({ ok: true })
  expect(code).toBe(0)
  expect(stdout.trim().split('\n')).toHaveLength(1)
  await openStore(home).remove(id)
})

test('a key is made once, travels as 24 words, and the one it replaces is kept', async () => {
  const shown = async (): Promise<string> => JSON.parse((await meadow(['identity', 'show', '--json'])).stdout).keys[0].key
  const first = await shown()
  expect(await shown()).toBe(first)
  const words = (await meadow(['identity', 'export'])).stdout
  expect(words.trim().split(' ')).toHaveLength(24)
  const imported = await meadow(['identity', 'import'], { input: `${'abandon '.repeat(23)}art` })
  expect(imported).toMatchObject({ code: 0, stdout: `host is now ${await shown()}\n` })
  expect(await shown()).not.toBe(first)
  expect(await readdir(join(home, 'keys'))).toContain(`host.${first.slice(0, 12)}`)
  expect((await meadow(['identity', 'import'], { input: words })).stdout).toBe(`host is now ${first}\n`)
  expect((await stat(join(home, 'keys', 'host'))).mode & 0o777).toBe(0o600)
}, 120_000)

async function writePage(pages: string): Promise<void> {
  await mkdir(pages, { recursive: true })
  await writeFile(join(pages, 'index.html'), '<!doctype html>')
}
