// Real headless tabs that lend the real model: a relay in a process of its own, one Chromium, a context of its own (storage, workers, peer connections) for each tab.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type Browser, chromium } from 'playwright-core'
import { type Lender, type LenderOptions, lendButton, openContribute } from '../../browser/lend.ts'
import { root } from '../../code/sources.ts'
import { chromiumArguments, pathOf } from '../browsers.ts'
import type { BenchModel } from './fleet.ts'
import type { TabRelayConfig, TabRelayCounts } from './tab-relay.ts'

/** Notes, from the document's first moment on, when the page's state changed (its heading) and which tasks of its thread were long. Times are milliseconds since navigation. */
const probe = `
  globalThis.bench = { states: [], longTasks: [], clickMs: null }
  new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) bench.longTasks.push({ startTime, duration })
  }).observe({ type: 'longtask', buffered: true })
  const note = () => {
    const text = document.querySelector('#status')?.textContent?.trim() ?? ''
    const doing = [...document.querySelectorAll('section[aria-labelledby=held] article > p')].map((one) => one.textContent.split(':')[0]).join(' | ')
    const state = text + (doing ? ' / ' + doing : '')
    if (state && bench.states.at(-1)?.state !== state) bench.states.push({ state, ms: performance.now() })
    if (/^(Ready|Computing)/.test(text)) readied()
  }
  let readied
  bench.ready = new Promise((resolve) => { readied = resolve })
  new MutationObserver(note).observe(document, { subtree: true, childList: true, characterData: true })
  addEventListener('click', () => { bench.clickMs ??= performance.now() }, { capture: true })`

export interface TabNotes {
  states: { state: string; ms: number }[]
  longTasks: { startTime: number; duration: number }[]
  clickMs: number | null
}

export interface TabLender extends Lender {
  notes(): Promise<TabNotes>
  /** Milliseconds from the click to the page's "Ready". */
  readyMs(): Promise<number>
  /** Bytes of layers exchanged with others, by name: 'The relay' is its web seed and its seeder. */
  exchanged(): Promise<{ peer: string; received: number; sent: number }[]>
  /** The renderer dies without a word. */
  crash(): Promise<void>
}

export interface TabFleet {
  url: string
  browser: Browser
  /** Opens the contribute page in a context of its own and presses the button, when it is there. */
  lend(options?: LenderOptions): Promise<TabLender>
  counts(): Promise<TabRelayCounts>
  close(): Promise<void>
}

export async function startTabs(model: BenchModel, options: { seed?: boolean; browserArguments?: string[] } = {}): Promise<TabFleet> {
  const home = mkdtempSync(join(tmpdir(), 'meadow-tabs-'))
  symlinkSync(join(model.store.home, 'models'), join(home, 'models'))
  const config: TabRelayConfig = { home, pages: process.env.MEADOW_PAGES ?? join(root, 'build/web'), seed: options.seed ?? false }
  const relay = spawn(process.execPath, [join(root, 'test/bench/swarm/tab-relay.ts'), JSON.stringify(config)], {
    stdio: ['ignore', 'pipe', process.env.BENCH_DEBUG ? 'inherit' : 'ignore', 'ipc'],
  })
  const endRelay = (): void => void relay.kill('SIGKILL')
  process.once('exit', endRelay)
  const url = await addressOf(relay)
  const browser = await chromium.launch({
    executablePath: await pathOf('chromium'),
    headless: true,
    args: [...chromiumArguments, ...(options.browserArguments ?? [])],
  })
  return {
    url,
    browser,
    async lend(options = {}) {
      const lender = await openContribute(browser, url, { ...options, choices: { threads: 0, ...options.choices }, script: probe + (options.script ?? '') })
      await lendButton(lender.page).click()
      return withNotes(lender)
    },
    counts: () =>
      new Promise((resolve) => {
        relay.once('message', (counts) => resolve(counts as TabRelayCounts))
        relay.send('counts')
      }),
    async close() {
      await browser.close()
      process.removeListener('exit', endRelay)
      await new Promise<void>((resolve) => {
        if (relay.exitCode !== null || relay.signalCode !== null) return resolve()
        relay.once('exit', () => resolve())
        relay.kill('SIGKILL')
      })
      rmSync(home, { recursive: true, force: true })
    },
  }
}

function addressOf(relay: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    createInterface({ input: relay.stdout! }).on('line', (line) => {
      if (line.startsWith('{"url"')) resolve((JSON.parse(line) as { url: string }).url)
    })
    relay.once('exit', (code, signal) => reject(new Error(`the relay ended with ${signal ?? code}`)))
  })
}

function withNotes(lender: Lender): TabLender {
  const { page } = lender
  const notes = (): Promise<TabNotes> =>
    page.evaluate(() => {
      const { states, longTasks, clickMs } = (globalThis as unknown as { bench: TabNotes }).bench
      return { states, longTasks, clickMs }
    })
  return {
    ...lender,
    notes,
    async readyMs() {
      await page.evaluate(() => (globalThis as unknown as { bench: { ready: Promise<void> } }).bench.ready)
      const { states, clickMs } = await notes()
      return states.find(({ state }) => /^(Ready|Computing)/.test(state))!.ms - clickMs!
    },
    exchanged: () =>
      page.locator('section[aria-labelledby=transfers] tbody tr').evaluateAll((rows) =>
        rows.map((row) => {
          const [received, sent] = [...row.querySelectorAll('data')].map(({ value }) => Number(value))
          return { peer: row.querySelector('th')?.textContent ?? '', received, sent }
        }),
      ),
    async crash() {
      await page.goto('chrome://crash').catch(() => {})
    },
  }
}
