// Layers from tab to tab: a seeder that dies, seeders that lie, a relay whose torrent lies, disks that are small or old-fashioned. No wrong byte reaches an engine.
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { makeMetainfo, pieceLengthOf, readPiece } from '../../mesh/torrent.ts'
import { type Lender, type LenderOptions, lend, lendButton, openContribute, ready } from './lend.ts'
import { type MeshSite, openMeshSite, until } from './mesh-site.ts'
import { launch } from './site.ts'
import { chatSpecimen, type Specimen } from './specimen.ts'

let specimen: Specimen
let other: Specimen
let site: MeshSite
let browser: Browser
const lenders: Lender[] = []

beforeAll(async () => {
  // 40 layers are 3 MB: some 40 pieces of 64 KiB, most of them across two shards.
  specimen = await chatSpecimen({ layers: 40 })
  other = await chatSpecimen({ layers: 40 }, 8)
  site = await openMeshSite([specimen, other])
  browser = await launch()
})
afterAll(async () => {
  await browser?.close()
  await site?.close()
})
afterEach(async () => {
  await Promise.all(lenders.splice(0).map((lender) => lender.close().catch(() => {})))
})

const keep = (lender: Lender): Lender => {
  lenders.push(lender)
  return lender
}
const whole = { from: 0, to: 40 }
const hold = (model: Specimen, range = whole) => ({ hold: { specimen: model, ...range } })

/** The relay's files are out of reach for this browser: only other tabs have them. */
async function withoutWebSeed(context: BrowserContext): Promise<void> {
  await context.route(/\/models\/[0-9a-f]{64}\/(embed|head|layer-\d+)$/, (route) => route.abort())
}

async function leech(options: LenderOptions): Promise<Lender> {
  const context = await browser.newContext()
  await withoutWebSeed(context)
  const lender = keep(await openContribute(browser, site.url, { ...options, context }))
  await lendButton(lender.page).click()
  return { ...lender, close: () => context.close() }
}

/** With whom layers were exchanged, as the page says it: name, received, sent. */
const exchanges = (page: Page): Promise<string[][]> =>
  page.locator('section[aria-labelledby=transfers] tbody tr').evaluateAll((rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent ?? '')))

/** Shards on this browser's disk with their sizes, as the disk has them. */
const stored = (page: Page): Promise<string[]> =>
  page.evaluate(async () => {
    const found: string[] = []
    const walk = async (folder: FileSystemDirectoryHandle, path: string): Promise<void> => {
      for await (const [name, handle] of folder as unknown as AsyncIterable<[string, FileSystemHandle]>)
        if (handle.kind === 'directory') await walk(handle as FileSystemDirectoryHandle, `${path}${name.slice(0, 4)}/`)
        else found.push(path + name)
    }
    await walk(await navigator.storage.getDirectory(), '/')
    return found.sort()
  })

test('one seeder, three leechers; the seeder dies, and the next one gets everything from them', async () => {
  const seeder = keep(await lend(browser, site.url, hold(specimen)))
  const leechers = await Promise.all([leech(hold(specimen)), leech(hold(specimen)), leech(hold(specimen))])
  await Promise.all(leechers.map(({ page }) => ready(page)))
  for (const { page } of leechers) expect((await exchanges(page)).map(([name]) => name)).not.toContain('The relay')
  await seeder.close()
  const late = await leech(hold(specimen))
  await ready(late.page)
  const rows = await exchanges(late.page)
  expect(rows.length).toBeGreaterThan(0)
  expect(rows.map(([name]) => name)).not.toContain('The relay')
  expect([seeder, ...leechers, late].flatMap((lender) => lender.complaints)).toEqual([])
})

test('the seeder crashes half way: the rest comes from the relay, and no shard that was whole comes twice', async () => {
  const seeder = keep(await lend(browser, site.url, { ...hold(specimen), choices: { uploadKBps: 400 } }))
  const context = await browser.newContext()
  await withoutWebSeed(context)
  const lender = keep(await openContribute(browser, site.url, { ...hold(specimen), context }))
  await lendButton(lender.page).click()
  const shards = new Set(specimen.manifest.shards.map((shard) => shard.name))
  const wholeOnes = async (): Promise<string[]> => (await stored(lender.page)).map((path) => path.split('/').at(-1)!).filter((name) => shards.has(name))
  await until(async () => (await wholeOnes()).length >= 8)
  const asked = new Set<string>()
  lender.page.on('request', (request) => {
    const shard = /\/(embed|head|layer-\d+)$/.exec(request.url())?.[1]
    if (shard) asked.add(shard)
  })
  await seeder.page.goto('chrome://crash').catch(() => {})
  const whole = await wholeOnes()
  expect(whole.length).toBeLessThan(shards.size)
  asked.clear()
  await context.unrouteAll()
  await ready(lender.page)
  expect(asked.size).toBeGreaterThan(0)
  expect([...asked].filter((name) => whole.includes(name))).toEqual([])
  await context.close()
})

test('a tab takes only the shards of its layers, and passes on what it has', async () => {
  const first = keep(await lend(browser, site.url, hold(specimen, { from: 10, to: 20 })))
  expect(await stored(first.page)).toEqual(Array.from({ length: 10 }, (_, i) => `/mode/${specimen.id.slice(0, 4)}/layer-${10 + i}`).sort())
  const second = await leech(hold(specimen, { from: 12, to: 18 }))
  await ready(second.page)
  expect((await exchanges(second.page)).map(([name]) => name)).not.toContain('The relay')
})

test('where torrents find nobody and the relay gives nothing, a peer of the mesh gives whole shards', async () => {
  const seeder = keep(await lend(browser, site.url, hold(specimen, { from: 10, to: 20 })))
  const context = await browser.newContext()
  await withoutWebSeed(context)
  // The tracker never answers: no other tab is found by way of torrents.
  await context.routeWebSocket(/\/tracker/, () => {})
  const alone = keep({ ...(await openContribute(browser, site.url, { ...hold(specimen, { from: 12, to: 18 }), context })), close: () => context.close() })
  await lendButton(alone.page).click()
  await ready(alone.page)
  expect(await stored(alone.page)).toEqual(Array.from({ length: 6 }, (_, i) => `/mode/${specimen.id.slice(0, 4)}/layer-${12 + i}`).sort())
  // The page counts once a second.
  await alone.page.locator('section[aria-labelledby=transfers] tbody tr').first().waitFor()
  const name = (await seeder.page.locator('section', { hasText: 'Its name among peers' }).locator('code').textContent())!.slice(0, 8)
  expect((await exchanges(alone.page)).map(([from]) => from)).toEqual([expect.stringContaining(name)])
  expect([seeder, alone].flatMap((lender) => lender.complaints)).toEqual([])
})

test('a seeder that sends flipped bytes is left, and every tab completes with right ones', async () => {
  const { manifest, shards, id } = specimen
  const sizes = manifest.shards.map((shard) => shard.bytes)
  const pieceBytes = pieceLengthOf(sizes.reduce((sum, bytes) => sum + bytes, 0))
  const read = async (shard: number, from: number, to: number): Promise<Uint8Array> => shards[shard].slice(from, to)
  const metainfo = await makeMetainfo(id, manifest, read, async (bytes) => new Uint8Array(await crypto.subtle.digest('SHA-1', bytes.slice())))
  let lies = 0
  class LyingStore {
    get(index: number, options: unknown, done: unknown): void {
      const answer = (typeof options === 'function' ? options : done) as (error: Error | null, bytes?: Uint8Array) => void
      const { offset = 0, length } = (typeof options === 'function' || !options ? {} : options) as { offset?: number; length?: number }
      void readPiece(sizes, pieceBytes, index, read).then((piece) => {
        for (let at = index % 1000; at < piece.length; at += 1000) piece[at] ^= 1
        lies++
        answer(null, piece.subarray(offset, length === undefined ? undefined : offset + length))
      })
    }
    put(_index: number, _bytes: Uint8Array, done: (error: Error) => void): void {
      done(new Error('it writes nothing'))
    }
    close(done: (error: null) => void): void {
      done(null)
    }
    destroy(done: (error: null) => void): void {
      done(null)
    }
  }
  // No types of it are in sight of the tests.
  const { default: WebTorrent } = (await import('webtorrent' as string)) as {
    default: new (options: object) => { add(metainfo: Uint8Array, options: object): void; destroy(done: () => void): void }
  }
  const liar = new WebTorrent({ dht: false, lsd: false, utPex: false, utp: false, natUpnp: false, natPmp: false, tracker: { rtcConfig: { iceServers: [] } } })
  const tracker = `${site.url.replace('http', 'ws')}/tracker`
  liar.add(metainfo, { announce: [tracker], skipVerify: true, storeCacheSlots: 0, store: LyingStore })
  try {
    // Alone with the liar first: it is found out with its first piece, and the relay gives the rest.
    const tabs = await Promise.all([0, 1].map(() => lend(browser, site.url, hold(specimen))))
    for (const tab of tabs) keep(tab)
    expect(lies).toBeGreaterThan(0)
    expect(lies).toBeLessThan(200)
    expect(tabs.flatMap((tab) => tab.complaints)).toEqual([])
  } finally {
    await new Promise<void>((resolve) => liar.destroy(() => resolve()))
  }
})

test('a torrent whose hashes are right for wrong bytes is refused by the manifest’s SHA-256, and the relay’s own files are taken', async () => {
  const context = await browser.newContext()
  // The other model's bytes under this model's name: piece hashes fit them, sizes too.
  const read = async (shard: number, from: number, to: number): Promise<Uint8Array> => other.shards[shard].slice(from, to)
  const sizesFit = other.shards.every((bytes, index) => bytes.length === specimen.shards[index].length)
  expect(sizesFit).toBe(true)
  const lie = await makeMetainfo(specimen.id, specimen.manifest, read, async (bytes) => new Uint8Array(await crypto.subtle.digest('SHA-1', bytes.slice())))
  await context.route(new RegExp(`/models/${specimen.id}/torrent$`), (route) => route.fulfill({ body: Buffer.from(lie) }))
  let liedShards = 0
  await context.route(new RegExp(`/models/${specimen.id}/(embed|head|layer-\\d+)$`), async (route) => {
    const range = /bytes=(\d+)-(\d+)/.exec(route.request().headers().range ?? '')
    const name = route.request().url().split('/').at(-1)
    const index = specimen.manifest.shards.findIndex((shard) => shard.name === name)
    if (!range || liedShards > 400) return route.continue()
    liedShards++
    await route.fulfill({ status: 206, body: Buffer.from(other.shards[index].slice(Number(range[1]), Number(range[2]) + 1)) })
  })
  const lender = keep(await openContribute(browser, site.url, { ...hold(specimen), context }))
  await lendButton(lender.page).click()
  await ready(lender.page)
  expect(liedShards).toBeGreaterThan(0)
  const right = await lender.page.evaluate(async (id) => {
    const folder = await (await (await navigator.storage.getDirectory()).getDirectoryHandle('models')).getDirectoryHandle(id)
    const bytes = await (await (await folder.getFileHandle('layer-5')).getFile()).arrayBuffer()
    return [...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  }, specimen.id)
  expect(right).toBe(Buffer.from(specimen.manifest.shards.find((shard) => shard.name === 'layer-5')!.sha256).toString('hex'))
  await context.close()
})

test('under a cap the layers that were not used for longest make room, and a model that the person downloaded stays', async () => {
  const total = (model: Specimen): number => model.manifest.shards.reduce((sum, shard) => sum + shard.bytes, 0)
  expect(total(specimen) + total(other)).toBeGreaterThan(5e6)
  const choices = { storageMB: 5 }
  const lender = keep(await lend(browser, site.url, { ...hold(specimen), choices }))
  await lender.page.getByRole('button', { name: 'Leave now' }).click()
  await lendButton(lender.page).waitFor()
  const before = (await stored(lender.page)).filter((path) => path.includes(specimen.id.slice(0, 4))).length
  expect(before).toBe(42)
  await lender.page.goto(`${site.url}/contribute/?again#hold=${other.id.slice(0, 16)}:0-40`)
  await lendButton(lender.page).click()
  await ready(lender.page)
  const after = await stored(lender.page)
  expect(after.filter((path) => path.includes(`/${other.id.slice(0, 4)}/`)).length).toBe(42)
  expect(after.filter((path) => path.includes(`/${specimen.id.slice(0, 4)}/`)).length).toBeLessThan(before)
})

test('a browser without OPFS keeps its layers in IndexedDB, and passes them on from there', async () => {
  const context = await browser.newContext()
  await context.route(/\/assets\/(store|segment)\.worker-.*\.js$/, async (route) => {
    const response = await route.fetch()
    await route.fulfill({ response, body: `delete FileSystemFileHandle.prototype.createSyncAccessHandle;\n${await response.text()}` })
  })
  const first = keep(await openContribute(browser, site.url, { ...hold(specimen, { from: 0, to: 20 }), context }))
  await lendButton(first.page).click()
  await ready(first.page)
  expect(await stored(first.page)).toEqual([])
  const second = await leech(hold(specimen, { from: 5, to: 15 }))
  await ready(second.page)
  expect((await exchanges(second.page)).map(([name]) => name)).not.toContain('The relay')
  await context.close()
})
