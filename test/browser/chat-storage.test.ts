// Model bytes in the browser: refused when wrong, resumed when cut off, shared among tabs, there without a network, gone when deleted.
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { answered, answers, ask, download, launch, openPage, openSite, type Site } from './site.ts'
import { chatSpecimen, type Specimen } from './specimen.ts'

let specimen: Specimen
let site: Site
let browser: Browser
let context: BrowserContext

beforeAll(async () => {
  specimen = await chatSpecimen()
  site = await openSite([specimen])
  browser = await launch()
})
afterAll(async () => {
  await browser?.close()
  await site?.close()
})
afterEach(async () => {
  await context?.close()
  site.damage = null
  site.gate = null
  site.isolated = true
  site.requests.length = 0
})

async function newContext(): Promise<BrowserContext> {
  context = await browser.newContext()
  // Greedy and short: this noise of a model then certainly has something to say.
  await context.addInitScript(() => localStorage.setItem('meadow-preferences', JSON.stringify({ settings: { temperature: 0, maxTokens: 12 } })))
  return context
}

const fileRequests = (site: Site) => site.requests.filter((request) => /^\/models\/.+\//.test(request.path))
const openModels = (page: Page) => page.getByRole('button', { name: /^Model:/ }).click()

test('a shard with a wrong hash is refused in a sentence, kept out of the store, and comes right with the next try', async () => {
  const { page } = await openPage(await newContext(), site)
  site.damage = (path, bytes) => {
    if (!path.endsWith('/layer-1')) return null
    bytes[5] ^= 1
    return bytes
  }
  await page.getByRole('button', { name: /^Download/ }).click()
  expect(await page.getByRole('alert').textContent()).toMatch(
    /^Shard layer-1 of Specimen was refused: its SHA-256 is [0-9a-f]{12}…, the manifest says [0-9a-f]{12}…/,
  )
  expect(await page.getByLabel('Message', { exact: true }).isDisabled()).toBe(true)
  site.damage = null
  const before = fileRequests(site).length
  await page.getByRole('button', { name: 'Resume' }).click()
  await page.getByRole('heading', { name: 'What would you like to know?' }).waitFor()
  // embed and layer-0 were right and stayed.
  expect(
    fileRequests(site)
      .slice(before)
      .map((r) => r.path.split('/').at(-1)),
  ).toEqual(['layer-1', 'layer-2', 'head', 'tokenizer'])
})

test('a manifest that is not the one of its id is refused', async () => {
  const { page } = await openPage(await newContext(), site)
  const other = await chatSpecimen({}, 8)
  const { encodeManifest } = await import('../../protocol/model/identity.ts')
  site.damage = (path) => (path.endsWith('/manifest') ? encodeManifest(other.manifest) : null)
  await page.getByRole('button', { name: /^Download/ }).click()
  expect(await page.getByRole('alert').textContent()).toMatch(/The manifest of model [0-9a-f]{12} was refused: its hash is [0-9a-f]{12}/)
  expect(fileRequests(site).map((r) => r.path.split('/').at(-1))).toEqual(['manifest'])
})

test('bytes that change on the disk later are found before they answer, and only they are fetched again', async () => {
  const { page } = await openPage(await newContext(), site)
  await download(page)
  await page.evaluate(async (id) => {
    const models = await (await navigator.storage.getDirectory()).getDirectoryHandle('models')
    const file = await (await models.getDirectoryHandle(id)).getFileHandle('layer-2')
    const bytes = new Uint8Array(await (await file.getFile()).arrayBuffer())
    bytes[100] ^= 8
    const writer = await file.createWritable()
    await writer.write(bytes)
    await writer.close()
  }, specimen.id)
  await ask(page, 'Hello')
  expect(await answers(page).last().getByRole('alert').textContent()).toMatch(/Shard layer-2 of Specimen was refused: its bytes on this device changed/)
  const before = fileRequests(site).length
  await openModels(page)
  await page.getByRole('button', { name: 'Resume' }).click()
  await page.getByText('On this device', { exact: true }).waitFor()
  expect(
    fileRequests(site)
      .slice(before)
      .map((r) => r.path.split('/').at(-1)),
  ).toEqual(['layer-2'])
  await page.keyboard.press('Escape')
  await page.getByRole('button', { name: 'Retry' }).click()
  await answered(page)
  expect(await answers(page).last().locator('.markdown').count()).toBe(1)
})

test('a connection that breaks in the middle of a shard goes on from the byte where it broke', async () => {
  const { page } = await openPage(await newContext(), site)
  let cut = 0
  site.damage = (path, bytes) => (path.endsWith('/embed') && cut++ === 0 ? bytes.subarray(0, 1000) : null)
  await download(page)
  const embed = fileRequests(site).filter((r) => r.path.endsWith('/embed'))
  expect(embed.map((r) => [r.range, r.status])).toEqual([
    [undefined, 200],
    ['bytes=1000-', 206],
  ])
})

test('a download is paused, survives a reload, is resumed without asking again for what is here, and deleted', async () => {
  const { page } = await openPage(await newContext(), site)
  let release = (): void => {}
  const held = new Promise<void>((resolve) => (release = resolve))
  site.gate = (path) => (path.endsWith('/layer-1') ? held : Promise.resolve())
  const reached = page.waitForRequest(/layer-1$/)
  await page.getByRole('button', { name: /^Download/ }).click()
  await reached
  await page.getByRole('button', { name: 'Pause' }).click()
  await page.getByText('Paused', { exact: true }).waitFor()
  site.gate = null
  release()
  await page.reload()
  await page.getByText('Paused', { exact: true }).waitFor()
  const before = fileRequests(site).length
  await page.getByRole('button', { name: 'Resume' }).click()
  await page.getByRole('heading', { name: 'What would you like to know?' }).waitFor()
  const after = fileRequests(site)
    .slice(before)
    .map((r) => r.path.split('/').at(-1))
  expect(after.filter((name) => name === 'embed' || name === 'layer-0' || name === 'manifest')).toEqual([])
  await openModels(page)
  await page.getByRole('button', { name: 'Delete Specimen' }).click()
  await page.getByRole('button', { name: 'Delete', exact: true }).click()
  await page
    .getByRole('dialog')
    .getByRole('button', { name: /^Download/ })
    .waitFor()
  const left = await page.evaluate(async () => {
    const names: string[] = []
    const models = await (await navigator.storage.getDirectory()).getDirectoryHandle('models')
    for await (const name of (models as unknown as { keys(): AsyncIterable<string> }).keys()) names.push(name)
    return names
  })
  expect(left).toEqual([])
})

const shardRequests = (site: Site) =>
  fileRequests(site)
    .map((r) => r.path.split('/').at(-1))
    .filter((name) => name !== 'manifest')
const shardNames = () => specimen.manifest.shards.map((shard) => shard.name)
const readyHeading = (page: Page) => page.getByRole('heading', { name: 'What would you like to know?' })

/** A gate that holds the requests for one file until it is opened. */
function holdFile(name: string): () => void {
  let release = (): void => {}
  const held = new Promise<void>((resolve) => (release = resolve))
  site.gate = (path) => (path.endsWith(`/${name}`) ? held : Promise.resolve())
  return release
}

test('two tabs share one store: what both download at once is fetched once, and both answer', async () => {
  await newContext()
  const first = await openPage(context, site)
  const second = await openPage(context, site)
  // Held at the manifest no byte of a shard moves, so both tabs still offer the download when the person presses it in both.
  const release = holdFile('manifest')
  for (const { page } of [first, second]) {
    await page.getByRole('button', { name: /^Download/ }).click()
    await page.getByRole('button', { name: 'Pause' }).waitFor()
  }
  release()
  await Promise.all([readyHeading(first.page).waitFor(), readyHeading(second.page).waitFor()])
  expect(shardRequests(site).toSorted()).toEqual(shardNames().toSorted())
  await Promise.all([ask(first.page, 'Hello'), ask(second.page, 'Hello')])
  expect(await answers(first.page).last().locator('.markdown').textContent()).toBe(await answers(second.page).last().locator('.markdown').textContent())
  expect([...first.complaints, ...second.complaints]).toEqual([])
})

test('a download in one tab shows in another, opened before or during it, with its progress, and the model is ready in all when it is done', async () => {
  await newContext()
  const first = await openPage(context, site)
  const before = await openPage(context, site)
  await before.page.getByRole('button', { name: /^Download/ }).waitFor()
  const release = holdFile('layer-1')
  const reached = first.page.waitForRequest(/layer-1$/)
  await first.page.getByRole('button', { name: /^Download/ }).click()
  await reached
  const during = await openPage(context, site)
  const received = (page: Page) => page.getByRole('progressbar', { name: 'Download of Specimen' }).getAttribute('value')
  for (const { page } of [before, during]) {
    await page.getByRole('button', { name: 'Pause' }).waitFor()
    expect(await page.getByRole('button', { name: /^(Download|Resume)/ }).count()).toBe(0)
    expect(Number(await received(page))).toBeGreaterThan(0)
  }
  release()
  for (const { page } of [first, before, during]) await readyHeading(page).waitFor()
  expect(shardRequests(site)).toEqual(shardNames())
  await ask(before.page, 'Hello')
  expect(await answers(before.page).last().locator('.markdown').count()).toBe(1)
  expect([...first.complaints, ...before.complaints, ...during.complaints]).toEqual([])
})

test('a download is paused from another tab, and offered again there when its own tab is closed', async () => {
  await newContext()
  const first = await openPage(context, site)
  const second = await openPage(context, site)
  const begin = async (page: Page, button: RegExp): Promise<void> => {
    const reached = page.waitForRequest(/layer-1$/)
    await page.getByRole('button', { name: button }).click()
    await reached
  }
  const release = holdFile('layer-1')
  await begin(first.page, /^Download/)
  await second.page.getByRole('button', { name: 'Pause' }).click()
  for (const { page } of [first, second]) await page.getByText('Paused', { exact: true }).waitFor()
  await begin(first.page, /^Resume/)
  await second.page.getByRole('button', { name: 'Pause' }).waitFor()
  await first.page.close()
  await second.page.getByText('Paused', { exact: true }).waitFor()
  site.gate = null
  release()
  await second.page.getByRole('button', { name: 'Resume' }).click()
  await readyHeading(second.page).waitFor()
  expect(second.complaints).toEqual([])
})

test('a second visit works with the relay gone: the page, the model, the answer', async () => {
  const { page, complaints } = await openPage(await newContext(), site)
  await download(page)
  await ask(page, 'Hello')
  const answer = await answers(page).last().locator('.markdown').textContent()
  await page.evaluate(async () => {
    const { active } = await navigator.serviceWorker.ready
    if (active?.state !== 'activated') await new Promise((resolve) => active?.addEventListener('statechange', resolve, { once: true }))
  })
  await page.close()
  await site.goAway()
  try {
    const later = await openPage(context, site)
    await ask(later.page, 'Hello')
    expect(await answers(later.page).last().locator('.markdown').textContent()).toBe(answer)
    await later.page.goto(`${site.url}/chat`)
    await later.page.getByRole('button', { name: 'Hello', exact: true }).first().waitFor()
    await openModels(later.page)
    await later.page.getByText('You are offline').waitFor()
    expect([...complaints, ...later.complaints]).toEqual([])
  } finally {
    await site.comeBack()
  }
})

test('a model for which there is no room is refused before its first byte, in a sentence that names both sizes, and comes when there is room', async () => {
  // Chromium tells pages 10 GiB whatever there is (measured), so the worker hears a smaller figure here, as it would in browsers that tell the truth.
  context = await browser.newContext({ serviceWorkers: 'block' })
  await context.route(/\/assets\/store\.worker-.*\.js$/, async (route) => {
    const response = await route.fetch()
    const estimate = 'let told = 0; navigator.storage.estimate = async () => told++ ? { quota: 1e9, usage: 0 } : { quota: 90_000, usage: 50_000 };\n'
    await route.fulfill({ response, body: estimate + (await response.text()) })
  })
  const { page } = await openPage(context, site)
  await page.getByRole('button', { name: /^Download/ }).click()
  expect(await page.getByRole('alert').textContent()).toMatch(
    /^Specimen needs \d+ kB more, but this browser has 40 kB free for this site\. Delete a model or free disk space\.$/,
  )
  expect(fileRequests(site).map((r) => r.path.split('/').at(-1))).toEqual(['manifest'])
  await page.getByRole('button', { name: /^(Download|Resume)/ }).click()
  await readyHeading(page).waitFor()
  expect(shardRequests(site)).toEqual(shardNames())
})

test('a disk that is full ends the download in a sentence, and what came is kept for later', async () => {
  await newContext()
  const page = await context.newPage()
  const devtools = await context.newCDPSession(page)
  await page.goto(`${site.url}/chat/`)
  const quota = (quotaSize?: number) => devtools.send('Storage.overrideQuotaForOrigin', { origin: site.url, ...(quotaSize ? { quotaSize } : {}) })
  site.gate = async (path) => {
    // Room for the manifest, but not for the shards.
    if (path.endsWith('/layer-0')) await quota(1)
  }
  await page.getByRole('button', { name: /^Download/ }).click()
  expect(await page.getByRole('alert').textContent()).toMatch(/The browser has no room for \d+ kB more of Specimen/)
  site.gate = null
  await quota()
  await page.getByRole('button', { name: 'Resume' }).click()
  await page.getByRole('heading', { name: 'What would you like to know?' }).waitFor()
  expect(fileRequests(site).filter((r) => r.path.endsWith('/embed')).length).toBe(1)
})

test('a browser without OPFS keeps models in IndexedDB, resumes there too, and answers', async () => {
  await newContext()
  await context.route(/\/assets\/(store|engine)\.worker-.*\.js$/, async (route) => {
    const response = await route.fetch()
    await route.fulfill({ response, body: `delete FileSystemFileHandle.prototype.createSyncAccessHandle;\n${await response.text()}` })
  })
  const { page, complaints } = await openPage(context, site)
  let cut = 0
  site.damage = (path, bytes) => (path.endsWith('/embed') && cut++ === 0 ? bytes.subarray(0, 1000) : null)
  await download(page)
  await ask(page, 'Hello')
  expect(await answers(page).last().locator('.markdown').count()).toBe(1)
  const count = await page.evaluate(
    () =>
      new Promise<number>((resolve) => {
        const opening = indexedDB.open('meadow-models')
        opening.onsuccess = () => {
          const counting = opening.result.transaction('chunks').objectStore('chunks').count()
          counting.onsuccess = () => resolve(counting.result)
        }
      }),
  )
  expect(count).toBe(specimen.manifest.shards.length)
  expect(complaints).toEqual([])
})

test('a page that is not isolated says that it has one thread, and answers', async () => {
  site.isolated = false
  const { page } = await openPage(await newContext(), site)
  await download(page)
  await ask(page, 'Hello')
  await page.getByRole('button', { name: /^Device: WASM ×1/ }).click()
  await page.getByText('SharedArrayBuffer is missing and WASM runs on one thread').waitFor()
})
