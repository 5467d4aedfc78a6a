// Rings of real tabs: three of them hold a third of the layers each, another peer asks, and the answer is the one an uninterrupted run on one machine gives,
// whatever happens to a tab meanwhile.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { createRequester } from '../../mesh/requester.ts'
import { greedy } from '../../protocol/engine/sampler.ts'
import type { Question } from '../../protocol/peer/machine.ts'
import { takeIdentity } from '../../relay/mesh/identity.ts'
import { joinMesh } from '../../relay/mesh/join.ts'
import { askAll, covered, expectedTokens, type Lender, lend, shown } from './lend.ts'
import { type MeshSite, openMeshSite, until } from './mesh-site.ts'
import { launch } from './site.ts'
import { chatSpecimen, type Specimen } from './specimen.ts'

let specimen: Specimen
/** One for each crash: a tab that crashed has said no goodbye, and its record stands until it runs out. */
let others: Specimen[]
let site: MeshSite
let browser: Browser
const lenders: Lender[] = []

beforeAll(async () => {
  specimen = await chatSpecimen({ layers: 6, context: 2048 })
  others = await Promise.all([21, 22, 23].map((seed) => chatSpecimen({ layers: 6, context: 2048 }, seed)))
  site = await openMeshSite([specimen, ...others])
  browser = await launch()
})
afterAll(async () => {
  await browser?.close()
  await site?.close()
})
afterEach(async () => {
  await Promise.all(lenders.splice(0).map((lender) => lender.close().catch(() => {})))
  await until(async () => (await site.mesh.swarm()).models.find((model) => model.id === specimen.id)?.hosts.length === 0, 100_000)
})

const question = (change: Partial<Question> = {}): Question => ({
  modelId: specimen.id,
  prompt: Array.from({ length: 40 }, (_, i) => (i * 37 + 5) % 256),
  sampler: greedy,
  seed: 11,
  maxTokens: 24,
  stopIds: [],
  ...change,
})
const warm = { temperature: 65536, topK: 40, topP: 60000, minP: 0, repeatPenalty: 72090, repeatWindow: 32 }

async function ring(model: Specimen, ...ranges: [number, number][]): Promise<Lender[]> {
  const made = await Promise.all(ranges.map(([from, to]) => lend(browser, site.url, { hold: { specimen: model, from, to } })))
  lenders.push(...made)
  await covered(() => site.mesh.swarm(), model.id, ranges.length)
  return made
}

test('three tabs with a third of the layers each answer a peer that holds nothing, greedy and seeded, to the token', async () => {
  const tabs = await ring(specimen, [0, 2], [2, 4], [4, 6])
  for (const asked of [question(), question({ sampler: warm, seed: 77 })]) {
    const { tokens, notices } = await askAll(site.mesh.requester, specimen, asked)
    expect(tokens).toEqual(await expectedTokens(specimen, asked))
    const route = notices.find((notice) => notice.what === 'route')!
    expect(route.chain.map(({ from, to }) => [from, to])).toEqual([
      [0, 2],
      [2, 4],
      [4, 6],
    ])
    const { receipt } = notices.find((notice) => notice.what === 'receipt')!
    expect(receipt.hosts.length).toBe(3)
  }
  for (const { page } of tabs) await until(async () => (await shown(page, 'Requests served')) === '2')
  expect(tabs.flatMap((tab) => tab.complaints)).toEqual([])
  expect(site.mesh.network.statistics().bytesRelayed).toBe(0)
})

test('a Node peer asks the tabs over WebRTC, signalled by the relay', async () => {
  await ring(specimen, [0, 3], [3, 6])
  const home = await mkdtemp(join(tmpdir(), 'meadow-ask-'))
  const peer = await joinMesh({ home, relay: new URL(site.url.replace('localhost', '127.0.0.1')), identity: await takeIdentity(home, 'ask'), reachable: false })
  try {
    await until(() => peer.table.size >= 2)
    const asked = question()
    const { tokens } = await askAll(createRequester(peer.shell), specimen, asked)
    expect(tokens).toEqual(await expectedTokens(specimen, asked))
    expect(peer.network.statistics().bytesRelayed).toBe(0)
  } finally {
    await peer.close()
    await rm(home, { recursive: true, force: true })
  }
})

test.each([
  ['first', 0],
  ['middle', 1],
  ['last', 2],
])('the %s tab of a ring crashes in the middle of an answer: the words go on, and are the same', async (_name, victim) => {
  const model = others[victim]
  const ranges: [number, number][] = [
    [0, 2],
    [2, 4],
    [4, 6],
  ]
  const tabs = await ring(model, ...ranges)
  // The one that takes over; later, so that the ring is not made with it.
  const spare = await lend(browser, site.url, { hold: { specimen: model, from: ranges[victim][0], to: ranges[victim][1] } })
  lenders.push(spare)
  await covered(() => site.mesh.swarm(), model.id, 4)
  const asked = question({ modelId: model.id, maxTokens: 400, sampler: warm, seed: 5 })
  let crashed = false
  const { tokens, notices } = await askAll(site.mesh.requester, model, asked, (count) => {
    if (count < 40 || crashed) return
    crashed = true
    // No goodbye: the renderer is gone, as when a phone runs out of memory.
    void tabs[victim].page.goto('chrome://crash').catch(() => {})
  })
  expect(crashed).toBe(true)
  expect(tokens).toEqual(await expectedTokens(model, asked))
  const { chain } = notices.find((notice) => notice.what === 'route')!
  expect(chain.length).toBe(3)
})

test('a tab that is closed says goodbye, so that nobody waits for it', async () => {
  const tabs = await ring(specimen, [0, 3], [3, 6])
  await tabs[0].page.close({ runBeforeUnload: false })
  // Of this model: tabs that crashed in the tests before are still listed for others.
  await until(async () => (await site.mesh.swarm()).models.find((model) => model.id === specimen.id)?.hosts.length === 1, 5000)
})
