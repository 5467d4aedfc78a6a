// A relay of its own for one test file: real server, real store in a temporary home, with hands on the wire (damage, delay, silence) that a test can use.
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Hono } from 'hono'
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core'
import { checkPages, createApp, type RunningServer, startServer } from '../../relay/server.ts'
import { openStore } from '../../relay/store.ts'
import { install, type Specimen } from './specimen.ts'

const pages = process.env.MEADOW_PAGES ?? fileURLToPath(new URL('../../build/web', import.meta.url))

export interface Request {
  path: string
  range: string | undefined
  status: number
}

export interface Site {
  url: string
  /** Every request the relay answered, in order. */
  requests: Request[]
  /** Changes a model file's bytes on the way; null leaves them. */
  damage: ((path: string, bytes: Uint8Array) => Uint8Array | null) | null
  /** Awaited before a model file is sent: a test can hold a download open. */
  gate: ((path: string) => Promise<void>) | null
  /** Without the headers that isolate a page, as some hosts are. */
  isolated: boolean
  /** Stops answering; the port stays the same when it comes back. */
  goAway(): Promise<void>
  comeBack(): Promise<void>
  close(): Promise<void>
}

export async function openSite(specimens: Specimen[]): Promise<Site> {
  checkPages(pages)
  const home = await mkdtemp(join(tmpdir(), 'meadow-chat-'))
  const store = openStore(home)
  for (const specimen of specimens) await install(store, specimen)
  const inner = createApp({ store, pages, version: 'test' })
  const app = new Hono()
  app.all('*', async (c) => {
    const path = new URL(c.req.url).pathname
    const file = /^\/models\/[0-9a-f]{64}\/.+/.test(path)
    if (file) await site.gate?.(path)
    let response = await inner.fetch(c.req.raw)
    site.requests.push({ path, range: c.req.header('range'), status: response.status })
    if (file && site.damage) {
      const changed = site.damage(path, new Uint8Array(await response.clone().arrayBuffer()))
      if (changed) response = new Response(changed.slice().buffer, { status: response.status, headers: response.headers })
    }
    if (!site.isolated) {
      response = new Response(response.body, response)
      for (const name of ['Cross-Origin-Opener-Policy', 'Cross-Origin-Embedder-Policy']) response.headers.delete(name)
    }
    return response
  })
  let server: RunningServer | null = await startServer(app, 0, '127.0.0.1')
  const { port } = server
  const site: Site = {
    url: `http://localhost:${port}`,
    requests: [],
    damage: null,
    gate: null,
    isolated: true,
    async goAway() {
      await server?.close()
      server = null
    },
    async comeBack() {
      server ??= await startServer(app, port, '127.0.0.1')
    },
    async close() {
      await server?.close()
      await rm(home, { recursive: true, force: true })
    },
  }
  return site
}

export const chromiumPath = process.env.MEADOW_CHROMIUM ?? '/usr/bin/chromium'

/** How long a page may take to show what a test waits for. Playwright's own 30 s were too few on two cores shared by eight test runs (1 of 130 tests failed). */
const patienceMs = 180_000

export async function launch(args: string[] = []): Promise<Browser> {
  if (!existsSync(chromiumPath)) throw new Error(`Chromium is missing at ${chromiumPath}: set MEADOW_CHROMIUM`)
  const browser = await chromium.launch({ executablePath: chromiumPath, args: ['--no-sandbox', ...args], timeout: patienceMs })
  const newContext = browser.newContext.bind(browser)
  browser.newContext = async (options) => {
    const context = await newContext(options)
    context.setDefaultTimeout(patienceMs)
    return context
  }
  return browser
}

/** A page that reports what it should not do: errors, warnings of the content security policy, requests to anyone else. */
export interface Watched {
  page: Page
  complaints: string[]
}

export async function openPage(context: BrowserContext, site: Site, path = '/chat/'): Promise<Watched> {
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(`error: ${error.message}`))
  page.on('console', (message) => {
    // A relay that is away is what some tests are about.
    if (message.type() === 'error' && !/Failed to load resource|net::ERR/.test(message.text())) complaints.push(`console: ${message.text()}`)
  })
  page.on('request', (request) => {
    const url = request.url()
    if (!url.startsWith(site.url) && !url.startsWith('blob:') && !url.startsWith('data:')) complaints.push(`request to a stranger: ${url}`)
  })
  await page.goto(site.url + path)
  return { page, complaints }
}

/** Downloads the first model from the empty page, as a person would. */
export async function download(page: Page): Promise<void> {
  await page.getByRole('button', { name: /^Download/ }).click()
  await page.getByRole('heading', { name: 'What would you like to know?' }).waitFor()
}

/** Asks, and waits until the answer is whole, stopped or refused. */
export async function ask(page: Page, question: string): Promise<void> {
  const field = page.getByLabel('Message', { exact: true })
  await field.fill(question)
  await field.press('Enter')
  await answered(page)
}

export async function answered(page: Page): Promise<void> {
  await page.locator('article.assistant:last-child[aria-busy=false]').waitFor()
}

export const answers = (page: Page) => page.locator('article.assistant')
