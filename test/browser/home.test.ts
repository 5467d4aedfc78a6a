// The home page's doors: links, the invitation with its QR code, the snippet for other sites.

import type { Browser, BrowserContext, Page } from 'playwright-core'
import { encode } from 'uqr'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { axe } from './axe.ts'
import { launch, openPage, openSite, type Site } from './site.ts'

let site: Site
let browser: Browser
let context: BrowserContext

beforeAll(async () => {
  site = await openSite([])
  browser = await launch()
})
afterAll(async () => {
  await browser?.close()
  await site?.close()
})
afterEach(async () => {
  await context?.close()
})

async function open(options: Parameters<Browser['newContext']>[0] = {}) {
  context = await browser.newContext(options)
  return openPage(context, site, '/')
}

/** What the picture shows, read back from its modules. */
const modules = (page: Page) =>
  page.getByRole('img', { name: /^QR code/ }).evaluate((svg) => {
    const size = Number(svg.getAttribute('viewBox')!.split(' ')[2])
    const dark = new Set(
      Array.from(
        svg
          .querySelector('path')!
          .getAttribute('d')!
          .matchAll(/M(\d+) (\d+)/g),
        ([, x, y]) => `${x} ${y}`,
      ),
    )
    return Array.from({ length: size }, (_, y) => Array.from({ length: size }, (_, x) => dark.has(`${x} ${y}`)))
  })

test('every door is one click away, and each link leads somewhere', async () => {
  const { page, complaints } = await open()
  const links = await page.getByRole('link').evaluateAll((all) => all.map((link) => link.getAttribute('href')!))
  for (const path of ['/chat/', '/contribute/', '/swarm/', '/explorer/', '/account/', '#site']) expect(links).toContain(path)
  for (const path of new Set(links.filter((href) => href.startsWith('/')))) expect((await page.request.get(site.url + path)).status()).toBe(200)
  expect(await page.locator('#site').count()).toBe(1)
  expect(complaints).toEqual([])
})

test('the link and its QR code say the same, for everyone and as an invitation that lasts only as long as it is shown', async () => {
  const { page } = await open()
  const link = page.getByLabel('Link', { exact: true })
  expect(await link.inputValue()).toBe(`${site.url}/contribute/`)
  expect(await modules(page)).toEqual(encode(`${site.url}/contribute/`, { ecc: 'M', border: 4 }).data)
  await page.getByLabel('The chat').check()
  expect(await link.inputValue()).toBe(`${site.url}/chat/`)
  await page.getByLabel('As an invitation to a private group').check()
  const invitation = await page.getByLabel('Invitation', { exact: true }).inputValue()
  expect(invitation).toMatch(new RegExp(`^${site.url}/chat/#invite=[0-9a-f]{32}$`))
  expect(await modules(page)).toEqual(encode(invitation, { ecc: 'M', border: 4 }).data)
  await page.getByLabel('As an invitation to a private group').uncheck()
  await page.getByLabel('As an invitation to a private group').check()
  expect(await page.getByLabel('Invitation', { exact: true }).inputValue()).not.toBe(invitation)
  expect(await page.evaluate(() => JSON.stringify(localStorage))).not.toContain(invitation.slice(-32))
})

test('the snippet is the one that works', async () => {
  const { page } = await open()
  expect(await page.getByLabel('A chat', { exact: true }).inputValue()).toBe(`<script src="${site.url}/embed/v1.js" data-meadow="chat"></script>`)
  expect((await page.request.get(`${site.url}/embed/v1.js`)).headers()['content-type']).toMatch(/javascript/)
})

test.each(['light', 'dark'] as const)('axe finds nothing serious in the %s theme, and nothing is wider than 320 pixels', async (colorScheme) => {
  const { page } = await open({ colorScheme, viewport: { width: 320, height: 640 } })
  await page.getByLabel('As an invitation to a private group').check()
  expect(await axe(page)).toEqual([])
  expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBe(0)
})
