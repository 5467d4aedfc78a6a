// What a person waits for in the real chat page, served by the real relay: from opening the page to the first word with the model cached, tasks that block the page
// while a model loads, requests that leave the page's own host.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type BrowserContext, chromium, type Page } from 'playwright-core'
import { createApp, startServer } from '../../../relay/server.ts'
import { openStore } from '../../../relay/store.ts'
import { chromiumArguments, pathOf } from '../browsers.ts'
import { median } from '../contest.ts'
import type { BenchModel } from '../model.ts'
import { shortQuestion } from '../prompt.ts'
import { quiet } from '../quiet.ts'
import { atMost, type Bar } from './bar.ts'

interface Watched {
  meadowBench: { longTasks: { at: number; ms: number }[]; firstWordMs: number; loadedMs: number }
}

/** Runs in the page before its own code: long tasks, and when the first word of an answer stood in the document, in ms since the navigation began. */
function watch(): void {
  const seen = { longTasks: [] as { at: number; ms: number }[], firstWordMs: 0, loadedMs: 0 }
  Object.assign(globalThis, { meadowBench: seen })
  new PerformanceObserver((list) => seen.longTasks.push(...list.getEntries().map(({ startTime, duration }) => ({ at: startTime, ms: duration })))).observe({
    type: 'longtask',
    buffered: true,
  })
  const look = (): void => {
    const words = document.querySelector('article.assistant .markdown')
    if (!seen.firstWordMs && words?.textContent?.trim()) seen.firstWordMs = performance.now()
  }
  new MutationObserver(look).observe(document, { childList: true, subtree: true, characterData: true })
}

async function visit(context: BrowserContext, address: string, obtain: boolean): Promise<{ page: Page; seen: Watched['meadowBench'] }> {
  const page = await context.newPage()
  await page.addInitScript(watch)
  await page.goto(`${address}chat/`, { waitUntil: 'commit' })
  const question = page.locator('#question:not([disabled])')
  if (obtain)
    await page
      .getByRole('button', { name: /^Download/ })
      .first()
      .click({ timeout: 30000 })
  await question.waitFor({ timeout: 120000 })
  await question.fill(shortQuestion)
  await question.press('Enter')
  await page
    .waitForFunction(() => (globalThis as never as Watched).meadowBench.firstWordMs > 0, undefined, { timeout: 60000 })
    .catch(async (error) => {
      throw new Error(`no word came: the page says ${JSON.stringify((await page.locator('main').textContent())?.slice(0, 500))}`, { cause: error })
    })
  const seen = await page.evaluate(() => (globalThis as never as Watched).meadowBench)
  return { page, seen }
}

const tell = (seen: Watched['meadowBench']): string =>
  seen.longTasks.map(({ at, ms }) => `${ms.toFixed(0)} ms at ${(at / 1000).toFixed(2)} s`).join(', ') || 'none'

export async function chatPageBars(model: BenchModel, visits: number, report: (line: string) => void): Promise<Bar[]> {
  const pages = fileURLToPath(new URL('../../../build/web', import.meta.url))
  const home = fileURLToPath(new URL('../../', `file://${model.folder}/`))
  const server = await startServer(createApp({ store: openStore(home), pages, version: 'bench' }), 0, '127.0.0.1')
  const profile = await mkdtemp(join(tmpdir(), 'meadow-bench-chromium-'))
  const context = await chromium.launchPersistentContext(profile, { executablePath: await pathOf('chromium'), headless: true, args: chromiumArguments })
  try {
    const address = `http://localhost:${server.port}/`
    const first = await visit(context, address, true)
    report(`first visit, model downloaded from the relay: first word after ${(first.seen.firstWordMs / 1000).toFixed(2)} s; long tasks: ${tell(first.seen)}`)
    const longTasks = first.seen.longTasks.map(({ ms }) => ms)
    await first.page
      .getByRole('button', { name: 'Stop' })
      .click({ timeout: 1000 })
      .catch(() => undefined)
    await first.page.close()

    const strangers: string[] = []
    let modelRequests = 0
    context.on('request', (request) => {
      const url = new URL(request.url())
      if (url.protocol.startsWith('http') && url.host !== new URL(address).host) strangers.push(request.url())
      if (/^\/models\/./.test(url.pathname)) modelRequests++
    })
    const times: number[] = []
    for (let i = 0; i < visits; i++) {
      await quiet(20000)
      const { page, seen } = await visit(context, address, false)
      times.push(seen.firstWordMs)
      longTasks.push(...seen.longTasks.map(({ ms }) => ms))
      report(`visit ${i + 1}, model cached: first word after ${(seen.firstWordMs / 1000).toFixed(2)} s; long tasks: ${tell(seen)}`)
      await page.close()
    }
    if (strangers.length > 0) report(`requests to other hosts: ${strangers.slice(0, 5).join(' ')}`)
    if (modelRequests > 0) report(`${modelRequests} requests for the cached model's files`)
    return [
      atMost('page load to first word, model cached', median(times) / 1000, 's', 2.5),
      atMost('main-thread tasks over 200 ms while a model loads', longTasks.filter((ms) => ms > 200).length, 'tasks', 0),
      atMost('requests to other hosts with the model cached', strangers.length, 'requests', 0),
    ]
  } finally {
    await context.close()
    await server.close()
    await rm(profile, { recursive: true, force: true })
  }
}
