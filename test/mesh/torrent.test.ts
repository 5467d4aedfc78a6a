import { createHash } from 'node:crypto'
// @ts-expect-error plain JavaScript without types
import createTorrent from 'create-torrent'
import { expect, test } from 'vitest'
import { infoOf, makeMetainfo, pieceLengthOf, pieceRanges, readPiece } from '../../mesh/torrent.ts'
import { modelIdOf } from '../../protocol/model/identity.ts'
import { hashedPackage } from '../relay/hashed-package.ts'

const sha1 = (bytes: Uint8Array) => createHash('sha1').update(bytes).digest()

async function metainfoOf(seed = 1, change: (shards: Uint8Array[]) => void = () => {}) {
  const { manifest, shards } = await hashedPackage('llama', seed)
  change(shards)
  const bytes = await makeMetainfo(modelIdOf(manifest), manifest, async (shard, from, to) => shards[shard]!.subarray(from, to), sha1)
  return { bytes, manifest, shards }
}

test('the metainfo of a model is the same wherever it is made, and names its info as an independent implementation does', async () => {
  const { bytes, manifest, shards } = await metainfoOf()
  expect(Buffer.compare(bytes, (await metainfoOf()).bytes)).toBe(0)
  const id = modelIdOf(manifest)
  const files = manifest.shards.map((shard, index) => Object.assign(Buffer.from(shards[index]!), { name: shard.name }))
  const pieceLength = pieceLengthOf(shards.reduce((sum, shard) => sum + shard.length, 0))
  const other = await new Promise<Uint8Array>((resolve, reject) =>
    createTorrent(files, { name: id, pieceLength, announceList: [] }, (error: Error | null, torrent: Uint8Array) => (error ? reject(error) : resolve(torrent))),
  )
  expect(Buffer.from(other).includes(Buffer.from(infoOf(bytes)))).toBe(true)
})

test('it holds no date, no tracker and no creator', async () => {
  const text = Buffer.from((await metainfoOf()).bytes).toString('latin1')
  for (const word of ['announce', 'creation date', 'created by', 'url-list', 'comment']) expect(text).not.toContain(word)
})

test('a changed byte of any shard changes the info hash', async () => {
  const plain = sha1(infoOf((await metainfoOf()).bytes))
  const { shards } = await metainfoOf()
  for (const index of shards.keys()) {
    const { bytes } = await metainfoOf(1, (all) => {
      all[index]![all[index]!.length - 1]! ^= 1
    })
    expect(sha1(infoOf(bytes)).equals(plain)).toBe(false)
  }
})

test('pieces cover every byte once, in order, across shards', async () => {
  const sizes = [5, 0, 70_000, 1, 65_536]
  const bytes = sizes.map((size, i) => new Uint8Array(size).fill(i + 1))
  const pieces: Uint8Array[] = []
  for (let index = 0; index < Math.ceil(135_542 / 65_536); index++)
    pieces.push(await readPiece(sizes, 65_536, index, async (shard, from, to) => bytes[shard]!.subarray(from, to)))
  expect(Buffer.concat(pieces).equals(Buffer.concat(bytes))).toBe(true)
  expect([...pieceRanges(sizes, 65_536, 1)]).toEqual([
    { shard: 2, from: 65_531, to: 70_000 },
    { shard: 3, from: 0, to: 1 },
    { shard: 4, from: 0, to: 61_066 },
  ])
})

test('the piece length keeps a model at no more than 512 pieces until 8 MiB', () => {
  expect([1, 98_362_432, 2 ** 32, 2 ** 40].map(pieceLengthOf)).toEqual([64 << 10, 256 << 10, 8 << 20, 8 << 20])
})
