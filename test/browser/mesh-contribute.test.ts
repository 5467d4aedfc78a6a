// The contribute page as a person uses it: nothing before the click, one click to lend, pause, limits, leaving, an identity that can be taken along.
import type { Browser, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { greedy } from '../../protocol/engine/sampler.ts'
import { factsOf } from '../../protocol/peer/facts.ts'
import type { Question } from '../../protocol/peer/machine.ts'
import { axe } from './axe.ts'
import { askAll, covered, type Lender, type LenderOptions, lend, lendButton, openContribute, ready, shown, status } from './lend.ts'
import { type MeshSite, openMeshSite, until } from './mesh-site.ts'
import { launch } from './site.ts'
import { chatSpecimen, type Specimen } from './specimen.ts'

let specimen: Specimen
let site: MeshSite
let browser: Browser
const lenders: Lender[] = []

beforeAll(async () => {
  specimen = await chatSpecimen({ layers: 6, context: 8192 })
  site = await openMeshSite([specimen])
  browser = await launch()
})
afterAll(async () => {
  await browser?.close()
  await site?.close()
})
afterEach(async () => {
  await Promise.all(lenders.splice(0).map((lender) => lender.close().catch(() => {})))
  // A tab that could not say goodbye is forgotten after 90 s.
  await until(async () => (await site.mesh.swarm()).hosts === 0, 100_000)
})

const keep = (lender: Lender): Lender => {
  lenders.push(lender)
  return lender
}
const open = async (options?: LenderOptions): Promise<Lender> => keep(await openContribute(browser, site.url, options))
const lendHere = async (options?: LenderOptions): Promise<Lender> => keep(await lend(browser, site.url, options))
const hosts = async (): Promise<number> => (await site.mesh.swarm()).hosts
const question = (maxTokens: number): Question => ({ modelId: specimen.id, prompt: [1, 2, 3], sampler: greedy, seed: 1, maxTokens, stopIds: [] })
/** Notes what a page makes: workers, sockets, peer connections, sound. */
const probe = `
  globalThis.made = []
  for (const name of ['Worker', 'WebSocket', 'RTCPeerConnection', 'AudioContext']) {
    const Real = globalThis[name]
    globalThis[name] = class extends Real {
      constructor(...args) {
        super(...args)
        made.push(name)
      }
    }
  }`

/** Notes when runs end. */
const runProbe = `
  globalThis.runEnds = []
  const Real = Worker
  globalThis.Worker = class extends Real {
    constructor(...args) {
      super(...args)
      this.addEventListener('message', ({ data }) => data?.kind === 'computed' && runEnds.push(performance.now()))
    }
  }`

test('before the click the page starts no worker, opens no socket, joins nothing and keeps nothing, and says what will happen', async () => {
  const { page, complaints } = await open({ script: probe })
  await lendButton(page).waitFor()
  await page.getByText('Nothing has been downloaded or started.').waitFor()
  await page.getByText(/It does not make one answer stream faster/).waitFor()
  expect(await page.evaluate(() => (globalThis as unknown as { made: string[] }).made)).toEqual([])
  expect(await page.evaluate(async () => (await indexedDB.databases()).map(({ name }) => name))).toEqual([])
  expect(await hosts()).toBe(0)
  // The same probe sees what the click starts: it is not blind.
  await lendButton(page).click()
  await ready(page)
  expect(await page.evaluate(() => [...new Set((globalThis as unknown as { made: string[] }).made)].sort())).toEqual([
    'RTCPeerConnection',
    'WebSocket',
    'Worker',
  ])
  expect(complaints).toEqual([])
})

test('by keyboard alone a person lends, pauses, goes on and leaves; the relay knows at once', async () => {
  const { page, complaints } = await open()
  await lendButton(page).focus()
  await page.keyboard.press('Enter')
  await ready(page)
  await covered(() => site.mesh.swarm(), specimen.id, 1)
  await page.getByRole('button', { name: 'Pause' }).focus()
  await page.keyboard.press('Enter')
  await status(page).filter({ hasText: 'Paused' }).waitFor()
  await page.getByRole('button', { name: 'Go on' }).focus()
  await page.keyboard.press('Enter')
  await ready(page)
  await page.getByRole('button', { name: 'Leave now' }).focus()
  await page.keyboard.press('Enter')
  await page.getByText(/You have left/).waitFor()
  await until(async () => (await hosts()) === 0, 5000)
  await lendButton(page).waitFor()
  expect(complaints).toEqual([])
})

test('pause stops the work within half a second, in the middle of an answer', async () => {
  const { page } = await lendHere({ script: runProbe })
  await covered(() => site.mesh.swarm(), specimen.id, 1)
  const stop = new AbortController()
  const facts = factsOf(specimen.manifest, specimen.id)
  const asking = (async () => {
    for await (const _ of site.mesh.requester.ask(question(8000), facts, { signal: stop.signal, draft: false })) if (stop.signal.aborted) return
  })().catch(() => {})
  const ends = () => page.evaluate(() => (globalThis as unknown as { runEnds: number[] }).runEnds.length)
  await until(async () => (await ends()) > 50)
  const { before, pausedAt } = await page.evaluate(() => {
    const button = [...document.querySelectorAll('button')].find((one) => one.textContent?.trim() === 'Pause')!
    button.click()
    return { before: (globalThis as unknown as { runEnds: number[] }).runEnds.length, pausedAt: performance.now() }
  })
  await status(page).filter({ hasText: 'Paused' }).waitFor()
  // Long enough that a run which was not stopped would show: they take below a millisecond here.
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 1500)))
  const late = await page.evaluate((from) => (globalThis as unknown as { runEnds: number[] }).runEnds.filter((at) => at > from + 500).length, pausedAt)
  expect(before).toBeGreaterThan(50)
  expect(late).toBe(0)
  stop.abort()
  await asking
})

test('finishing takes nothing new, ends what runs, and leaves by itself', async () => {
  const { page } = await lendHere()
  await covered(() => site.mesh.swarm(), specimen.id, 1)
  await page.getByRole('button', { name: 'Finish, then leave' }).click()
  await lendButton(page).waitFor()
  await until(async () => (await hosts()) === 0, 5000)
})

test('a battery in use pauses by itself, and says so, until it charges again', async () => {
  const { page } = await lendHere({
    script: `
      globalThis.battery = Object.assign(new EventTarget(), { charging: true })
      Object.defineProperty(Navigator.prototype, 'getBattery', { value: async () => battery })`,
  })
  const charge = (charging: boolean) =>
    page.evaluate((charging) => {
      const { battery } = globalThis as unknown as { battery: EventTarget & { charging: boolean } }
      battery.charging = charging
      battery.dispatchEvent(new Event('chargingchange'))
    }, charging)
  await charge(false)
  await page.getByText('Paused because this device runs on its battery. It goes on by itself.').waitFor()
  await charge(true)
  await ready(page)
  // What the person forbids holds at once: it is a choice.
  await charge(false)
  await status(page).filter({ hasText: 'Paused' }).waitFor()
  await page.getByLabel('On battery').uncheck()
  await ready(page)
})

test('what a person allows is kept for the next visit', async () => {
  const { page } = await open()
  await page.getByLabel('Upload of layers').fill('0')
  await page.getByLabel('Keep the screen on while this tab is visible').check()
  await page.reload()
  expect(await page.getByLabel('Upload of layers').getAttribute('aria-valuetext')).toBe('50 kB/s')
  expect(await page.getByLabel('Keep the screen on while this tab is visible').isChecked()).toBe(true)
})

test('two tabs of one browser share the layers on the disk but not the name', async () => {
  const first = await lendHere({ hold: { specimen, from: 0, to: 6 } })
  const asked: string[] = []
  const second = await open({ context: first.context, hold: { specimen, from: 0, to: 6 } })
  second.page.on('request', (request) => asked.push(new URL(request.url()).pathname))
  await lendButton(second.page).click()
  await ready(second.page)
  expect(asked.filter((path) => /^\/models\/.+\/(embed|head|layer-\d+)$/.test(path))).toEqual([])
  const name = (page: Page) => page.locator('section', { hasText: 'Its name among peers' }).locator('code').textContent()
  expect(await name(first.page)).not.toBe(await name(second.page))
  await covered(() => site.mesh.swarm(), specimen.id, 2)
})

test('an identity goes to another browser by its 24 words; words that are wrong are refused with the reason', async () => {
  const first = await lendHere()
  const key = await first.page.locator('code').textContent()
  await first.page.getByRole('button', { name: 'Recovery phrase' }).click()
  await first.page.getByRole('button', { name: 'Show the words' }).click()
  await first.page.locator('dialog ol li').nth(23).waitFor()
  const words = await first.page.locator('dialog ol li').allTextContents()
  expect(words.length).toBe(24)
  await first.close()

  const second = await open()
  await second.page.getByRole('button', { name: 'Recovery phrase' }).click()
  const field = second.page.getByLabel('Or become another browser of yours, by its words')
  const take = second.page.getByRole('button', { name: 'Take this identity' })
  await field.fill(words.slice(1).join(' '))
  await take.click()
  await second.page.getByRole('alert').filter({ hasText: '24 words, not 23' }).waitFor()
  await field.fill(words.join('  ').toUpperCase())
  await take.click()
  await second.page.getByText(/This browser has that identity/).waitFor()
  await second.page.reload()
  await lendButton(second.page).click()
  await ready(second.page)
  expect(await second.page.locator('code').textContent()).toBe(key)
})

test('a private group serves its members only', async () => {
  const invite = '00112233445566778899aabbccddeeff'
  const { page } = await open({ invite })
  await page.getByText(/You were invited to a private group/).waitFor()
  await lendButton(page).click()
  await ready(page)
  await page.getByText('Private group', { exact: true }).waitFor()
  // The relay of the open mesh sees no host.
  expect(await hosts()).toBe(0)
})

test('a relay that goes away is said, nothing is lost, and it comes back by itself', async () => {
  const { page } = await lendHere()
  await site.goAway()
  await page.getByText('No relay', { exact: true }).waitFor()
  await page.getByRole('alert').filter({ hasText: 'Nothing is lost' }).waitFor()
  await site.comeBack()
  await page.getByText('Relay reached').waitFor()
  await covered(() => site.mesh.swarm(), specimen.id, 1)
  const { tokens } = await askAll(site.mesh.requester, specimen, question(8))
  expect(tokens.length).toBe(8)
})

test('axe finds nothing serious, in both themes, before and while lending, and nothing is wider than 320 pixels', async () => {
  const { page } = await open()
  await page.setViewportSize({ width: 320, height: 640 })
  const check = async (): Promise<void> => {
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme })
      expect(await axe(page)).toEqual([])
    }
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(320)
  }
  await lendButton(page).waitFor()
  await check()
  await lendButton(page).click()
  await ready(page)
  expect(await shown(page, 'Requests served')).toBe('0')
  await check()
})

test('no task of the page’s thread takes 200 ms of the processor, joining, fetching and hosting', async () => {
  const lender = await open()
  const session = await browser.newBrowserCDPSession()
  interface TraceEvent {
    name: string
    pid: number
    tid: number
    tdur?: number
    args?: { name?: string }
  }
  const events: TraceEvent[] = []
  session.on('Tracing.dataCollected', ({ value }) => events.push(...(value as unknown as TraceEvent[])))
  const complete = new Promise((resolve) => session.on('Tracing.tracingComplete', resolve))
  await session.send('Tracing.start', { transferMode: 'ReportEvents', traceConfig: { includedCategories: ['toplevel'] } })
  await lendButton(lender.page).click()
  await ready(lender.page)
  await covered(() => site.mesh.swarm(), specimen.id, 1)
  expect((await askAll(site.mesh.requester, specimen, question(200))).tokens.length).toBe(200)
  await session.send('Tracing.end')
  await complete
  const threads = new Set(events.filter(({ name, args }) => name === 'thread_name' && args?.name === 'CrRendererMain').map(({ pid, tid }) => `${pid} ${tid}`))
  // Time of the thread, not of the clock: other programs on the machine do not count.
  const times = events.filter(({ name, pid, tid }) => name.endsWith('RunTask') && threads.has(`${pid} ${tid}`)).map(({ tdur = 0 }) => tdur / 1000)
  expect(times.length).toBeGreaterThan(100)
  expect(Math.max(...times)).toBeGreaterThan(1)
  expect(Math.max(...times)).toBeLessThan(200)
})
