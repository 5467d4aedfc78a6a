// Lending on a graphics card (the software adapter here): a tab in a ring computes bit for bit what the reference does, and a pause stops its work.
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createReferenceEngine } from '../../protocol/engine/reference.ts'
import { greedy } from '../../protocol/engine/sampler.ts'
import { blame, edgesOf, recompute } from '../../protocol/peer/blame.ts'
import { factsOf } from '../../protocol/peer/facts.ts'
import type { Question } from '../../protocol/peer/machine.ts'
import { askAll, covered, expectedTokens, type Lender, lend, status } from './lend.ts'
import { type MeshSite, openMeshSite, until } from './mesh-site.ts'
import { launch } from './site.ts'
import { chatSpecimen, type Specimen } from './specimen.ts'

let specimen: Specimen
let site: MeshSite
let browser: Browser
let lender: Lender

/** Notes when runs of the segment's worker end. */
const runProbe = `
  globalThis.runEnds = []
  const Real = Worker
  globalThis.Worker = class extends Real {
    constructor(...args) {
      super(...args)
      this.addEventListener('message', ({ data }) => data?.kind === 'computed' && runEnds.push(performance.now()))
    }
  }`

beforeAll(async () => {
  specimen = await chatSpecimen({ layers: 6, context: 8192 })
  site = await openMeshSite([specimen])
  browser = await launch(['--enable-unsafe-webgpu'])
  lender = await lend(browser, site.url, { hold: { specimen, from: 0, to: 3 }, choices: { device: 'webgpu' }, script: runProbe })
})
afterAll(async () => {
  await lender?.close()
  await browser?.close()
  await site?.close()
})

const question = (change: Partial<Question> = {}): Question => ({
  modelId: specimen.id,
  prompt: Array.from({ length: 40 }, (_, i) => (i * 37 + 5) % 256),
  sampler: greedy,
  seed: 11,
  maxTokens: 16,
  stopIds: [],
  ...change,
})

test('a tab lends its graphics card, and every row it sent on is the one of the reference', async () => {
  await lender.page
    .locator('section[aria-labelledby=held]')
    .getByText(/You chose WebGPU/)
    .waitFor()
  await site.host(specimen, 3, 6)
  await covered(() => site.mesh.swarm(), specimen.id, 2)
  const asked = question()
  const { tokens, notices } = await askAll(site.mesh.requester, specimen, asked)
  expect(tokens).toEqual(await expectedTokens(specimen, asked))
  const { receipt } = notices.find((notice) => notice.what === 'receipt')!
  const { layers } = specimen.manifest.core
  const edges = edgesOf(receipt, layers)
  expect(edges).toEqual([0, 3, 6])
  const source = { manifest: specimen.manifest, readShard: async (index: number, into: Uint8Array) => into.set(specimen.shards[index]) }
  const engines = await Promise.all([0, 1].map((i) => createReferenceEngine(source, { segment: { from: edges[i], to: edges[i + 1] } })))
  const verdict = blame(receipt, await recompute(receipt, engines), layers)
  // The running hashes over all rows are equal: not one bit of a boundary differs.
  expect(verdict.equal).toBe(true)
  expect(verdict.hosts.map((host) => host.verdict)).toEqual(['right', 'right'])
  expect(lender.complaints).toEqual([])
})

test('a pause stops the card within half a second, in the middle of an answer', async () => {
  const { page } = lender
  const stop = new AbortController()
  const facts = factsOf(specimen.manifest, specimen.id)
  const asking = (async () => {
    for await (const _ of site.mesh.requester.ask(question({ maxTokens: 8000 }), facts, { signal: stop.signal, draft: false })) if (stop.signal.aborted) return
  })().catch(() => {})
  const ends = () => page.evaluate(() => (globalThis as unknown as { runEnds: number[] }).runEnds.length)
  const before = await ends()
  await until(async () => (await ends()) > before + 20)
  const pausedAt = await page.evaluate(() => {
    const button = [...document.querySelectorAll('button')].find((one) => one.textContent?.trim() === 'Pause')!
    button.click()
    return performance.now()
  })
  await status(page).filter({ hasText: 'Paused' }).waitFor()
  // Long enough that a run which was not stopped would show.
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 1500)))
  const late = await page.evaluate((from) => (globalThis as unknown as { runEnds: number[] }).runEnds.filter((at) => at > from + 500).length, pausedAt)
  expect(late).toBe(0)
  stop.abort()
  await asking
})
