// Starts the WebGPU checks and measurements where they run: Deno, or a headless browser with the bundled page.
import { spawn } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'
import { launchChromium, launchFirefox } from '../../bench/browsers.ts'
import { serve } from '../../bench/serve.ts'
import type { Outcome } from './checks.ts'
import type { Measured, MeasureOptions } from './measure.ts'

export type HostName = 'deno' | 'chromium' | 'firefox'

const here = fileURLToPath(new URL('.', import.meta.url))
export const root = fileURLToPath(new URL('../../../', import.meta.url))

/** Deno with the arguments; its last line of output. Mesa asks for a runtime directory. */
export async function runDeno(script: string, args: string[]): Promise<string> {
  const child = spawn(join(root, 'node_modules/.bin/deno'), ['run', '-A', '--no-check', join(here, script), ...args], {
    cwd: root,
    env: { XDG_RUNTIME_DIR: tmpdir(), ...process.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let out = ''
  let errors = ''
  child.stdout.on('data', (chunk) => (out += chunk))
  child.stderr.on('data', (chunk) => (errors = (errors + chunk).slice(-4000)))
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve))
  const last = out.trim().split('\n').at(-1) ?? ''
  if (code !== 0 || last === '') throw new Error(`deno ended with ${code}: ${errors}`)
  return last
}

async function inBrowser<T>(name: 'chromium' | 'firefox', routes: Record<string, string>, call: string, argument: unknown): Promise<T> {
  const outDir = join(root, 'build/test/webgpu')
  await build({ root: here, configFile: false, logLevel: 'error', base: './', build: { outDir, emptyOutDir: true, target: 'es2024' } })
  const server = await serve({ '/': outDir, ...routes })
  const browser = await (name === 'chromium' ? launchChromium() : launchFirefox())
  try {
    const tab = await browser.open(`${server.address}/index.html`)
    return (await tab.call(call, argument)) as T
  } finally {
    await browser.close()
    await server.close()
  }
}

/** Runs the checks whose name holds `only`. */
export async function check(name: HostName, only = ''): Promise<Outcome[]> {
  if (name === 'deno') return JSON.parse(await runDeno('deno.ts', [only]))
  return inBrowser<Outcome[]>(name, {}, 'check', only)
}

/** Measures a model package in `folder`. */
export async function measureIn(name: HostName, folder: string, options: MeasureOptions): Promise<Measured> {
  if (name === 'deno') return JSON.parse(await runDeno('device.ts', ['--json', '--package', folder, '--options', JSON.stringify(options)]))
  return inBrowser<Measured>(name, { '/model': folder }, 'measure', { place: '/model', options })
}
