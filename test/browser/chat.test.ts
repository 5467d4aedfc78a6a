// The chat page in a real browser, with the real WASM engine on a small random model: asking, stopping, editing, keeping, keyboard, accessibility.
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { answered, answers, ask, download, launch, openPage, openSite, type Site } from './site.ts'
import { chatSpecimen } from './specimen.ts'

let site: Site
let browser: Browser
let context: BrowserContext

beforeAll(async () => {
  site = await openSite([await chatSpecimen({ context: 8192 })])
  browser = await launch()
})
afterAll(async () => {
  await browser?.close()
  await site?.close()
})
afterEach(async () => {
  await context?.close()
  site.requests.length = 0
})

async function newContext(options: Parameters<Browser['newContext']>[0] = {}): Promise<BrowserContext> {
  context = await browser.newContext(options)
  return context
}

async function setSettings(page: Page, values: Record<string, string>): Promise<void> {
  await page.getByRole('button', { name: 'Settings' }).click()
  for (const [label, value] of Object.entries(values)) {
    await page.getByLabel(label, { exact: true }).fill(value)
    await page.getByLabel(label, { exact: true }).blur()
  }
  await page.getByRole('button', { name: 'Close' }).click()
}

test('a first visitor downloads a model, asks, and sees words stream, a speed and a hash, with no request to anyone else', async () => {
  const { page, complaints } = await openPage(await newContext(), site)
  await page.getByRole('button', { name: /^Download/ }).waitFor()
  expect(site.requests.filter((r) => r.path.startsWith('/models/'))).toEqual([])
  await download(page)
  await setSettings(page, { 'Longest answer': '40', Seed: '5' })
  await ask(page, 'What grows in a meadow?')
  expect((await answers(page).last().locator('.markdown').textContent())?.length).toBeGreaterThan(20)
  await page.getByRole('button', { name: /This device · \d+/ }).click()
  expect(await answers(page).last().locator('dl').textContent()).toMatch(/WASM.*Seed\s*5.*[0-9a-f]{64}/s)
  expect(await page.getByRole('button', { name: /^Device: WASM/ }).textContent()).toMatch(/tokens\/s/)
  const files = site.requests.filter((r) => r.path.startsWith('/models/')).map((r) => r.path)
  expect(new Set(files).size).toBe(files.length)
  expect(complaints).toEqual([])
})

test('the same question and seed give the same text again, on one thread and on two', async () => {
  const { page } = await openPage(await newContext(), site)
  await download(page)
  await setSettings(page, { 'Longest answer': '30', Seed: '77', Temperature: '1' })
  await ask(page, 'Once upon a time')
  const first = await answers(page).last().locator('.markdown').textContent()
  await page.getByRole('button', { name: 'Retry' }).click()
  await answered(page)
  expect(await answers(page).last().locator('.markdown').textContent()).toBe(first)
  await page.getByRole('button', { name: /^Device/ }).click()
  await page.getByLabel('Threads on the processor').selectOption('1')
  await page.getByRole('button', { name: 'Close' }).click()
  await page.getByRole('button', { name: 'Retry' }).click()
  await answered(page)
  expect(await answers(page).last().locator('.markdown').textContent()).toBe(first)
  expect(await page.getByRole('button', { name: /^Device: WASM ×1/ }).count()).toBe(1)
})

/** Before the worker's own script: it makes 50 tokens and then waits for the stop, so that the stop certainly finds the answer unfinished. */
const waitForStop = `{
  let tokens = 0
  let stopped
  const stop = new Promise((resolve) => (stopped = resolve))
  self.addEventListener('message', ({ data }) => data.kind === 'stop' && stopped())
  const say = self.postMessage.bind(self)
  self.postMessage = (message) => {
    if (message.kind === 'token') tokens++
    say(message)
  }
  const post = MessagePort.prototype.postMessage
  MessagePort.prototype.postMessage = function (message) {
    if (tokens >= 50) stop.then(() => post.call(this, message))
    else post.call(this, message)
  }
}
`

test('an answer that is stopped keeps what was written, and the chat goes on', async () => {
  // Without a service worker the script comes over the wire, where the test can change it.
  await newContext({ serviceWorkers: 'block' })
  await context.route(/\/assets\/engine\.worker-.*\.js$/, async (route) => {
    const response = await route.fetch()
    await route.fulfill({ response, body: waitForStop + (await response.text()) })
  })
  const { page, complaints } = await openPage(context, site)
  await download(page)
  await setSettings(page, { 'Longest answer': '8000', Temperature: '0' })
  await page.getByLabel('Message', { exact: true }).fill('Tell me everything')
  await page.keyboard.press('Enter')
  await answers(page).last().locator('.markdown').waitFor()
  await page.keyboard.press('Escape')
  await answered(page)
  expect(await answers(page).last().textContent()).toMatch(/Stopped/)
  const kept = await answers(page).last().locator('.markdown').textContent()
  expect(kept?.length).toBeGreaterThan(0)
  await setSettings(page, { 'Longest answer': '5' })
  await ask(page, 'And now briefly')
  expect(await answers(page).count()).toBe(2)
  expect(await answers(page).first().locator('.markdown').textContent()).toBe(kept)
  expect(complaints).toEqual([])
})

test('editing a question asks it again and forgets what followed', async () => {
  const { page } = await openPage(await newContext(), site)
  await download(page)
  await setSettings(page, { 'Longest answer': '8' })
  await ask(page, 'First question')
  await ask(page, 'Second question')
  await page.locator('article.user').first().hover()
  await page.getByRole('button', { name: 'Edit' }).first().click()
  await page.getByLabel('Edit your message').fill('Changed question')
  await page.getByRole('button', { name: 'Ask again' }).click()
  await answered(page)
  expect(await page.locator('article.user').allInnerTexts()).toEqual([expect.stringContaining('Changed question')])
  expect(await answers(page).count()).toBe(1)
})

test('chats are kept over a reload, renamed, exported, deleted and imported again', async () => {
  const { page } = await openPage(await newContext({ acceptDownloads: true }), site)
  await download(page)
  await setSettings(page, { 'Longest answer': '8' })
  await ask(page, 'Remember me')
  const answer = await answers(page).last().locator('.markdown').textContent()
  await page.reload()
  await page.getByRole('button', { name: 'Remember me', exact: true }).click()
  expect(await answers(page).last().locator('.markdown').textContent()).toBe(answer)
  await page.getByRole('button', { name: 'Rename Remember me' }).click()
  await page.getByLabel('Name of the chat').fill('A better name')
  await page.keyboard.press('Enter')
  const saving = page.waitForEvent('download')
  await page.getByRole('button', { name: 'Export' }).click()
  const file = await (await saving).path()
  expect(JSON.parse(await readFile(file, 'utf8'))).toMatchObject({ format: 'meadow-chats', version: 1, conversations: [{ title: 'A better name' }] })
  await page.getByRole('button', { name: 'Delete A better name' }).click()
  await page.getByRole('button', { name: 'Delete', exact: true }).click()
  await page.getByText('Your chats stay on this device').waitFor()
  await page.getByLabel('File to import').setInputFiles(file)
  await page.getByText('Imported 1 chat.').waitFor()
  await page.getByRole('button', { name: 'A better name', exact: true }).click()
  expect(await answers(page).last().locator('.markdown').textContent()).toBe(answer)
  await page.getByLabel('File to import').setInputFiles({ name: 'x.json', mimeType: 'application/json', buffer: Buffer.from('{"format":"other"}') })
  await page.getByText('This file is no Meadow export').waitFor()
})

test('a prompt longer than the context is refused in a sentence that names both lengths, and nothing is lost', async () => {
  const { page } = await openPage(await newContext(), site)
  await download(page)
  await ask(page, 'word '.repeat(2000))
  expect(await page.getByRole('alert').textContent()).toMatch(/This conversation has [\d,]+ tokens, but Specimen can read at most 8,192/)
  expect(await page.locator('article.user').count()).toBe(1)
})

test('everything can be done with the keyboard alone', async () => {
  await newContext()
  // Greedy, so that this noise of a model certainly has something to say.
  await context.addInitScript(() => localStorage.setItem('meadow-preferences', JSON.stringify({ settings: { temperature: 0, maxTokens: 8000 } })))
  const { page } = await openPage(context, site)
  await page.getByRole('button', { name: /^Download/ }).waitFor()
  const focused = () => page.evaluate(() => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent?.trim() ?? '')
  const tabTo = async (name: RegExp) => {
    for (let i = 0; i < 40; i++) {
      await page.keyboard.press('Tab')
      if (name.test(await focused())) return
    }
    throw new Error(`Tab never reached ${name}`)
  }
  await tabTo(/^Download/)
  await page.keyboard.press('Enter')
  await page.getByRole('heading', { name: 'What would you like to know?' }).waitFor()
  await page.keyboard.press('Alt+s')
  await page.getByRole('dialog', { name: 'Settings of this chat' }).waitFor()
  await tabTo(/^$/)
  await page.keyboard.press('Escape')
  await page.getByRole('dialog').waitFor({ state: 'hidden' })
  await page.keyboard.press('/')
  await page.keyboard.type('Hello from the keyboard')
  await page.keyboard.press('Enter')
  await answers(page).last().locator('.markdown').waitFor()
  await page.keyboard.press('Escape')
  await answered(page)
  await tabTo(/^Device/)
  await page.keyboard.press('Enter')
  await page.getByRole('dialog', { name: 'Device' }).waitFor()
  await page.keyboard.press('Escape')
  expect(await focused()).toMatch(/^Device/)
  await page.keyboard.press('Alt+n')
  await page.getByRole('heading', { name: 'What would you like to know?' }).waitFor()
  expect(await page.evaluate(() => document.activeElement?.id)).toBe('question')
  // The focus is visible wherever it is.
  await tabTo(/^New chat/)
  expect(await page.evaluate(() => getComputedStyle(document.activeElement!).outlineStyle)).toBe('solid')
})

const axePath = createRequire(import.meta.url).resolve('axe-core/axe.min.js')

/** Serious and critical findings of axe, with the element. */
async function axe(page: Page): Promise<string[]> {
  // As text through the debugger: the page's policy lets no inline script in, which is the point of it.
  await page.evaluate(await readFile(axePath, 'utf8'))
  return page.evaluate(async () => {
    const { axe } = window as unknown as { axe: { run(): Promise<{ violations: { id: string; impact: string; nodes: { html: string }[] }[] }> } }
    const { violations } = await axe.run()
    return violations.filter((v) => v.impact === 'serious' || v.impact === 'critical').map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(' ')}`)
  })
}

test.each(['light', 'dark'] as const)('axe finds nothing serious in the %s theme', async (colorScheme) => {
  const { page } = await openPage(await newContext({ colorScheme, reducedMotion: 'reduce' }), site)
  await page.getByRole('button', { name: /^Download/ }).waitFor()
  expect(await axe(page)).toEqual([])
  await download(page)
  expect(await axe(page)).toEqual([])
  await setSettings(page, { 'Longest answer': '20' })
  await ask(page, 'Hello')
  await page.getByRole('button', { name: /^This device ·/ }).click()
  expect(await axe(page)).toEqual([])
  for (const name of [/^Device/, /^Settings/, /^Model:/, /^Keyboard/]) {
    await page.getByRole('button', { name }).click()
    await page.getByRole('dialog').waitFor()
    expect(await axe(page)).toEqual([])
    await page.keyboard.press('Escape')
  }
  await page.goto(`${site.url}/`)
  await page.getByRole('link', { name: 'Open the chat' }).waitFor()
  expect(await axe(page)).toEqual([])
})

test('nothing is wider than a window of 320 pixels', async () => {
  const { page } = await openPage(await newContext({ viewport: { width: 320, height: 640 } }), site)
  const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
  await page.getByRole('button', { name: /^Download/ }).waitFor()
  expect(await overflow()).toBe(0)
  await download(page)
  await setSettings(page, { 'Longest answer': '60' })
  await ask(page, 'A-very-long-word-'.repeat(20))
  await page.getByRole('button', { name: /^This device ·/ }).click()
  expect(await overflow()).toBe(0)
  await page.getByRole('button', { name: 'Chats', exact: true }).click()
  await page.getByRole('button', { name: 'New chat' }).click()
  await page.getByRole('heading', { name: 'What would you like to know?' }).waitFor()
  expect(await overflow()).toBe(0)
})

test('the theme is the system’s until another is chosen, and stays chosen without a flash', async () => {
  const { page } = await openPage(await newContext({ colorScheme: 'dark' }), site)
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
  const dark = await paper()
  await page.getByRole('button', { name: /^Theme: system/ }).click()
  expect(await paper()).not.toBe(dark)
  // Held back, the page's own code cannot set the theme: what is there comes before the first paint.
  await context.route(/\/assets\/chat-.*\.js$/, () => {})
  await page.reload({ waitUntil: 'commit' })
  await page.waitForFunction(() => document.documentElement?.dataset.theme === 'light')
})
