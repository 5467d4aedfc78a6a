// The account page in a real browser on a real ledger: a key is made on request, granted, spent, staked; taken to a second device; recovered.
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { fromHex, hex } from '../../protocol/hash.ts'
import { credit, word } from '../ledger/world.ts'
import { axe } from './axe.ts'
import { type LedgerSite, openLedgerPage, openLedgerSite } from './ledger-site.ts'
import { launch } from './site.ts'

let site: LedgerSite
let browser: Browser
const contexts: BrowserContext[] = []

beforeAll(async () => {
  site = await openLedgerSite({ blockIntervalMs: 3_600_000 })
  browser = await launch()
})
afterAll(async () => {
  await browser?.close()
  await site?.close()
})
afterEach(async () => {
  for (const context of contexts.splice(0)) await context.close()
})

async function open(path = '/account/', options: Parameters<Browser['newContext']>[0] = {}) {
  const context = await browser.newContext(options)
  contexts.push(context)
  return openLedgerPage(context, site, path)
}

/** A new account with the newcomer's grant. */
async function newcomer(page: Page): Promise<string> {
  await page.getByRole('button', { name: 'Make an account' }).click()
  await page.getByRole('button', { name: 'Get 20 credits' }).click()
  await page.getByText('20 credits granted.').waitFor()
  return page.getByLabel('Your account', { exact: true }).inputValue()
}

const fact = (page: Page, name: string) => page.locator('dl.facts > div', { has: page.locator('dt', { hasText: name }) }).locator('dd')
const sent = (page: Page, name: string, amount: string) => fact(page, name).filter({ hasText: amount })

test('nobody is made an account without asking; then it is granted, sends, stakes, and each step moves the balances and is proven', async () => {
  const { page, complaints } = await open()
  await page.getByRole('heading', { name: 'This browser has no account yet' }).waitFor()
  const id = await newcomer(page)
  await sent(page, 'Balance', '20').waitFor()
  await page.getByText('stands in the block that is being built').waitFor()
  site.stage.block()
  await page.getByText(/Proven in this tab under block/).waitFor()
  await page.getByText('stands in the block that is being built').waitFor({ state: 'detached' })
  expect(await page.getByRole('button', { name: /^Get/ }).count()).toBe(0)

  const friend = hex(word('a friend of the account page'))
  await page.getByLabel('To account').fill('nobody')
  await page.getByRole('region', { name: 'Send', exact: true }).getByLabel('Credits').fill('1.5')
  await page.getByRole('button', { name: 'Send…' }).click()
  await page.getByText('An account is 64 letters and digits').waitFor()
  await page.getByLabel('To account').fill(friend)
  await page.getByRole('button', { name: 'Send…' }).click()
  await page.getByText('It cannot be taken back').waitFor()
  await page.getByRole('button', { name: 'Sign and send' }).click()
  await page.getByText('1.5 credits sent to').waitFor()
  expect(site.stage.node.chain.state.account(fromHex(friend)).balance).toBe((15n * credit) / 10n)
  await sent(page, 'Balance', '18.499').waitFor()

  await page.getByRole('region', { name: 'Stake', exact: true }).getByLabel('Credits').fill('3')
  await page.getByRole('button', { name: 'Stake', exact: true }).click()
  await sent(page, 'Stake', '3').waitFor()
  await page.getByRole('region', { name: 'Send', exact: true }).getByLabel('Credits').fill('1000')
  await page.getByLabel('To account').fill(friend)
  await page.getByRole('button', { name: 'Send…' }).click()
  await page.getByRole('button', { name: 'Sign and send' }).click()
  await page.getByText(/credits are needed|are needed/).waitFor()
  site.stage.block()
  const history = page.getByRole('region', { name: 'History' })
  await history.getByText('Granted by the faucet').waitFor()
  await history.getByText('Sent', { exact: true }).waitFor()
  await page.getByRole('link', { name: 'This account in the explorer' }).click()
  await page.getByRole('heading', { name: 'Account', exact: true }).waitFor()
  expect(page.url()).toContain(id)
  expect(complaints).toEqual([])
})

test('a second device takes the account with picture and code, and only with both', async () => {
  const first = await open()
  const id = await newcomer(first.page)
  await first.page.getByRole('button', { name: 'Show picture and code' }).click()
  const link = await first.page.getByLabel('The link in the picture').inputValue()
  const code = (await first.page.getByLabel('The code', { exact: true }).textContent())!
  const second = await open(link.slice(site.url.length))
  await second.page.getByLabel('The code that the other device shows').fill('00000-00000')
  await second.page.getByRole('button', { name: 'Unlock' }).click()
  await second.page.getByText('This is not the code that belongs to this link.').waitFor()
  await second.page.getByLabel('The code that the other device shows').fill(code.toLowerCase())
  await second.page.getByRole('button', { name: 'Unlock' }).click()
  await second.page.getByRole('button', { name: 'Become this account' }).click()
  await second.page.getByLabel('Your account', { exact: true }).waitFor()
  expect(await second.page.getByLabel('Your account', { exact: true }).inputValue()).toBe(id)
  expect(second.page.url()).toBe(`${site.url}/account/`)
  await sent(second.page, 'Balance', '20').waitFor()
  expect(second.complaints).toEqual([])
})

test('24 words bring an account back', async () => {
  const first = await open()
  const id = await newcomer(first.page)
  await first.page.getByRole('button', { name: 'Show the words…' }).click()
  await first.page.getByRole('button', { name: 'Show them' }).click()
  const words = await first.page.locator('ol.words li').allTextContents()
  expect(words).toHaveLength(24)
  const second = await open()
  await second.page.getByRole('button', { name: 'Recover an account…' }).click()
  const field = second.page.getByLabel('The 24 words, in order')
  await field.fill(words.slice(0, 23).join(' '))
  await second.page.getByRole('button', { name: 'Become this account' }).click()
  await second.page.getByRole('alert').filter({ hasText: /24/ }).waitFor()
  await field.fill(words.join(' '))
  await second.page.getByRole('button', { name: 'Become this account' }).click()
  await second.page.getByLabel('Your account', { exact: true }).waitFor()
  expect(await second.page.getByLabel('Your account', { exact: true }).inputValue()).toBe(id)
})

test('a relay without a ledger says that nothing costs anything, and the words still work', async () => {
  const context = await browser.newContext()
  contexts.push(context)
  await context.route('**/ledger/**', (route) => route.fulfill({ status: 404, body: 'There is no such page.' }))
  const { page } = await openLedgerPage(context, site, '/account/')
  await page.getByRole('heading', { name: 'No ledger here' }).waitFor()
  await page.getByRole('button', { name: 'Recover an account…' }).waitFor()
})

test.each(['light', 'dark'] as const)('axe finds nothing serious in the %s theme, and nothing is wider than 320 pixels', async (colorScheme) => {
  const { page } = await open('/account/', { colorScheme, viewport: { width: 320, height: 640 }, reducedMotion: 'reduce' })
  await newcomer(page)
  site.stage.block()
  await page.getByText(/Proven in this tab under block/).click()
  await page.getByRole('button', { name: 'Show picture and code' }).click()
  await page.getByLabel('The code', { exact: true }).waitFor()
  expect(await axe(page)).toEqual([])
  expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBe(0)
})
