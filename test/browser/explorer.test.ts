// The explorer in a real browser on a real ledger: proofs checked in the tab, a relay that lies, a whole dispute drawn, a relay that goes away.
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { hex } from '../../protocol/hash.ts'
import { credit, word } from '../ledger/world.ts'
import { hurriedRules, playDispute } from '../relay/ledger/stage.ts'
import { axe } from './axe.ts'
import { type LedgerSite, openLedgerPage, openLedgerSite } from './ledger-site.ts'
import { launch } from './site.ts'

let site: LedgerSite
let played: Awaited<ReturnType<typeof playDispute>>
let browser: Browser
let context: BrowserContext

beforeAll(async () => {
  site = await openLedgerSite(hurriedRules())
  played = await playDispute(site.stage)
  browser = await launch()
})
afterAll(async () => {
  await browser?.close()
  await site?.close()
})
afterEach(async () => {
  await context?.close()
  await site.comeBack()
})

async function open(path: string, options: Parameters<Browser['newContext']>[0] = {}) {
  context = await browser.newContext(options)
  return openLedgerPage(context, site, `/explorer/${path}`)
}

const badge = (page: Page) => page.getByText(/Proven in this tab under block/)

test('a block, a transaction and an account are proven in the tab, one click from another, and new ones come by themselves', async () => {
  const { page, complaints } = await open('#/')
  await badge(page).waitFor()
  const id = hex(await site.stage.send('ann', { kind: 'transfer', to: word('a friend'), amount: 5n * credit, note: new Uint8Array(0) }))
  await page.getByText('signed, not in a block yet').waitFor()
  site.stage.block()
  const row = page.getByRole('row').filter({ hasText: '5 credits' })
  await row.getByText('proven').waitFor()
  await row.getByRole('link', { name: 'Transfer' }).click()
  await page.getByText('What it says').waitFor()
  expect(page.url()).toContain(`#/tx/${id}`)
  await badge(page).click()
  await page.getByText(/The transaction’s bytes are signed by its sender/).waitFor()
  await page.getByRole('link', { name: hex(word('a friend')) }).click()
  await page.getByRole('definition').filter({ hasText: '5 credits' }).waitFor()
  await badge(page).first().click()
  await page.getByText(`account/${hex(word('a friend'))}`, { exact: true }).waitFor()
  await page.getByRole('region', { name: 'Its transactions' }).getByRole('link', { name: /^\d+$/ }).click()
  await page.getByRole('heading', { name: /^Block \d+$/ }).waitFor()
  await badge(page).waitFor()
  await page.goBack()
  await page.getByRole('heading', { name: 'Account', exact: true }).waitFor()
  expect(complaints).toEqual([])
})

test('a forged account is not shown: the page says that it is not proven, and why', async () => {
  context = await browser.newContext()
  const bob = hex(site.stage.who('bob').id)
  // As a relay that would like bob to be richer.
  await context.route(`**/ledger/state/account/${bob}`, async (route) => {
    const response = await route.fetch()
    const json = (await response.json()) as { value: string }
    await route.fulfill({ response, json: { ...json, value: json.value.replace(/f5$/, 'f4').replace(/^(.{6})./, '$1f') } })
  })
  const { page } = await openLedgerPage(context, site, `/explorer/#/account/${bob}`)
  const warning = page.getByRole('alert').filter({ hasText: 'Not proven' })
  await warning.waitFor()
  expect(await warning.textContent()).toMatch(/does not hold/)
  expect(await badge(page).count()).toBe(0)
  expect(await page.getByText('Balance', { exact: true }).count()).toBe(0)
})

test('a dispute is drawn as it narrows, round by round, the same in words, and judged again in the tab', async () => {
  const { page, complaints } = await open('#/disputes')
  await page.getByRole('row').filter({ hasText: 'the answer was false' }).getByRole('link').click()
  await page.getByText(/The answer was false ·/).waitFor()
  await page.getByText('Judged again in this tab, without the model:').waitFor()
  expect(await page.getByText('this trace is false').count()).toBe(1)
  const picture = page.getByRole('img', { name: /^After round/ })
  expect(await picture.getAttribute('aria-label')).toMatch(/Tokens: 2 of \d+\. Layers: 1 of 2\. Op: .*wo.*\. Tile: 0 of 1\. Element: 5 of 32/)
  const rounds = page.getByRole('region', { name: 'Rounds' }).getByRole('row')
  expect(await rounds.count()).toBeGreaterThan(10)
  await page.getByRole('button', { name: 'Show round 4 in the picture' }).press('Enter')
  expect(await picture.getAttribute('aria-label')).toMatch(/^After round 4 of \d+\. Tokens: 0–5 of 6\. Layers: 0–1 of 2$/)
  const width = () =>
    picture
      .locator('.lit')
      .first()
      .evaluate((bar) => bar.getBoundingClientRect().width)
  const wide = await width()
  await page.getByRole('button', { name: 'Next round' }).click()
  await page.getByRole('button', { name: 'Next round' }).click()
  await expect.poll(() => picture.getAttribute('aria-label')).toMatch(/Tokens: 2 of 6/)
  expect(await width()).toBeLessThan(wide / 2)
  expect(complaints).toEqual([])
})

test('every part opens with proofs, searches lead on, and keys suffice', async () => {
  const { page, complaints } = await open('#/supply')
  await page.getByText('Holds.').nth(2).waitFor()
  expect(await page.getByText('Does not hold!').count()).toBe(0)
  for (const [part, text] of [
    ['Parameters', 'Parameters · claim window'],
    ['Stakes', 'Each row is proven in this tab'],
    ['Models', 'Each row is proven in this tab'],
    ['Accounts', 'Each row is proven in this tab'],
    ['Sessions', 'No session is on the ledger'],
    ['Jobs', 'No job is open'],
    ['Blocks', 'signed'],
  ]) {
    await page.getByRole('navigation', { name: 'Parts of the ledger' }).getByRole('link', { name: part }).press('Enter')
    await page.getByText(text).first().waitFor()
  }
  await page.getByRole('button', { name: 'Further' }).click()
  await page.getByRole('link', { name: '1', exact: true }).waitFor()
  await page.keyboard.press('/')
  await page.keyboard.type(hex(played.job).slice(0, 12))
  await page.keyboard.press('Enter')
  // The job has fallen: the state has it no more, its transactions stay.
  await page.getByText('Nothing known begins with this').waitFor()
  await page.keyboard.press('/')
  await page.getByRole('searchbox').fill(hex(played.model).slice(0, 12))
  await page.keyboard.press('Enter')
  await page.getByText('Price', { exact: true }).waitFor()
  await badge(page).waitFor()
  expect(complaints).toEqual([])
})

test('a relay that goes away is said, what was proven stays, and the page is live again when it is back', async () => {
  const { page } = await open('#/')
  await badge(page).waitFor()
  await site.goAway()
  await page.getByText('The relay is away: this is what was proven last').waitFor()
  expect(await badge(page).count()).toBe(1)
  await site.comeBack()
  await page.getByText('Live', { exact: true }).waitFor()
})

test('an empty ledger, and a relay without one, say so', async () => {
  const empty = await openLedgerSite()
  try {
    context = await browser.newContext()
    const { page } = await openLedgerPage(context, empty, '/explorer/')
    await page.getByRole('heading', { name: 'No blocks yet' }).waitFor()
    await context.route('**/ledger/**', (route) => route.fulfill({ status: 404, body: 'There is no such page.' }))
    await page.reload()
    await page.getByRole('heading', { name: 'No ledger here' }).waitFor()
  } finally {
    await empty.close()
  }
})

test.each(['light', 'dark'] as const)('axe finds nothing serious in the %s theme, and nothing is wider than 320 pixels', async (colorScheme) => {
  const { page } = await open('#/', { colorScheme, viewport: { width: 320, height: 640 }, reducedMotion: 'reduce' })
  for (const path of ['#/', `#/dispute/${hex(played.dispute)}`, `#/account/${hex(site.stage.who('bob').id)}`, '#/supply']) {
    await page.evaluate((hash) => {
      location.hash = hash
    }, path)
    await badge(page).first().waitFor()
    if (path.includes('dispute')) await page.getByText('Judged again in this tab').waitFor()
    await badge(page).first().click()
    expect(await axe(page)).toEqual([])
    expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBe(0)
  }
})
