// A model as a torrent: one file per shard in manifest order, named after the model id. Made by rule alone (no date, no creator, no tracker, no random), so
// every relay and every tab makes the same bytes and meets in the same swarm. Its SHA-1 pieces prove nothing: shards are checked against the manifest's SHA-256.
import { join } from '../protocol/hash.ts'
import type { Manifest } from '../protocol/model/manifest.ts'

/** Reads bytes [from, to) of the shard with this index. */
export type ReadShardRange = (shard: number, from: number, to: number) => Promise<Uint8Array>

const kib = 1 << 10

/**
 * Bytes of a piece: the smallest power of two from 64 KiB that cuts the model into at most 512 pieces, at most 8 MiB. Few pieces keep the metainfo small
 * (10 KiB) and a web seed's requests few; many let tabs share sooner.
 */
export function pieceLengthOf(totalBytes: number): number {
  let length = 64 * kib
  while (length < 8192 * kib && length * 512 < totalBytes) length *= 2
  return length
}

/** Where the bytes of piece `index` lie: ranges of shards, in order. */
export function* pieceRanges(shardBytes: readonly number[], pieceLength: number, index: number): Generator<{ shard: number; from: number; to: number }> {
  const first = index * pieceLength
  const last = first + pieceLength
  let start = 0
  for (const [shard, bytes] of shardBytes.entries()) {
    const from = Math.max(first, start)
    const to = Math.min(last, start + bytes)
    if (from < to) yield { shard, from: from - start, to: to - start }
    start += bytes
  }
}

/** Bytes of one piece, put together from its shards. */
export async function readPiece(shardBytes: readonly number[], pieceLength: number, index: number, read: ReadShardRange): Promise<Uint8Array> {
  const ranges = [...pieceRanges(shardBytes, pieceLength, index)]
  const piece = new Uint8Array(ranges.reduce((sum, { from, to }) => sum + to - from, 0))
  let at = 0
  for (const { shard, from, to } of ranges) {
    piece.set(await read(shard, from, to), at)
    at += to - from
  }
  return piece
}

/** The metainfo (.torrent) of a model. `sha1` is injected: WebCrypto in a tab, node:crypto in Node. */
export async function makeMetainfo(
  modelId: string,
  manifest: Manifest,
  read: ReadShardRange,
  sha1: (bytes: Uint8Array) => Uint8Array | Promise<Uint8Array>,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const shardBytes = manifest.shards.map((shard) => shard.bytes)
  const total = shardBytes.reduce((sum, bytes) => sum + bytes, 0)
  const pieceLength = pieceLengthOf(total)
  const count = Math.ceil(total / pieceLength)
  const pieces = new Uint8Array(count * 20)
  for (let index = 0; index < count; index++) {
    signal?.throwIfAborted()
    pieces.set(await sha1(await readPiece(shardBytes, pieceLength, index, read)), index * 20)
  }
  const files = manifest.shards.map(({ name, bytes }) =>
    dictionary([
      ['length', integer(bytes)],
      ['path', list([text(name)])],
    ]),
  )
  const info = dictionary([
    ['files', list(files)],
    ['name', text(modelId)],
    ['piece length', integer(pieceLength)],
    ['pieces', [String(count * 20), ':', pieces]],
  ])
  const utf8 = new TextEncoder()
  return join(dictionary([['info', info]]).map((part) => (typeof part === 'string' ? utf8.encode(part) : part)))
}

/** The `info` dictionary inside a metainfo that makeMetainfo made; its SHA-1 is the info hash. */
export function infoOf(metainfo: Uint8Array): Uint8Array {
  return metainfo.subarray('d4:info'.length, metainfo.length - 1)
}

// Bencoding (BEP 3), as pieces to be joined: keys of a dictionary must come sorted.
type Parts = (string | Uint8Array)[]
const integer = (value: number): Parts => [`i${value}e`]
/** ASCII only: shard names and model ids are. */
const text = (value: string): Parts => [`${value.length}:${value}`]
const list = (items: Parts[]): Parts => ['l', ...items.flat(), 'e']
const dictionary = (entries: [string, Parts][]): Parts => ['d', ...entries.flatMap(([key, value]) => [...text(key), ...value]), 'e']
