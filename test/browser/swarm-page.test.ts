// The swarm page in a real browser, on a real relay with real hosts: coverage, gaps, the table behind the picture, live changes, a relay that goes away.
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { axe } from './axe.ts'
import { type MeshSite, openMeshSite } from './mesh-site.ts'
import { launch } from './site.ts'
import { chatSpecimen, type Specimen } from './specimen.ts'

let site: MeshSite
let specimen: Specimen
let browser: Browser
let context: BrowserContext

beforeAll(async () => {
  specimen = await chatSpecimen()
  site = await openMeshSite([specimen])
  browser = await launch()
})
afterAll(async () => {
  await browser?.close()
  await site?.close()
})
afterEach(async () => {
  await context?.close()
  await site.comeBack()
  await site.closeHosts()
})

async function open(options: Parameters<Browser['newContext']>[0] = {}, fragment = ''): Promise<{ page: Page; complaints: string[] }> {
  context = await browser.newContext(options)
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('console', (message) => {
    if (message.type() === 'error' && !/Failed to load resource|net::ERR/.test(message.text())) complaints.push(message.text())
  })
  page.on('request', (request) => {
    if (!request.url().startsWith(site.url) && !/^(blob|data):/.test(request.url())) complaints.push(`request to a stranger: ${request.url()}`)
  })
  await page.goto(`${site.url}/swarm/${fragment}`)
  return { page, complaints }
}

const card = (page: Page) => page.getByRole('region', { name: 'Specimen', exact: true })

test('an empty swarm says what is missing and how to begin', async () => {
  const { page, complaints } = await open()
  await card(page).getByText('Nobody lends a device for it yet').waitFor()
  expect(await card(page).textContent()).toMatch(/needs [\d.]+ [kMG]B more of lent memory/)
  await page.getByRole('link', { name: 'Lend this device' }).waitFor()
  expect(await page.getByRole('status').first().textContent()).toBe('Live')
  expect(await page.getByRole('link', { name: 'Ask it' }).count()).toBe(0)
  expect(complaints).toEqual([])
})

test('layers, gaps and hosts are shown as they come and go, in the picture and in the table', async () => {
  const { page, complaints } = await open()
  const first = await site.host(specimen, 0, 2)
  await card(page).getByText('Layer 2 has no host').waitFor()
  expect(await card(page).getByRole('img').getAttribute('aria-label')).toContain('2 of 3 have a host')
  await card(page).getByText('The picture as a table').click()
  const rows = card(page).getByRole('row')
  expect(await rows.allInnerTexts()).toEqual([
    expect.stringMatching(/Layers\s+Hosts\s+Who/),
    expect.stringMatching(new RegExp(`0–1\\s+1\\s+${first.key.slice(0, 8)}`)),
    expect.stringMatching(/2\s+none/),
  ])
  const second = await site.host(specimen, 1, 3)
  await card(page)
    .getByText(/Runs now.*places? free/)
    .waitFor()
  expect(await rows.allInnerTexts()).toEqual([
    expect.anything(),
    expect.stringMatching(/^0\s+1\s/),
    expect.stringMatching(/^1\s+2\s/),
    expect.stringMatching(new RegExp(`^2\\s+1\\s+${second.key.slice(0, 8)}`)),
  ])
  expect(await page.getByRole('region', { name: 'Hosts' }).getByRole('row').count()).toBe(3)
  await page.getByRole('link', { name: 'Ask it' }).waitFor()
  await second.close()
  await card(page).getByText('Layer 2 has no host').waitFor()
  await first.close()
  await card(page).getByText('Nobody lends a device for it yet').waitFor()
  expect(complaints).toEqual([])
})

test('a relay that goes away is said, the last picture stays, and the page is live again when it is back', async () => {
  await site.host(specimen, 0, 3)
  const { page } = await open()
  await card(page)
    .getByText(/Runs now,/)
    .waitFor()
  await site.goAway()
  await page.getByText('The relay is away: this is how the swarm last looked').waitFor()
  expect(await card(page).count()).toBe(1)
  await site.comeBack()
  await page.getByText('Live', { exact: true }).waitFor()
})

test('the page of an invitation shows the private group, which the relay’s own table does not know, and its links go on with the invitation', async () => {
  const invite = '00112233445566778899aabbccddeeff'
  await site.host(specimen, 0, 2, invite)
  const { page, complaints } = await open({ viewport: { width: 320, height: 640 }, reducedMotion: 'reduce' }, `#invite=${invite}`)
  await page.getByRole('heading', { name: 'Your private group' }).waitFor()
  await card(page).getByText('Layer 2 has no host').waitFor()
  expect((await site.mesh.swarm()).hosts).toBe(0)
  expect(await page.getByRole('link', { name: 'Lend a device for it' }).getAttribute('href')).toBe(`/contribute/?model=${specimen.id}#invite=${invite}`)
  await site.host(specimen, 2, 3, invite)
  await card(page)
    .getByText(/Runs now,/)
    .waitFor()
  expect(await page.getByRole('region', { name: 'Hosts' }).getByRole('row').count()).toBe(3)
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    expect(await axe(page)).toEqual([])
  }
  expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBe(0)
  expect(complaints).toEqual([])
})

test.each(['light', 'dark'] as const)('axe finds nothing serious in the %s theme, and nothing is wider than 320 pixels', async (colorScheme) => {
  await site.host(specimen, 0, 2)
  const { page } = await open({ colorScheme, viewport: { width: 320, height: 640 }, reducedMotion: 'reduce' })
  await card(page).getByText('Layer 2 has no host').waitFor()
  await card(page).getByText('The picture as a table').click()
  expect(await axe(page)).toEqual([])
  expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBe(0)
})
