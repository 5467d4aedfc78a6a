// The embed script on a page of another origin: what it loads before the click, that it starts by the visitor's click only, that it pauses, keeps nothing, and
// believes only messages of the right origin and frame.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Browser, type BrowserContext, chromium, type Frame, type Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { axe } from './axe.ts'
import { type MeshSite, openMeshSite, until } from './mesh-site.ts'
import { chromiumPath, launch } from './site.ts'
import { chatSpecimen, type Specimen } from './specimen.ts'

let site: MeshSite
let specimen: Specimen
let browser: Browser
let context: BrowserContext
let stranger: Server
/** What the other site's page is, and the headers it has. */
let html = ''
let headers: Record<string, string> = {}

beforeAll(async () => {
  specimen = await chatSpecimen({ context: 2048 })
  site = await openMeshSite([specimen])
  stranger = createServer((_request, response) => response.writeHead(200, { 'content-type': 'text/html', ...headers }).end(html))
  await new Promise<void>((resolve) => stranger.listen(0, '127.0.0.1', resolve))
  browser = await launch()
})
afterAll(async () => {
  await browser?.close()
  stranger?.close()
  await site?.close()
})
afterEach(async () => {
  await context?.close()
  headers = {}
  await site.closeHosts()
})

/** A browser whose person lets frames of other sites store (parted from what they keep elsewhere); private windows and Debian's default do not. */
async function launchProfile(folder: string): Promise<BrowserContext> {
  await mkdir(join(folder, 'Default'))
  await writeFile(join(folder, 'Default', 'Preferences'), JSON.stringify({ profile: { cookie_controls_mode: 0, block_third_party_cookies: false } }))
  return chromium.launchPersistentContext(folder, { executablePath: chromiumPath, args: ['--no-sandbox'] })
}

interface Opened {
  page: Page
  /** Bytes of everything the relay sent so far, bodies as they went over the wire. */
  bytes(): number
  paths: string[]
  complaints: string[]
  card(): Promise<Frame>
}

/** 127.0.0.1 and localhost are two sites, as two domains are. */
async function open(attributes: string, options: Parameters<Browser['newContext']>[0] = {}, made?: BrowserContext): Promise<Opened> {
  html = `<!doctype html><html lang="en"><title>Somebody’s site</title><body><h1>Somebody’s site</h1><script src="${site.url}/embed/v1.js" ${attributes}></script></body></html>`
  context = made ?? (await browser.newContext(options))
  // Counts what a page may do with a GPU, peers and storage, in every frame, before any code of it runs.
  await context.addInitScript(() => {
    const counts = { gpu: 0, peers: 0, storage: 0, workers: 0 }
    Object.assign(window, { counts })
    const count = (name: keyof typeof counts, target: object | undefined, method: string): void => {
      const original = (target as Record<string, (...args: unknown[]) => unknown> | undefined)?.[method]
      if (!original) return
      Object.defineProperty(target, method, {
        value(...args: unknown[]) {
          counts[name]++
          return original.apply(this, args)
        },
      })
    }
    count('gpu', (globalThis as { GPU?: { prototype: object } }).GPU?.prototype, 'requestAdapter')
    count('storage', IDBFactory.prototype, 'open')
    count('storage', Storage.prototype, 'setItem')
    if ('StorageManager' in window) count('storage', StorageManager.prototype, 'getDirectory')
    for (const [name, key] of [
      ['RTCPeerConnection', 'peers'],
      ['WebSocket', 'peers'],
      ['EventSource', 'peers'],
      ['Worker', 'workers'],
    ] as const) {
      const Original = (window as unknown as Record<string, new (...args: never[]) => object>)[name]
      if (!Original) continue
      Object.assign(window, {
        [name]: new Proxy(Original, {
          construct(target, args, newTarget) {
            counts[key]++
            return Reflect.construct(target, args, newTarget)
          },
        }),
      })
    }
  })
  const page = await context.newPage()
  const sizes = new Map<string, number>()
  const paths: string[] = []
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('console', (message) => {
    if (message.type() === 'error' && !/Failed to load resource|net::ERR/.test(message.text())) complaints.push(message.text())
  })
  const session = await context.newCDPSession(page)
  await session.send('Network.enable')
  page.on('requestfinished', async (request) => {
    if (!request.url().startsWith(site.url)) return
    paths.push(new URL(request.url()).pathname)
    const { responseBodySize, responseHeadersSize } = await request.sizes()
    sizes.set(request.url() + paths.length, responseBodySize + responseHeadersSize)
  })
  await page.goto(`http://127.0.0.1:${(stranger.address() as AddressInfo).port}/`)
  const card = async (): Promise<Frame> => {
    await page.locator('iframe').waitFor()
    await page.frameLocator('iframe').getByRole('button').first().waitFor()
    return page.frames().find((frame) => frame.url().startsWith(`${site.url}/embed/`))!
  }
  return { page, bytes: () => [...sizes.values()].reduce((sum, size) => sum + size, 0), paths, complaints, card }
}

const counts = (frame: Frame) => frame.evaluate(() => ({ ...(window as unknown as { counts: Record<string, number> }).counts }))

test.each(['chat', 'contribute'])('before the click the %s card has loaded at most 10 kB, touched no GPU, no peer and no storage', async (kind) => {
  const { page, bytes, paths, complaints, card } = await open(`data-meadow="${kind}"`)
  const frame = await card()
  await page.waitForLoadState('networkidle')
  expect(await frame.getByRole('button').count()).toBe(1)
  expect(await counts(frame)).toEqual({ gpu: 0, peers: 0, storage: 0, workers: 0 })
  expect(bytes()).toBeGreaterThan(3000)
  expect(bytes()).toBeLessThanOrEqual(10_000)
  expect(paths.filter((path) => path.startsWith('/models') || path.startsWith('/swarm') || path.startsWith('/mesh'))).toEqual([])
  expect(await context.cookies()).toEqual([])
  expect(complaints).toEqual([])
})

test('the frame is as high as its card, and the script leaves nothing in the site’s page but the frame', async () => {
  const { page, card } = await open('data-meadow="chat"')
  const frame = await card()
  const height = await frame.evaluate(() => document.documentElement.offsetHeight)
  await until(async () => (await page.locator('iframe').evaluate((element) => element.clientHeight)) === height)
  const names = await page.evaluate(() => {
    const clean = document.createElement('iframe')
    document.body.append(clean)
    const known = new Set(Object.getOwnPropertyNames(clean.contentWindow))
    clean.remove()
    return Object.getOwnPropertyNames(window).filter((name) => !known.has(name) && !/^\d+$/.test(name) && name !== 'counts')
  })
  expect(names).toEqual([])
})

test('a visitor asks through the card, the swarm answers, pausing ends every connection, and nothing is kept', async () => {
  await site.host(specimen, 0, 2)
  await site.host(specimen, 2, 3)
  const { page, card, complaints } = await open('data-meadow="chat"')
  const frame = await card()
  const states: string[] = []
  await page.exposeFunction('stateOf', (state: string) => states.push(state))
  await page.evaluate(() =>
    document.addEventListener('meadow:state', (event) =>
      (window as unknown as { stateOf(state: string): void }).stateOf((event as CustomEvent<string>).detail),
    ),
  )
  await frame.getByRole('button', { name: 'Start the chat' }).focus()
  await page.keyboard.press('Enter')
  const field = frame.getByLabel('Message')
  await field.waitFor()
  await frame.getByPlaceholder('Ask anything').waitFor()
  await field.fill('What grows here?')
  await field.press('Enter')
  await frame.getByText(/\d hosts computed this/).waitFor({ timeout: 60_000 })
  expect((await frame.locator('article.assistant').textContent())?.length).toBeGreaterThan(10)
  await page.evaluate(() => dispatchEvent(new Event('meadow:pause')))
  await frame.getByText('Paused: nothing runs and nothing is connected.').waitFor()
  await until(() => states.includes('paused'))
  expect(states).toEqual(['starting', 'running', 'paused'])
  expect((await counts(frame)).storage).toBe(0)
  expect(complaints).toEqual([])
})

test('only the visitor’s own click starts a card; scripts and other frames cannot, and nobody else’s messages are believed', async () => {
  const { page, card, paths } = await open('data-meadow="contribute"')
  const frame = await card()
  await frame.evaluate(() => document.querySelector('button')!.click())
  await page.evaluate(() => {
    const { contentWindow } = document.querySelector('iframe')!
    contentWindow!.postMessage({ meadow: 1, kind: 'start' }, '*')
    contentWindow!.postMessage({ meadow: 1, kind: 'pause' }, '*')
  })
  // The site's own page, and a frame of the site, pretend to be the card.
  const height = await page.locator('iframe').evaluate((element) => element.clientHeight)
  await page.evaluate(async () => {
    postMessage({ meadow: 1, kind: 'size', height: 99 }, '*')
    const other = document.createElement('iframe')
    document.body.append(other)
    const script = other.contentDocument!.createElement('script')
    script.textContent = "parent.postMessage({ meadow: 1, kind: 'size', height: 98 }, '*')"
    other.contentDocument!.body.append(script)
    await new Promise((resolve) => setTimeout(resolve))
    other.remove()
  })
  await page.waitForLoadState('networkidle')
  expect(await frame.getByRole('button', { name: 'Lend this device' }).count()).toBe(1)
  expect(
    await page
      .locator('iframe')
      .first()
      .evaluate((element) => element.clientHeight),
  ).toBe(height)
  expect(paths.some((path) => path.includes('start'))).toBe(false)
})

test('where the browser forbids storage in frames of other sites, the lending card says so and offers a tab of its own', async () => {
  // A private window, as every context of the test browser is.
  const { card } = await open('data-meadow="contribute"')
  const frame = await card()
  await frame.getByRole('button', { name: 'Lend this device' }).click()
  await frame.getByText('It could not start: this browser allows no storage inside other sites’ pages').waitFor()
  expect(await frame.getByRole('link', { name: 'Lend in a tab of its own' }).getAttribute('target')).toBe('_blank')
})

test('a visitor lends through the card, one thread where the site is not isolated, pauses, and stopping deletes what was fetched', async () => {
  const profile = await mkdtemp(join(tmpdir(), 'meadow-profile-'))
  const { page, card, complaints } = await open('data-meadow="contribute"', {}, await launchProfile(profile))
  const frame = await card()
  await frame.getByRole('button', { name: 'Lend this device' }).click()
  await frame.getByText('Ready, waiting for a question').waitFor({ timeout: 60_000 })
  await frame.getByText('is not isolated, so the processor works with one thread').waitFor()
  await until(async () => (await site.mesh.swarm()).hosts === 1)
  await frame.getByRole('button', { name: 'Pause' }).click()
  await frame.getByText('Paused', { exact: true }).waitFor()
  await frame.getByRole('button', { name: 'Go on' }).click()
  await frame.getByRole('button', { name: 'Stop' }).click()
  await frame.getByText('Not lending').waitFor()
  await until(async () =>
    frame.evaluate(async () => (await indexedDB.databases()).filter(({ name }) => name !== undefined).length === 0 && localStorage.length === 0),
  )
  expect(await page.locator('iframe').count()).toBe(1)
  expect(complaints).toEqual([])
  await context.close()
  await rm(profile, { recursive: true, force: true })
})

test('a site that isolates itself may show the card too', async () => {
  headers = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' }
  const { card } = await open('data-meadow="contribute"')
  const frame = await card()
  expect(await frame.evaluate(() => crossOriginIsolated)).toBe(true)
})

test('a word that is no card is said in the console, and two cards stand on one page', async () => {
  const warnings: string[] = []
  html = `<!doctype html><html lang="en"><title>x</title><body><script src="${site.url}/embed/v1.js" data-meadow="mine"></script><div id="there"></div>
    <script async src="${site.url}/embed/v1.js" data-meadow="chat" data-place="#there"></script><script defer src="${site.url}/embed/v1.js" data-meadow="contribute"></script></body></html>`
  context = await browser.newContext()
  const page = await context.newPage()
  page.on('console', (message) => warnings.push(message.text()))
  await page.goto(`http://127.0.0.1:${(stranger.address() as AddressInfo).port}/`)
  await page.frameLocator('#there iframe').getByRole('button', { name: 'Start the chat' }).waitFor()
  await page.frameLocator('script + iframe').getByRole('button', { name: 'Lend this device' }).waitFor()
  expect(await page.locator('iframe').count()).toBe(2)
  expect(warnings).toContain('Meadow: data-meadow must be "chat" or "contribute".')
})

test.each(['light', 'dark'] as const)('axe finds nothing serious in the cards, before and after the click, in the %s theme', async (colorScheme) => {
  await site.host(specimen, 0, 3)
  const { page, card } = await open('data-meadow="chat"', { colorScheme, viewport: { width: 320, height: 640 } })
  let frame = await card()
  expect(await axe(frame)).toEqual([])
  await frame.getByRole('button', { name: 'Start the chat' }).click()
  await frame.getByPlaceholder('Ask anything').waitFor()
  await frame.getByText('Who can see my words?').first().click()
  expect(await axe(frame)).toEqual([])
  expect(await frame.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBe(0)
  await page.close()
  const lend = await open('data-meadow="contribute"', { colorScheme, viewport: { width: 320, height: 640 } })
  frame = await lend.card()
  expect(await axe(frame)).toEqual([])
  expect(await frame.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBe(0)
})

test('other pages of the relay cannot be framed', async () => {
  html = `<!doctype html><title>x</title><iframe src="${site.url}/chat/"></iframe>`
  context = await browser.newContext()
  const page = await context.newPage()
  const refusals: string[] = []
  page.on('console', (message) => refusals.push(message.text()))
  await page.goto(`http://127.0.0.1:${(stranger.address() as AddressInfo).port}/`)
  await until(() => refusals.some((text) => text.includes('frame-ancestors')))
})
