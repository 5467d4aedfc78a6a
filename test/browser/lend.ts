// Tabs that lend, as a person makes them: the contribute page, one click. Each stands in a browser context of its own, as another device would.
import type { Browser, BrowserContext, Page } from 'playwright-core'
import type { AskNotice, Requester } from '../../mesh/requester.ts'
import { noiseKey } from '../../protocol/engine/answer.ts'
import { Session } from '../../protocol/engine/generate.ts'
import { createReferenceEngine } from '../../protocol/engine/reference.ts'
import { factsOf } from '../../protocol/peer/facts.ts'
import type { Question } from '../../protocol/peer/machine.ts'
import { until } from './mesh-site.ts'
import type { Specimen } from './specimen.ts'

export interface Lender {
  page: Page
  context: BrowserContext
  /** What the page should not do: errors, broken policy, requests to anyone but its relay. */
  complaints: string[]
  close(): Promise<void>
}

export interface LenderOptions {
  /** Layers to hold, as the link says it; placement decides when left out. */
  hold?: { specimen: Pick<Specimen, 'id'>; from: number; to: number }
  invite?: string
  /** Of `meadow-lending` in localStorage. */
  choices?: Record<string, unknown>
  /** A second tab of the same browser. */
  context?: BrowserContext
  /** Runs in the page before its own scripts; as text, since a compiler's helpers are not there. */
  script?: string
}

/** Opens the contribute page without the click. */
export async function openContribute(browser: Browser, url: string, options: LenderOptions = {}): Promise<Lender> {
  const { hold, invite, choices = {} } = options
  const context = options.context ?? (await browser.newContext())
  const page = await context.newPage()
  // Several tabs at once on a machine of two cores: patience, not speed, is what is asked here.
  page.setDefaultTimeout(120_000)
  const complaints: string[] = []
  const stranger = (address: string): void => {
    if (!/^(blob|data):/.test(address) && new URL(address).host !== new URL(url).host) complaints.push(`request to a stranger: ${address}`)
  }
  page.on('pageerror', (error) => complaints.push(`error: ${error.message}`))
  page.on('console', (message) => {
    if (message.type() === 'error' && !/Failed to load resource|net::ERR|WebSocket connection to/.test(message.text()))
      complaints.push(`console: ${message.text()}`)
  })
  page.on('request', (request) => stranger(request.url()))
  page.on('websocket', (socket) => stranger(socket.url()))
  await page.addInitScript(
    (json) => localStorage.getItem('meadow-lending') ?? localStorage.setItem('meadow-lending', json),
    JSON.stringify({ threads: 1, ...choices }),
  )
  if (options.script) await page.addInitScript({ content: options.script })
  const parts = [hold ? `hold=${hold.specimen.id.slice(0, 16)}:${hold.from}-${hold.to}` : '', invite ? `invite=${invite}` : ''].filter(Boolean)
  await page.goto(`${url}/contribute/${parts.length > 0 ? `#${parts.join('&')}` : ''}`)
  return { page, context, complaints, close: () => (options.context ? page.close() : context.close()) }
}

export const lendButton = (page: Page) => page.getByRole('button', { name: 'Lend this device' })
export const status = (page: Page) => page.locator('section[aria-labelledby=status] h1')

/** Waits until the page says that its layers are loaded. */
export async function ready(page: Page): Promise<void> {
  await status(page)
    .filter({ hasText: /Ready|Computing/ })
    .waitFor()
}

/** One click, and the layers are loaded. */
export async function lend(browser: Browser, url: string, options: LenderOptions = {}): Promise<Lender> {
  const lender = await openContribute(browser, url, options)
  await lendButton(lender.page).click()
  await ready(lender.page)
  return lender
}

/** A number that the page shows. */
export async function shown(page: Page, name: string): Promise<string> {
  return (
    (await page
      .locator('dl > div', { has: page.locator('dt', { hasText: name }) })
      .locator('dd')
      .first()
      .textContent()) ?? ''
  )
}

/** The tokens of an uninterrupted run on this machine, by the reference. */
export async function expectedTokens({ manifest, shards }: Specimen, question: Question): Promise<number[]> {
  const engine = await createReferenceEngine({ manifest, readShard: async (index, into) => into.set(shards[index]) })
  const tokens: number[] = []
  const { prompt, sampler, maxTokens, stopIds, seed } = question
  for await (const step of new Session(engine).generate({ prompt, sampler, key: noiseKey(seed), maxTokens, stopIds }))
    if (step.kind === 'token') tokens.push(step.token)
  return tokens
}

export interface Answer {
  tokens: number[]
  notices: AskNotice[]
}

/** Asks, and hears every notice. */
export async function askAll(requester: Requester, specimen: Specimen, question: Question, onToken: (count: number) => void = () => {}): Promise<Answer> {
  const notices: AskNotice[] = []
  const tokens: number[] = []
  for await (const notice of requester.ask(question, factsOf(specimen.manifest, specimen.id))) {
    notices.push(notice)
    if (notice.what === 'token') {
      tokens.push(notice.token)
      onToken(tokens.length)
    }
  }
  return { tokens, notices }
}

/** Waits until every layer has a host that the relay knows to be serving. */
export async function covered(swarm: () => Promise<{ models: { id: string; hosts: { state: string }[] }[] }>, id: string, hosts: number): Promise<void> {
  await until(async () => ((await swarm()).models.find((model) => model.id === id)?.hosts.filter((host) => host.state === 'serving').length ?? 0) >= hosts)
}
