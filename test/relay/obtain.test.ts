import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type CatalogueEntry, catalogue, defaultModel } from '../../relay/catalogue.ts'
import { obtain, obtainEntry, partNames } from '../../relay/obtain.ts'
import { type FileServer, serveFile } from './file-server.ts'

const body = randomBytes(20_000)
const sha256 = createHash('sha256').update(body).digest('hex')
const entry: CatalogueEntry = {
  name: 'test',
  title: 'Test model',
  licence: 'MIT',
  file: 'file.gguf',
  bytes: body.length,
  sha256,
  sources: [
    { kind: 'hub', repository: 'owner/repo', revision: 'abc', file: 'file.gguf' },
    { kind: 'environment', variable: 'MEADOW_MODEL_SOURCE' },
  ],
}
let hub: FileServer
let folder: string
let said: string[]

beforeEach(async () => {
  hub = await serveFile(body)
  folder = await mkdtemp(join(tmpdir(), 'meadow-obtain-'))
  said = []
  vi.stubEnv('HF_ENDPOINT', new URL(hub.url).origin)
  vi.stubEnv('MEADOW_MODEL_SOURCE', undefined)
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await hub.close()
  await rm(folder, { recursive: true })
})

const options = () => ({ folder, say: (line: string) => said.push(line) })

test('a built-in model comes from the hub at its pinned revision, and a second time from the disk', async () => {
  const got = await obtainEntry(entry, options())
  expect(got).toMatchObject({ downloaded: true, name: 'test', pinned: 'built-in' })
  expect(Buffer.compare(await readFile(got.files[0]!), body)).toBe(0)
  expect(hub.requests).toEqual(['GET /owner/repo/resolve/abc/file.gguf'])
  await obtainEntry(entry, options())
  expect(hub.requests).toHaveLength(1)
})

test('when one source fails the next is tried, and each failure is said in one line', async () => {
  hub.statuses = [404]
  const path = join(folder, 'mine.gguf')
  await writeFile(path, body)
  vi.stubEnv('MEADOW_MODEL_SOURCE', path)
  const got = await obtainEntry(entry, options())
  expect(got).toMatchObject({ files: [path], downloaded: false, pinned: 'built-in' })
  expect(said.filter((line) => line.startsWith('That did not work:'))).toEqual([expect.stringMatching(/answered 404.*\.$/)])
})

test('the hash decides: a source with other bytes is passed over', async () => {
  hub.body = randomBytes(body.length)
  const path = join(folder, 'mine.gguf')
  await writeFile(path, body)
  vi.stubEnv('MEADOW_MODEL_SOURCE', path)
  expect((await obtainEntry(entry, options())).files).toEqual([path])
  await writeFile(path, hub.body)
  await expect(obtainEntry(entry, options())).rejects.toThrow(/^Test model could not be had from any of its sources \(.*SHA-256.*; .*SHA-256.*\)/)
})

test('MEADOW_MODEL_SOURCE may be an address', async () => {
  hub.statuses = [404]
  vi.stubEnv('MEADOW_MODEL_SOURCE', hub.url)
  const got = await obtainEntry(entry, options())
  expect(got.origin).toContain(hub.url)
  expect(Buffer.compare(await readFile(got.files[0]!), body)).toBe(0)
})

test('hf:owner/repo/file.gguf and addresses are downloaded, every part of a split file', async () => {
  const whole = await obtain('hf:owner/repo/sub/file.gguf', options())
  expect(whole).toMatchObject({ origin: 'hf:owner/repo@main/sub/file.gguf', pinned: 'unpinned', name: null })
  const split = await obtain(`${new URL(hub.url).origin}/x/m-00002-of-00003.gguf?download=1`, options())
  expect(split.files.map((file) => file.replace(/.*[/\\]/, ''))).toEqual(['m-00001-of-00003.gguf', 'm-00002-of-00003.gguf', 'm-00003-of-00003.gguf'])
  expect(hub.requests.filter((line) => line.startsWith('GET /x/'))).toEqual([1, 2, 3].map((n) => `GET /x/m-0000${n}-of-00003.gguf?download=1`))
})

test('what names no model is refused in one sentence', async () => {
  await expect(obtain('nonsense', options())).rejects.toThrow(/^nonsense is no known model: give a file, .*smollm2-135m/)
  await expect(obtain('missing.gguf', options())).rejects.toThrow(/^There is no file .*missing\.gguf\.$/)
  await expect(obtain('hf:owner/file.gguf', options())).rejects.toThrow(/is not of the form hf:owner\/repo\/file\.gguf/)
  await expect(obtain('hf:owner/repo/../../etc.gguf', options())).rejects.toThrow(/is not of the form/)
  await expect(obtain('http://example.com/file.gguf', options())).rejects.toThrow(/is not an https address/)
  await expect(obtain('https://example.com/', options())).rejects.toThrow(/does not end in a file name/)
})

test('parts of a split file are known from the name of any of them', () => {
  expect(partNames('m.gguf')).toEqual(['m.gguf'])
  expect(partNames('m-00002-of-00002.gguf')).toEqual(['m-00001-of-00002.gguf', 'm-00002-of-00002.gguf'])
  expect(() => partNames('m-00001-of-99999.gguf')).toThrow(/at most 999/)
})

test('the catalogue has one default with hash and size, and no name twice', () => {
  expect(defaultModel).toMatchObject({ bytes: 98_362_432, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) })
  expect(new Set(catalogue.map((one) => one.name)).size).toBe(catalogue.length)
})
