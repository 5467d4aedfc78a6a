// Everyone in the contest. Each runs in a process or a tab of its own; peers get the GGUF, Meadow the package made from it.
import { fileURLToPath } from 'node:url'
import type { Browser } from './browsers.ts'
import { spawnChild } from './child.ts'
import type { Contestant, Run, Running } from './contest.ts'
import type { Backend } from './hosts/station.ts'
import type { BenchModel } from './model.ts'
import type { Server } from './serve.ts'

export interface Ring {
  model: BenchModel
  prompt: { text: string; tokens: number[] }
  count: number
  server: Server
  chromium?: Browser
  firefox?: Browser
}

/** Routes the ring's server needs. */
export const routesOf = (model: BenchModel, page: string, peers: string): Record<string, string> => ({
  '/page': page,
  '/peers': `${peers}node_modules`,
  '/peer-pages': `${peers}page`,
  '/model.gguf': model.gguf,
  '/package': model.folder,
})

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const version = '0.1.0'

/** A program that speaks child.ts's lines. `open` and `run` are the arguments of its calls. */
async function inProcess(command: string, args: string[], open: unknown, run: unknown): Promise<Running> {
  const child = spawnChild(command, args)
  try {
    await child.call('open', open)
  } catch (error) {
    await child.stop()
    throw error
  }
  return { run: () => child.call('run', run) as Promise<Run>, stop: () => child.stop() }
}

interface Host {
  call(name: string, argument?: unknown): Promise<unknown>
  stop(): Promise<void>
}

async function tabOf(browser: Browser | undefined, name: string, address: string): Promise<Host> {
  if (!browser) throw new Error(`${name} is not there`)
  const tab = await browser.open(address)
  return { call: (call, argument) => tab.call(call, argument), stop: () => tab.close() }
}

async function inTab(browser: Browser | undefined, name: string, address: string, open: unknown, run: unknown): Promise<Running> {
  const tab = await tabOf(browser, name, address)
  try {
    await tab.call('open', open)
  } catch (error) {
    await tab.stop()
    throw error
  }
  return { run: () => tab.call('run', run) as Promise<Run>, stop: () => tab.stop() }
}

export const wllama = (ring: Ring, threads: number): Contestant => ({
  engine: 'wllama 3.8.1',
  host: 'Chromium',
  backend: 'wasm',
  threads,
  start: () =>
    inTab(
      ring.chromium,
      'Chromium',
      `${ring.server.address}/peer-pages/wllama.html`,
      { model: '/model.gguf', threads, prompt: ring.prompt.text },
      { count: ring.count },
    ),
})

export const nodeLlama = (ring: Ring, threads: number): Contestant => ({
  engine: 'node-llama-cpp 3.22.1',
  host: 'Node',
  backend: 'native',
  threads,
  start: () => inProcess(process.execPath, [at('peers/node-llama.ts')], { model: ring.model.gguf, threads, prompt: ring.prompt.text }, { count: ring.count }),
})

const asked = (ring: Ring): unknown => ({ prompt: ring.prompt.tokens, count: ring.count })

export const meadowNode = (ring: Ring, threads: number): Contestant => ({
  engine: `Meadow ${version}`,
  host: 'Node',
  backend: 'wasm',
  threads,
  start: () => inProcess(...nodeCommand(), { package: ring.model.folder, backend: 'wasm', threads }, asked(ring)),
})

export const nodeCommand = (): [string, string[]] => [process.execPath, [at('hosts/node.ts')]]

export const denoCommand = (): [string, string[]] => [at('../../node_modules/.bin/deno'), ['run', '-A', '--no-lock', '--unstable-webgpu', at('hosts/deno.ts')]]

export const meadowDeno = (ring: Ring): Contestant => ({
  engine: `Meadow ${version}`,
  host: 'Deno',
  backend: 'webgpu',
  threads: 1,
  start: () => inProcess(...denoCommand(), { package: ring.model.folder, backend: 'webgpu', threads: 1 }, asked(ring)),
})

/** Share of a token's time outside the matrix kernels, by host; hosts that are not there or fail are left out and reported. */
export async function otherShares(ring: Ring, report: (line: string) => void): Promise<number[]> {
  const open = { package: '/package', backend: 'webgpu', threads: 1 }
  const places: [string, () => Promise<Host>][] = [
    ['Chromium', () => tabOf(ring.chromium, 'Chromium', `${ring.server.address}/page/index.html`)],
    ['Firefox', () => tabOf(ring.firefox, 'Firefox', `${ring.server.address}/page/index.html`)],
    ['Deno', async () => spawnChild(...denoCommand())],
  ]
  const shares: number[] = []
  for (const [name, start] of places) {
    let host: Host | undefined
    try {
      host = await start()
      await host.call('open', name === 'Deno' ? { ...open, package: ring.model.folder } : open)
      const share = (await host.call('share', { prompt: ring.prompt.tokens })) as number
      report(`${name}: ${(100 * share).toFixed(1)} % of a token's time is spent outside the matrix kernels`)
      shares.push(share)
    } catch (error) {
      report(`${name}: no profile: ${error instanceof Error ? error.message : error}`)
    } finally {
      await host?.stop().catch(() => undefined)
    }
  }
  return shares
}

export const meadowTab = (ring: Ring, host: 'Chromium' | 'Firefox', backend: Exclude<Backend, 'reference'>, threads: number): Contestant => ({
  engine: `Meadow ${version}`,
  host,
  backend,
  threads,
  start: () =>
    inTab(
      host === 'Chromium' ? ring.chromium : ring.firefox,
      host,
      `${ring.server.address}/page/index.html`,
      { package: '/package', backend, threads },
      asked(ring),
    ),
})
