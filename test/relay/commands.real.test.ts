// The commands with the default model, as a person runs them.
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { root } from '../code/sources.ts'

function meadow(args: string[], onOutput?: (kill: (signal: NodeJS.Signals) => void) => void): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, 'relay/main.ts'), ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (data) => {
      stdout += data
      onOutput?.((signal) => child.kill(signal))
    })
    child.stderr.on('data', (data) => {
      stderr += data
    })
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, stdout, stderr }))
  })
}

async function json(args: string[]): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await meadow([...args, '--json'])
  expect({ code, stderr }).toMatchObject({ code: 0 })
  return JSON.parse(stdout.trim().split('\n').at(-1)!)
}

const question = ['ask', 'What is the capital of France?', '--max-tokens', '16']

test('the default model knows the capital of France, and says so as text', async () => {
  const { code, stdout } = await meadow(question)
  expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringContaining('Paris') })
})

test('ask --json names question and answer by hashes that do not depend on threads', async () => {
  const one = await json([...question, '--threads', '1'])
  const two = await json([...question, '--threads', '2'])
  expect(one).toMatchObject({
    text: expect.stringContaining('Paris'),
    modelId: expect.stringMatching(/^[0-9a-f]{64}$/),
    inputHash: expect.stringMatching(/^[0-9a-f]{64}$/),
    outputHash: expect.stringMatching(/^[0-9a-f]{64}$/),
    backend: 'wasm',
    threads: 1,
    stop: 'eos',
  })
  expect(one.prefillTokensPerSecond).toBeGreaterThan(0)
  expect(one.decodeTokensPerSecond).toBeGreaterThan(0)
  for (const key of ['text', 'tokens', 'inputHash', 'outputHash', 'stop']) expect(two[key]).toEqual(one[key])
})

test('the seed decides a sampled answer, the reference gives the same one', async () => {
  const sampled = [...question, '--temperature', '1.5', '--top-k', '50', '--top-p', '0.95', '--min-p', '0.01', '--repeat-penalty', '1.1']
  const first = await json([...sampled, '--seed', '1'])
  const again = await json([...sampled, '--seed', '1', '--backend', 'reference'])
  const other = await json([...sampled, '--seed', '2'])
  expect(again.outputHash).toBe(first.outputHash)
  expect(other.tokens).not.toEqual(first.tokens)
})

test('eval comes within 0.3 % of float32', async () => {
  // The Apache-2.0 licence: 23.6905 with the float32 yardstick, shared/reference/float_llama.py of the project's beginning.
  const result = await json(['eval', '--text', join(root, 'LICENSE'), '--context', '256'])
  expect(result).toMatchObject({ tokens: 8 * 255, backend: 'wasm' })
  expect((result.perplexity as number) / 23.6905).toBeLessThan(1.003)
  expect((result.perplexity as number) / 23.6905).toBeGreaterThan(0.99)
})

test('the summed loss of a text is the same number on one thread, two, and the reference', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'meadow-eval-'))
  const path = join(folder, 'text.txt')
  await writeFile(path, (await readFile(join(root, 'LICENSE'), 'utf8')).slice(0, 600))
  const evaluate = ['eval', '--text', path, '--context', '24']
  const one = await json([...evaluate, '--threads', '1'])
  expect(one.windows).toBeGreaterThan(2)
  expect((await json([...evaluate, '--threads', '2'])).lossFixed).toBe(one.lossFixed)
  expect((await json([...evaluate, '--backend', 'reference'])).lossFixed).toBe(one.lossFixed)
  await rm(folder, { recursive: true })
})

test('Ctrl-C ends an answer with code 130', async () => {
  let stopped = false
  const { code, stderr } = await meadow(['ask', 'Count from 1 to 1000.', '--max-tokens', '4000'], (kill) => {
    if (!stopped) kill('SIGINT')
    stopped = true
  })
  expect({ code, stderr }).toEqual({ code: 130, stderr: expect.stringContaining('Cancelled.') })
})

test('a prompt longer than the context is refused in one sentence', async () => {
  const { code, stderr } = await meadow(['ask', 'word '.repeat(9000)])
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^The prompt has \d+ tokens, the model's context holds 8192.*\.\n$/) })
})
