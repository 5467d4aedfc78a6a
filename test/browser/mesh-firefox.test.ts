// A Firefox tab and a Chromium tab in one ring: two browsers' WebRTC, two browsers' WASM, one text.
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser } from 'playwright-core'
import puppeteer, { type Browser as Firefox, type Page } from 'puppeteer-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { greedy } from '../../protocol/engine/sampler.ts'
import { askAll, covered, expectedTokens, lend } from './lend.ts'
import { type MeshSite, openMeshSite } from './mesh-site.ts'
import { launch } from './site.ts'
import { chatSpecimen, type Specimen } from './specimen.ts'

const firefoxPath = process.env.MEADOW_FIREFOX ?? '/usr/bin/firefox-esr'
let specimen: Specimen
let site: MeshSite
let chromium: Browser
let firefox: Firefox
let profile: string

beforeAll(async () => {
  if (!existsSync(firefoxPath)) throw new Error(`Firefox is missing at ${firefoxPath}: set MEADOW_FIREFOX`)
  specimen = await chatSpecimen({ layers: 6, context: 2048 })
  site = await openMeshSite([specimen])
  chromium = await launch()
  profile = await mkdtemp(join(tmpdir(), 'meadow-firefox-'))
  firefox = await puppeteer.launch({ browser: 'firefox', executablePath: firefoxPath, headless: true, userDataDir: profile })
})
afterAll(async () => {
  await firefox?.close()
  await chromium?.close()
  await site?.close()
  await rm(profile, { recursive: true, force: true })
})

test('Firefox lends the first half, Chromium the second, and the answer is the one of one machine', async () => {
  const page = await firefox.newPage()
  const problems: string[] = []
  page.on('pageerror', (error) => problems.push(String(error)))
  await page.goto(`${site.url}/contribute/#hold=${specimen.id.slice(0, 16)}:0-3`)
  await page.locator('::-p-text(Lend this device)').setTimeout(30_000).wait()
  await page.locator('button.primary').click()
  await page.locator('::-p-text(The layers are loaded)').setTimeout(90_000).wait()
  const other = await lend(chromium, site.url, { hold: { specimen, from: 3, to: 6 } })
  await covered(() => site.mesh.swarm(), specimen.id, 2)
  const question = {
    modelId: specimen.id,
    prompt: Array.from({ length: 30 }, (_, i) => (i * 31 + 7) % 256),
    sampler: { ...greedy, temperature: 65536, topK: 40 },
    seed: 3,
    maxTokens: 32,
    stopIds: [],
  }
  const { tokens } = await askAll(site.mesh.requester, specimen, question)
  expect(tokens).toEqual(await expectedTokens(specimen, question))
  expect(problems).toEqual([])
  expect(other.complaints).toEqual([])
  expect(site.mesh.network.statistics().bytesRelayed).toBe(0)
  await other.close()
  await page.close()
})

test('Firefox sees in the swarm page who holds what, asks from the chat page, and computes the same itself', async () => {
  await Promise.all([site.host(specimen, 0, 2), site.host(specimen, 2, 6)])
  const problems: string[] = []
  const open = async (path: string): Promise<Page> => {
    const page = await firefox.newPage()
    page.on('pageerror', (error) => problems.push(String(error)))
    page.setDefaultTimeout(60_000)
    await page.goto(site.url + path)
    return page
  }
  const press = (page: Page, name: string) => page.locator(`::-p-aria([name="${name}"][role="button"])`).click()

  const swarm = await open('/swarm/')
  await swarm.locator('::-p-text(Runs now)').wait()
  expect(await swarm.$eval('[role=img]', (picture) => picture.getAttribute('aria-label'))).toContain('6 of 6 have a host')
  await swarm.close()

  const chat = await open(`/chat/?where=swarm&model=${specimen.id}`)
  await chat.locator('#question:not([disabled])').fill('What grows in a meadow?')
  await chat.focus('#question')
  await chat.keyboard.press('Enter')
  await chat.locator('article.assistant:last-child[aria-busy=false]').wait()
  await chat.locator('article.assistant ::-p-text(Swarm, 2 hosts)').click()
  await chat.locator('::-p-text(Receipt signed by 2 of 2 hosts)').wait()
  await chat.locator('header ::-p-text(Specimen)').click()
  await chat.locator('dialog ::-p-text(Download)').click()
  await chat.locator('dialog ::-p-text(On this device)').wait()
  await chat.keyboard.press('Escape')
  await press(chat, 'Check on my device')
  await chat.locator('::-p-text(The same here: all)').wait()
  expect(problems).toEqual([])
  await chat.close()
})
