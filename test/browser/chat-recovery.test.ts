// Devices fail: a killed GPU process, a worker that says nothing more. The answer goes on to the very same text, and the page says what happened.
import type { Browser, BrowserContext, Page, Route } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { answered, answers, ask, download, launch, openPage, openSite, type Site } from './site.ts'
import { chatSpecimen } from './specimen.ts'

let site: Site
let browser: Browser
let context: BrowserContext

beforeAll(async () => {
  site = await openSite([await chatSpecimen()])
  browser = await launch(['--enable-unsafe-webgpu'])
})
afterAll(async () => {
  await browser?.close()
  await site?.close()
})
afterEach(async () => context?.close())

async function openWith(preferences: object, onEngineWorker?: (route: Route) => Promise<void>): Promise<Page> {
  // Without a service worker every script comes over the wire, where the test can change it.
  context = await browser.newContext({ serviceWorkers: 'block' })
  await context.addInitScript(
    (text) => localStorage.getItem('meadow-preferences') ?? localStorage.setItem('meadow-preferences', text),
    JSON.stringify(preferences),
  )
  if (onEngineWorker) await context.route(/\/assets\/engine\.worker-.*\.js$/, onEngineWorker)
  return (await openPage(context, site)).page
}

const settings = { temperature: 0.8, maxTokens: 120, seed: 11 }
const lastText = (page: Page) => answers(page).last().locator('.markdown').textContent()

/** What an undisturbed device says. */
async function expected(): Promise<string | null> {
  const page = await openWith({ device: 'wasm', settings })
  await download(page)
  await ask(page, 'Go on')
  const text = await lastText(page)
  await context.close()
  return text
}

/** Before the worker's own script: it makes 20 tokens and then waits until its GPU device is lost, so that the accident certainly finds the answer unfinished. */
const waitForLoss = `{
  let tokens = 0
  let lost = null
  const request = GPUAdapter.prototype.requestDevice
  GPUAdapter.prototype.requestDevice = async function (...parts) {
    const device = await request.apply(this, parts)
    lost = device.lost
    return device
  }
  const say = self.postMessage.bind(self)
  self.postMessage = (message) => {
    if (message.kind === 'token') tokens++
    say(message)
  }
  const post = MessagePort.prototype.postMessage
  MessagePort.prototype.postMessage = function (message) {
    if (tokens >= 20 && lost) lost.then(() => post.call(this, message))
    else post.call(this, message)
  }
}
`

test('a GPU process that is killed while it answers is replaced, and the answer ends as if nothing had happened', async () => {
  const undisturbed = await expected()
  let patched = 0
  const page = await openWith({ device: 'webgpu', settings }, async (route) => {
    const response = await route.fetch()
    await route.fulfill({ response, body: (patched++ === 0 ? waitForLoss : '') + (await response.text()) })
  })
  await download(page)
  await page.getByLabel('Message', { exact: true }).fill('Go on')
  await page.keyboard.press('Enter')
  await page.waitForFunction(() => (document.querySelector('article.assistant .markdown')?.textContent?.length ?? 0) > 40)
  expect(await page.getByRole('button', { name: /^Device: WebGPU/ }).count()).toBe(1)
  const devtools = await browser.newBrowserCDPSession()
  // The reply never comes: what would send it is gone.
  devtools.send('Browser.crashGpuProcess').catch(() => {})
  await answered(page)
  expect(await lastText(page)).toBe(undisturbed)
  expect(await page.getByRole('status').allTextContents()).toContainEqual(expect.stringMatching(/The answer went on/))
})

test('a worker that falls silent is ended by the watchdog, and WASM goes on to the same text', async () => {
  const undisturbed = await expected()
  let patched = 0
  context = await browser.newContext({ serviceWorkers: 'block' })
  await context.addInitScript((text) => localStorage.setItem('meadow-preferences', text), JSON.stringify({ settings }))
  await context.route(/\/assets\/engine\.worker-.*\.js$/, async (route) => {
    const response = await route.fetch()
    const silence =
      "{ let tokens = 0; const say = self.postMessage.bind(self); self.postMessage = (m) => { if (m.kind === 'token') tokens++; if (tokens <= 20) say(m) } }\n"
    await route.fulfill({ response, body: (patched++ === 0 ? silence : '') + (await response.text()) })
  })
  const page = await context.newPage()
  await page.clock.install()
  await page.goto(`${site.url}/chat/`)
  await download(page)
  await page.getByLabel('Message', { exact: true }).fill('Go on')
  await page.keyboard.press('Enter')
  await answers(page).last().locator('.markdown').waitFor()
  // Sixty seconds of the page's clock, tick by tick, while the first worker says nothing.
  await page.clock.runFor(60_000)
  await answered(page)
  expect(patched).toBe(2)
  expect(await lastText(page)).toBe(undisturbed)
  expect(await page.getByRole('status').allTextContents()).toContainEqual(expect.stringMatching(/did not answer for 30 seconds.*WASM/))
})

test('a device that fails the self-test may not answer, and the page says where it went wrong', async () => {
  context = await browser.newContext({ serviceWorkers: 'block' })
  await context.route(/\/assets\/engine\.worker-.*\.js$/, async (route) => {
    const response = await route.fetch()
    const script = await response.text()
    // The golden hash of the llama specimen, changed: to the test, the device computes something else.
    const golden = /llama:\s*[`'"]([0-9a-f]{64})/.exec(script)![1]
    await route.fulfill({ response, body: script.replace(golden, '0'.repeat(64)) })
  })
  const { page } = await openPage(context, site)
  await download(page)
  await ask(page, 'Hello')
  expect(await answers(page).last().getByRole('alert').textContent()).toMatch(/WASM failed the self-test at step decode .* so it may not answer/)
  expect(await answers(page).last().locator('.markdown').count()).toBe(0)
})
