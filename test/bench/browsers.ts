// The browsers of the bench: Chromium through Playwright, Firefox through Puppeteer, both headless, with a software WebGPU adapter where no GPU is found.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
// @ts-expect-error plain JavaScript without types
import { ensureBrowsers } from '../../scripts/browsers.mjs'

/** What the bench needs of a tab. */
export interface Tab {
  /** Calls `globalThis.bench[name](argument)` in the page; both ends are JSON. */
  call(name: string, argument?: unknown): Promise<unknown>
  close(): Promise<void>
}

export interface Browser {
  version: string
  open(address: string): Promise<Tab>
  close(): Promise<void>
}

/** Paths of the browsers, installed when missing and possible. Throws when one cannot be had. */
export async function pathOf(name: 'chromium' | 'firefox'): Promise<string> {
  const path = (await ensureBrowsers())[name]
  if (!path) throw new Error(`${name} was not found`)
  return path
}

/** Unsafe WebGPU: what gives headless Chromium an adapter (SwiftShader). The others keep a tab in the background as fast as one in front, and the browser silent on the net. */
export const chromiumArguments = [
  '--no-sandbox',
  '--enable-unsafe-webgpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-background-timer-throttling',
  '--disable-renderer-backgrounding',
  '--disable-backgrounding-occluded-windows',
  '--enable-precise-memory-info',
]

export async function launchChromium(): Promise<Browser> {
  const { chromium } = await import('playwright-core')
  const browser = await chromium.launch({ executablePath: await pathOf('chromium'), headless: true, args: chromiumArguments })
  return {
    version: browser.version(),
    async open(address) {
      const page = await browser.newPage()
      if (process.env.BENCH_DEBUG) page.on('console', (m) => console.error('[chromium]', m.text()))
      await page.goto(address)
      await page.waitForFunction(() => 'bench' in globalThis)
      return {
        call: (name, argument) =>
          page.evaluate(([n, a]) => (globalThis as never as { bench: Record<string, (a: unknown) => unknown> }).bench[n as string](a), [name, argument]),
        close: () => page.close(),
      }
    },
    close: () => browser.close(),
  }
}

export async function launchFirefox(): Promise<Browser> {
  const { default: puppeteer } = await import('puppeteer-core')
  const profile = await mkdtemp(join(tmpdir(), 'meadow-bench-firefox-'))
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: await pathOf('firefox'),
    headless: true,
    userDataDir: profile,
    protocolTimeout: 1800000,
    extraPrefsFirefox: {
      'dom.webgpu.enabled': true,
      'dom.webgpu.workers.enabled': true,
      'dom.webgpu.allow-in-parent': true,
      'gfx.webgpu.ignore-blocklist': true,
    },
  })
  return {
    version: await browser.version(),
    async open(address) {
      const page = await browser.newPage()
      if (process.env.BENCH_DEBUG) page.on('console', (m) => console.error('[firefox]', m.text()))
      await page.goto(address)
      await page.waitForFunction(() => 'bench' in globalThis)
      return {
        call: (name, argument) =>
          page.evaluate((n, a) => (globalThis as never as { bench: Record<string, (a: unknown) => unknown> }).bench[n](a), name, argument),
        close: () => page.close(),
      }
    },
    async close() {
      await browser.close()
      await rm(profile, { recursive: true, force: true })
    },
  }
}
