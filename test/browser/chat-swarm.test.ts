// The chat page asking the swarm: a real relay, real hosts with a layer each, a real tab. The answer equals this device's own, survives a host's death, carries a
// receipt that this device can check, and the page says at every moment who computes and whether it can.
import { readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { parseReceipt } from '../../protocol/peer/blame.ts'
import { axe } from './axe.ts'
import { type MeshSite, openMeshSite, until } from './mesh-site.ts'
import { answered, answers, ask, download, launch } from './site.ts'
import { chatSpecimen, type Specimen } from './specimen.ts'

let site: MeshSite
let specimen: Specimen
let browser: Browser
let context: BrowserContext

beforeAll(async () => {
  specimen = await chatSpecimen({ context: 8192 })
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

async function open(
  options: Parameters<Browser['newContext']>[0] = {},
  preferences: object = {},
  path = '/chat/',
): Promise<{ page: Page; complaints: string[] }> {
  context = await browser.newContext({ acceptDownloads: true, ...options })
  const kept = { settings: { temperature: 1, maxTokens: 40, seed: 5 }, ...preferences }
  await context.addInitScript((json) => {
    if (localStorage.getItem('meadow-preferences') === null) localStorage.setItem('meadow-preferences', json)
  }, JSON.stringify(kept))
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('console', (message) => {
    if (message.type() === 'error' && !/Failed to load resource|net::ERR|WebSocket connection/.test(message.text())) complaints.push(message.text())
  })
  page.on('request', (request) => {
    const url = request.url()
    if (!url.startsWith(site.url) && !url.startsWith(site.url.replace('http', 'ws')) && !/^(blob|data):/.test(url))
      complaints.push(`request to a stranger: ${url}`)
  })
  await page.goto(site.url + path)
  return { page, complaints }
}

const thirds = () => Promise.all([site.host(specimen, 0, 1), site.host(specimen, 1, 2), site.host(specimen, 2, 3)])
const words = (page: Page) => answers(page).last().locator('.markdown').textContent()

async function where(page: Page, label: string): Promise<void> {
  await page.getByRole('button', { name: /^Where answers are computed/ }).click()
  await page.getByRole('radio', { name: new RegExp(`^${label}`) }).check()
  await page.keyboard.press('Escape')
}

test('three hosts with a layer each answer without a download, and the text is the same that this device computes', async () => {
  await thirds()
  const { page, complaints } = await open()
  await page.getByRole('button', { name: 'Ask the swarm instead' }).click()
  await page
    .getByText(/Runs now, about .*places free/)
    .first()
    .waitFor()
  await ask(page, 'What grows in a meadow?')
  const swarmText = await words(page)
  expect(swarmText?.length).toBeGreaterThan(20)
  await page.getByRole('button', { name: /^Swarm, 3 hosts/ }).click()
  const card = answers(page).last().locator('.route')
  expect(await card.getByRole('listitem').allTextContents()).toEqual(
    [0, 1, 2].map((layer) => expect.stringMatching(new RegExp(`^[0-9a-f]{8} layers ${layer}.*ms a round`))),
  )
  expect(await card.textContent()).toContain('Receipt signed by 3 of 3 hosts')
  await where(page, 'This device')
  await page.getByRole('button', { name: 'New chat' }).click()
  await download(page)
  await ask(page, 'What grows in a meadow?')
  await page
    .getByRole('button', { name: /^This device/ })
    .last()
    .waitFor()
  expect(await words(page)).toBe(swarmText)
  expect(complaints).toEqual([])
})

test('the receipt is kept, downloaded, and checked on this device: equal as it is; an altered one differs where it was altered, and no honest host is blamed', async () => {
  const hosts = await thirds()
  const { page } = await open({}, { where: 'swarm' })
  await ask(page, 'Is it true?')
  await page.getByRole('button', { name: /^Swarm, 3 hosts/ }).click()
  const check = page.getByRole('button', { name: 'Check on my device' })
  expect(await check.isDisabled()).toBe(true)
  await page.getByText('this device needs the model').waitFor()
  await page.getByRole('button', { name: /^Model:/ }).click()
  await page.getByRole('button', { name: /^Download/ }).click()
  await page.getByText('On this device', { exact: true }).last().waitFor()
  await page.keyboard.press('Escape')
  await check.click()
  await page.getByText(/The same here: all \d+ tokens, and every number that went from host to host/).waitFor()
  await page.getByRole('button', { name: /checked here/ }).waitFor()
  const saving = page.waitForEvent('download')
  await page.getByRole('button', { name: 'Receipt', exact: true }).click()
  const receipt = parseReceipt(JSON.parse(await readFile(await (await saving).path(), 'utf8')))
  expect(new Set(receipt.hosts.map((host) => host.peer))).toEqual(new Set(hosts.map((host) => host.key)))
  // It lasts with the answer.
  await page.reload()
  await page.getByRole('button', { name: 'Is it true?', exact: true }).click()
  await page.getByRole('button', { name: /^Swarm, 3 hosts/ }).click()
  await page.getByText('Receipt signed by 3 of 3 hosts').waitFor()
  // The same chat with another word in the answer, as somebody could hand it on.
  const exporting = page.waitForEvent('download')
  await page.getByRole('button', { name: 'Export' }).click()
  const chats = JSON.parse(await readFile(await (await exporting).path(), 'utf8'))
  const altered = chats.conversations[0].messages[1].swarm.receipt
  altered.tokens[3] = (altered.tokens[3] + 1) % 300
  chats.conversations[0].title = 'Altered'
  const file = join(tmpdir(), `meadow-altered-${process.pid}.json`)
  await writeFile(file, JSON.stringify(chats))
  await page.getByLabel('File to import').setInputFiles(file)
  await page.getByRole('button', { name: 'Delete Is it true?' }).click()
  await page.getByRole('button', { name: 'Delete', exact: true }).click()
  await page.getByRole('button', { name: 'Altered', exact: true }).click()
  await page.getByRole('button', { name: /^Swarm, 3 hosts/ }).click()
  await page.getByRole('button', { name: 'Check on my device' }).click()
  await page.getByText(/The answer first differs at token 4 of/).waitFor()
  // Nobody who was honest is blamed for what a stranger did to the file.
  expect(await page.locator('.differs').textContent()).not.toMatch(/signed for wrong ones/)
})

test('whether it can run is said before asking: nobody, gaps, runs; and only what runs is offered', async () => {
  const { page } = await open({}, { where: 'swarm' })
  await page.getByRole('heading', { name: 'The swarm cannot answer right now' }).waitFor()
  await page
    .getByText(/Nobody lends a device for it yet. It needs .* more of lent memory/)
    .first()
    .waitFor()
  expect(await page.getByLabel('Message', { exact: true }).isDisabled()).toBe(true)
  await site.host(specimen, 0, 2)
  await page
    .getByText(/Layer 2 has no host/)
    .first()
    .waitFor()
  await page.getByRole('button', { name: /^Model:/ }).click()
  expect(await page.getByRole('dialog').getByRole('button', { name: 'Ask it' }).count()).toBe(0)
  await page.getByRole('dialog').getByRole('link', { name: 'Lend a device' }).waitFor()
  await site.host(specimen, 2, 3)
  await page
    .getByRole('dialog')
    .getByText(/Runs now/)
    .waitFor()
  await page.keyboard.press('Escape')
  await page.getByRole('heading', { name: 'What would you like to know?' }).waitFor()
  expect(await page.getByLabel('Message', { exact: true }).isEnabled()).toBe(true)
})

test('the page says who can read the words, differently for this device and for the swarm', async () => {
  const { page } = await open()
  await page.getByRole('button', { name: /^Where answers are computed/ }).click()
  const panel = page.getByRole('region', { name: 'Who can see my words?' })
  await panel.getByText('Nobody else.').waitFor()
  await page.getByRole('radio', { name: /^The swarm/ }).check()
  await panel.getByText('They are run by strangers').waitFor()
  await panel.getByText('see your IP address').waitFor()
})

test('the relay drops out in the middle: the answer goes on between the peers, nothing is lost, and the page says that it is away', async () => {
  await site.host(specimen, 0, 3)
  const { page } = await open({}, { where: 'swarm', settings: { temperature: 1, maxTokens: 600, seed: 3 } })
  await ask(page, 'First')
  const field = page.getByLabel('Message', { exact: true })
  await field.fill('A long one')
  await field.press('Enter')
  await until(async () => ((await words(page).catch(() => '')) ?? '').length > 30)
  await site.goAway()
  await page.getByText('The relay is away. Trying again…').first().waitFor()
  await answered(page)
  expect(await answers(page).last().getByRole('alert').count()).toBe(0)
  expect(await answers(page).count()).toBe(2)
  await site.comeBack()
  await page
    .getByText(/Runs now/)
    .first()
    .waitFor()
})

test('without any relay the page says so, keeps the question, and this device answers', async () => {
  const { page } = await open({}, { where: 'local' })
  await download(page)
  await site.goAway()
  await where(page, 'The swarm')
  await page.getByText('The relay cannot be reached. Trying again…').first().waitFor()
  await where(page, 'This device')
  await ask(page, 'Still there?')
  expect((await words(page))?.length).toBeGreaterThan(0)
})

test('automatic starts here when the model is here, and asks the swarm when it is not', async () => {
  await site.host(specimen, 0, 3)
  const { page } = await open({}, { where: 'auto' })
  await page
    .getByText(/Runs now/)
    .first()
    .waitFor()
  await ask(page, 'Who answers?')
  await page.getByRole('button', { name: /^Swarm, one host|^Swarm, 1 host/ }).waitFor()
  const text = await words(page)
  await page.getByRole('button', { name: /^Model:/ }).click()
  await page.getByRole('button', { name: /^Download/ }).click()
  await page.getByText('On this device', { exact: true }).last().waitFor()
  await page.keyboard.press('Escape')
  await page.getByRole('button', { name: 'Retry' }).click()
  await answered(page)
  expect(await words(page)).toBe(text)
})

test('an invitation link leads into a private group: its members answer, the open swarm knows nothing of them', async () => {
  const secret = '00112233445566778899aabbccddeeff'
  await site.host(specimen, 0, 3, secret)
  expect((await site.mesh.swarm()).hosts).toBe(0)
  const { page } = await open({}, {}, `/chat/#invite=${secret}`)
  await page
    .getByText(/Your private group: Runs now/)
    .first()
    .waitFor()
  await ask(page, 'Among us')
  await page.getByRole('button', { name: /^Swarm, 1 host/ }).waitFor()
  expect((await words(page))?.length).toBeGreaterThan(0)
})

test.each(['light', 'dark'] as const)(
  'axe finds nothing serious in the swarm’s parts of the chat in the %s theme, and nothing is wider than 320 pixels',
  async (colorScheme) => {
    await thirds()
    const { page } = await open({ colorScheme, reducedMotion: 'reduce', viewport: { width: 320, height: 640 } }, { where: 'swarm' })
    const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
    await ask(page, 'Hello')
    await page.getByRole('button', { name: /^Swarm, 3 hosts/ }).click()
    expect(await axe(page)).toEqual([])
    expect(await overflow()).toBe(0)
    for (const name of [/^Where answers/, /^Model:/]) {
      await page.getByRole('button', { name }).click()
      await page.getByRole('dialog').waitFor()
      expect(await axe(page)).toEqual([])
      expect(await overflow()).toBe(0)
      await page.keyboard.press('Escape')
    }
  },
)

// Last, since a relay remembers who vanished for 90 seconds.
test('a host that dies in the middle of an answer is replaced, the words go on to the same text, and the page says so', async () => {
  const [, second] = await thirds()
  const { page } = await open({}, { where: 'swarm', settings: { temperature: 1, maxTokens: 1500, seed: 9 } })
  await ask(page, 'Tell me a long story')
  const whole = await words(page)
  await page.getByRole('button', { name: 'Retry' }).click()
  await until(async () => ((await words(page).catch(() => '')) ?? '').length > 40)
  // Its place is taken by a newcomer, which can only be found once the first is gone.
  await second.kill()
  await site.host(specimen, 1, 2)
  await answered(page)
  await page.getByRole('button', { name: /^Swarm, 3 hosts.*(one repair|\d repairs)/ }).click()
  expect(await words(page)).toBe(whole)
  await page.getByText(new RegExp(`${second.key.slice(0, 8)} was lost.*others went on with the very same text`)).waitFor()
})
