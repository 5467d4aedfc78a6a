import { mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { modelIdOf } from '../../protocol/model/identity.ts'
import { openStore, type Store } from '../../relay/store.ts'
import { hashedPackage } from './hashed-package.ts'

let home: string
let store: Store
const tiny = await hashedPackage()
const origin = { name: null, source: 'test', pinned: 'local' as const }

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'meadow-store-'))
  store = openStore(home)
})
afterEach(() => rm(home, { recursive: true }))

const install = (source = tiny, name: string | null = null) => store.install(source.writeTo, { ...origin, name }, () => 'as shipped')

test('an installed model is listed, found by id, prefix and name, and read back byte for byte, into shared memory too', async () => {
  const model = await install(tiny, 'tiny')
  const id = modelIdOf(tiny.manifest)
  expect(model).toMatchObject({
    id,
    bytes: tiny.manifest.shards.reduce((sum, shard) => sum + shard.bytes, 0),
    origin: { name: 'tiny', decision: 'as shipped' },
  })
  expect(await store.list()).toEqual([model])
  for (const name of [id, id.slice(0, 8), 'tiny', 'TINY', tiny.manifest.core.name]) expect((await store.find(name)).id).toBe(id)
  const source = store.source(id)
  for (const [index, shard] of tiny.manifest.shards.entries()) {
    const wanted = new Uint8Array(shard.bytes)
    await tiny.readShard(index, wanted)
    const shared = new Uint8Array(new SharedArrayBuffer(shard.bytes + 64), 64)
    await source.readShard(index, shared)
    expect(Buffer.compare(Buffer.from(shared), wanted)).toBe(0)
  }
})

test('installing the same model again leaves one', async () => {
  await install()
  await install()
  expect(await readdir(join(home, 'models'))).toEqual([modelIdOf(tiny.manifest)])
})

test('an install that fails half way leaves nothing behind', async () => {
  const failing = store.install(
    async (sink) => {
      const file = await sink.open('embed')
      await file.write(new Uint8Array(1000))
      throw new Error('the file ended')
    },
    origin,
    () => '',
  )
  await expect(failing).rejects.toThrow('the file ended')
  expect(await readdir(join(home, 'models'))).toEqual([])
})

test('a full disk is said in one sentence, and nothing is installed', async () => {
  const failing = store.install(
    async (sink) => {
      await sink.open('embed')
      throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
    },
    origin,
    () => '',
  )
  await expect(failing).rejects.toThrow(/^The disk of .*models is full; nothing was installed\.$/)
  expect(await readdir(join(home, 'models'))).toEqual([])
})

test('more than the disk has is refused before anything is written', async () => {
  await expect(store.checkSpace(2 ** 60, 'big.gguf')).rejects.toThrow(/^big\.gguf needs about .* free\.$/)
  await store.checkSpace(1, 'small.gguf')
})

test('what a dead process left behind goes with the next install; what a living one is writing stays', async () => {
  // Process ids end far below this one on every system.
  await mkdir(join(home, 'models', '.incoming-4194399-1'), { recursive: true })
  await mkdir(join(home, 'models', `.incoming-${process.ppid}-1`))
  await install()
  expect((await readdir(join(home, 'models'))).sort()).toEqual([`.incoming-${process.ppid}-1`, modelIdOf(tiny.manifest)].sort())
})

test('a damaged shard is refused when read, a shortened one hides the model', async () => {
  const { id } = await install()
  const path = join(home, 'models', id, 'layer-0')
  const bytes = await readFile(path)
  bytes[bytes.length >> 1]! ^= 1
  await writeFile(path, bytes)
  const index = tiny.manifest.shards.findIndex((shard) => shard.name === 'layer-0')
  await expect(store.source(id).readShard(index, new Uint8Array(bytes.length))).rejects.toThrow(/Shard layer-0 of .* is damaged/)
  await truncate(path, 10)
  await expect(store.source(id).readShard(index, new Uint8Array(bytes.length))).rejects.toThrow(/cut off at 10 of/)
  expect(await store.list()).toEqual([])
})

test('a removed model is gone, and only that', async () => {
  const { id } = await install()
  const other = await install(await hashedPackage('qwen2', 2))
  await store.remove(id)
  expect((await store.list()).map((model) => model.id)).toEqual([other.id])
  expect(await readdir(join(home, 'models'))).toEqual([other.id])
  await expect(store.find(id)).rejects.toThrow(/There is no model [0-9a-f]{64} \(installed: /)
})

test('names that fit several models, or none, are refused in one sentence', async () => {
  await expect(store.find('nothing')).rejects.toThrow('There is no model nothing (none is installed).')
  await install(tiny, 'twin')
  await install(await hashedPackage('llama', 7), 'twin')
  await expect(store.find('twin')).rejects.toThrow(/^twin fits 2 models: /)
})

test('no name leads outside the store', () => {
  const id = modelIdOf(tiny.manifest)
  for (const name of ['..', '../x', 'a/b', 'a\\b', '', '.', 'x'.repeat(100), 'A']) expect(store.file(id, name)).toBeNull()
  for (const wrong of ['..', id.slice(1), `${id}/..`, id.toUpperCase()]) expect(store.file(wrong, 'embed')).toBeNull()
})
