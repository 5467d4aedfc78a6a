import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type DownloadOptions, download } from '../../relay/download.ts'
import { type FileServer, serveFile } from './file-server.ts'

const body = randomBytes(300_000)
const sha256 = createHash('sha256').update(body).digest('hex')
/** Pauses asked for, none of them waited for. */
let pauses: number[]
let server: FileServer
let folder: string
let target: string

beforeEach(async () => {
  pauses = []
  server = await serveFile(body)
  folder = await mkdtemp(join(tmpdir(), 'meadow-download-'))
  target = join(folder, 'file.gguf')
})
afterEach(async () => {
  await server.close()
  await rm(folder, { recursive: true })
})

const pause = async (ms: number) => void pauses.push(ms)
const get = (options: DownloadOptions = {}) =>
  download(server.url, target, {
    pause,
    ...options,
    onProgress: (done, total) => {
      options.onProgress?.(done, total)
      server.arrived(done)
    },
  })
const fileIsWhole = async () =>
  expect(
    createHash('sha256')
      .update(await readFile(target))
      .digest('hex'),
  ).toBe(sha256)
const partSize = async () => (await stat(`${target}.part`)).size

test('a download ends as the whole file, with nothing beside it, and reports its progress', async () => {
  const seen: [number, number][] = []
  expect(await get({ sha256, bytes: body.length, onProgress: (done, total) => seen.push([done, total]) })).toBe(sha256)
  await fileIsWhole()
  expect(await readdir(folder)).toEqual(['file.gguf'])
  expect(seen.at(-1)).toEqual([body.length, body.length])
  expect(seen.every(([done], i) => i === 0 || done >= seen[i - 1]![0])).toBe(true)
})

test('broken connections are taken up where they broke, with growing pauses', async () => {
  server.breaks = [50_000, 10, 70_000]
  await get({ sha256 })
  await fileIsWhole()
  expect(server.requests).toHaveLength(4)
  const offsets = server.requests.slice(1).map((line) => Number(/bytes=(\d+)-/.exec(line)?.[1]))
  expect(offsets).toEqual([50_000, 50_010, 120_010])
  expect(pauses).toHaveLength(3)
})

test('a cancelled download goes on in the next call and fetches only the rest', async () => {
  const cancel = new AbortController()
  await expect(get({ sha256, signal: cancel.signal, onProgress: (done) => done > 100_000 && cancel.abort(new Error('stop')) })).rejects.toThrow('stop')
  const have = await partSize()
  expect(have).toBeGreaterThan(100_000)
  expect(have).toBeLessThan(body.length)
  await get({ sha256 })
  await fileIsWhole()
  expect(server.requests.at(-1)).toContain(`bytes=${have}-`)
})

test('a part of a file that has changed since is not mixed with the new one', async () => {
  const cancel = new AbortController()
  await expect(get({ signal: cancel.signal, onProgress: (done) => done > 100_000 && cancel.abort() })).rejects.toThrow()
  server.body = randomBytes(200_000)
  expect(await get()).toBe(createHash('sha256').update(server.body).digest('hex'))
  expect((await stat(target)).size).toBe(200_000)
})

test('a part longer than the file on the server is thrown away', async () => {
  const cancel = new AbortController()
  await expect(get({ sha256, signal: cancel.signal, onProgress: (done) => done > 100_000 && cancel.abort() })).rejects.toThrow()
  server.body = body.subarray(0, 1000)
  expect(await get()).toBe(createHash('sha256').update(server.body).digest('hex'))
})

test('a server without ranges is read from the beginning', async () => {
  server.ranges = false
  server.breaks = [200_000]
  await get({ sha256 })
  await fileIsWhole()
  expect(server.requests).toHaveLength(2)
})

test('bytes with the wrong hash are refused and not kept', async () => {
  server.body = randomBytes(body.length)
  await expect(get({ sha256 })).rejects.toThrow(/not the expected file: its SHA-256 is [0-9a-f]{64}, expected/)
  expect(await readdir(folder)).toEqual([])
})

test('a file of the wrong size is refused before it is read', async () => {
  await expect(get({ bytes: 5 })).rejects.toThrow(/has 300000 bytes, expected 5/)
  expect(server.requests).toHaveLength(1)
})

test('an overloaded server is asked again, a missing file is not', async () => {
  server.statuses = [503]
  await get({ sha256 })
  await fileIsWhole()
  expect(pauses).toHaveLength(1)
  server.statuses = [404]
  await expect(get()).rejects.toThrow(/answered 404/)
  expect(pauses).toHaveLength(1)
})

test('a server that keeps breaking is given up in one sentence, and what came is kept', async () => {
  server.breaks = [10_000, ...Array(20).fill(0)]
  await expect(get({ sha256 })).rejects.toThrow(/could not be read/)
  expect(server.requests.length).toBeLessThan(10)
  expect(await partSize()).toBe(10_000)
  expect(pauses.every((ms, i) => i === 0 || ms >= pauses[i - 1]!)).toBe(true)
})

test('addresses other than https are refused, but for this machine', async () => {
  await expect(download('http://example.com/file.gguf', target)).rejects.toThrow('not an https address')
  await expect(download('nonsense', target)).rejects.toThrow('not a URL')
})
