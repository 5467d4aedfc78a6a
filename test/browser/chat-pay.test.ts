// Money in the pages, on a real mesh and a real ledger: the price before the question, consent before anything is put aside, what was paid after, and the credits of the tab that
// computed it.
import { Hono } from 'hono'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { keyOf } from '../../ledger/records.ts'
import { fromHex } from '../../protocol/hash.ts'
import { ledgerRoutes } from '../../relay/ledger/api.ts'
import { registrationOf } from '../../relay/ledger/registration.ts'
import { openStage, type Stage } from '../relay/ledger/stage.ts'
import { axe } from './axe.ts'
import { lend } from './lend.ts'
import { type MeshSite, openMeshSite, until } from './mesh-site.ts'
import { answers, ask, launch } from './site.ts'
import { chatSpecimen, type Specimen } from './specimen.ts'

let stage: Stage
let site: MeshSite
let specimen: Specimen
let browser: Browser

beforeAll(async () => {
  stage = openStage()
  specimen = await chatSpecimen()
  await stage.send('operator', registrationOf(specimen.manifest, 1000n, { owner: 300, trainer: 0 }, stage.who('operator').id))
  stage.block(0)
  const operatorSecret = stage.who('operator').secret
  const ledger = new Hono()
  ledger.route('/', ledgerRoutes(stage.node, { operatorSecret, grants: { perSecond: 1, burst: 10 } }))
  site = await openMeshSite([specimen], ledger)
  browser = await launch()
})
afterAll(async () => {
  await browser?.close()
  await site?.close()
  stage?.node.close()
})

test('an answer by two tabs is priced, agreed to, paid for, its unused part is back with the settlement, and its hosts see the credits come', async () => {
  const { layers } = specimen.manifest.core
  const first = await lend(browser, site.url, { hold: { specimen, from: 0, to: 1 } })
  const lender = await lend(browser, site.url, { hold: { specimen, from: 1, to: layers } })
  const context = await browser.newContext({ viewport: { width: 320, height: 640 } })
  await context.addInitScript(
    (json) => localStorage.setItem('meadow-preferences', json),
    JSON.stringify({ settings: { temperature: 1, maxTokens: 24, seed: 5 } }),
  )
  try {
    // A host offers to be paid once it has seen its model on the ledger.
    await until(() => site.mesh.table.all().filter((one) => one.pay !== null).length === 2)
    const page = await context.newPage()
    const complaints: string[] = []
    page.on('pageerror', (error) => complaints.push(error.message))
    await page.goto(`${site.url}/chat/?where=swarm`)
    await page.getByText('Hosts are asked for free; paid for, a token costs 0.001 credits.').waitFor()
    await page.getByRole('button', { name: 'Payment' }).click()
    await page.getByLabel('Pay hosts for their answers').check()
    expect(await axe(page)).toEqual([])
    await page.getByRole('button', { name: 'Close' }).click()
    await page.getByText(/Costs 0\.001 a token, at most 0\.02\d+ credits; what is not used comes back at once\./).waitFor()
    expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBe(0)

    const asking = ask(page, 'What grows here?')
    await page.getByRole('button', { name: 'Take it' }).click()
    await page.getByText(/of yours go into a channel/).waitFor()
    expect(await axe(page)).toEqual([])
    await page.getByRole('button', { name: 'Put aside' }).click()
    await asking
    await answers(page)
      .last()
      .getByRole('button', { name: /^Swarm, 2 hosts/ })
      .click()
    const paid = page.getByText(/^Paid 0\.\d+ credits: 0\.\d+ were reserved, [\d.]+ came back\./)
    await paid.waitFor()
    const href = (await paid.getByRole('link').getAttribute('href'))!
    const session = /session\/([0-9a-f]{64})$/.exec(href)![1]

    // The host brings its last voucher to the ledger; the tab that lends hears of it.
    await lender.page.getByRole('region', { name: 'Credits', exact: true }).getByRole('cell', { name: 'held' }).waitFor()
    const record = stage.node.get(keyOf.session(fromHex(session)))!
    expect(record.held).toBeGreaterThan(0n)
    // Both tabs had signed that it is over, one of them never came to the ledger.
    expect(record).toMatchObject({ open: false, reserved: 0n })
    expect(stage.node.get(keyOf.channel(record.owner, 0))).toMatchObject({ sessions: 0 })
    await lender.page.getByRole('link', { name: `${session.slice(0, 8)}…${session.slice(-4)}` }).waitFor()
    expect(await axe(lender.page)).toEqual([])
    await page.goto(site.url + href)
    await page.getByText('Held until final').waitFor()
    await page.getByText('Proven in this tab under block').first().waitFor()
    expect([...complaints, ...first.complaints, ...lender.complaints]).toEqual([])
  } finally {
    await context.close()
    await lender.close()
    await first.close()
  }
})
