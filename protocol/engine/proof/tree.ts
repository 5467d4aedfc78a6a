// Hashes of a trace (ledger/dispute/README.md section 2): tiles, lists, unit leaves, and proofs of ranges of slots. Depths follow from slot counts that the judge
// derives itself; a range proof holds exactly the siblings that cannot be computed, so its length is known before it is read.
import { join, sha256, tagPrefix, u32 } from '../../hash.ts'
import { depthOf, emptyRoot, hashBytes, hashNode } from '../../model/merkle.ts'
import { encodeValues, type ListShape, tileCount, tilesOf, type Values, type ValueType } from './table.ts'

/** H(tag, …) with the tag's bytes made once: a trace takes hundreds of thousands of hashes. */
export function tagged(tag: string): (...parts: Uint8Array[]) => Uint8Array {
  const prefix = tagPrefix(tag)
  return (...parts) => sha256(join([prefix, ...parts]))
}

/** `dtype` of tiles; 1 to 7 as in model/merkle.ts. */
export const typeCode: Record<ValueType, number> = { u8: 1, u16: 3, i16: 4, u32: 5, i32: 6, i64: 8 }
/** `kind` of lists; 1 to 6 stand in model/merkle.ts. */
export const traceListKind = { step: 7, tokens: 8, records: 9 } as const

const tilePrefix = tagPrefix('tile')
/** The largest tile of a trace has 64 elements of three i64. */
const tileMessage = new Uint8Array(tilePrefix.length + 7 + 4096)
tileMessage.set(tilePrefix)
const tileView = new DataView(tileMessage.buffer)

/** H("tile", dtype u8, index u32, count u16, bytes). */
export function traceTileHash(type: ValueType, index: number, count: number, bytes: Uint8Array): Uint8Array {
  const at = tilePrefix.length
  tileView.setUint8(at, typeCode[type])
  tileView.setUint32(at + 1, index, true)
  tileView.setUint16(at + 5, count, true)
  tileMessage.set(bytes, at + 7)
  return sha256(tileMessage.subarray(0, at + 7 + bytes.length))
}

/** H("list", …). */
export const listHash = tagged('list')

/** H("list", kind u8, n u32, perTile u16, dtype u8, top) of a trace's list. */
export const traceListRoot = (shape: ListShape, top: Uint8Array): Uint8Array =>
  listHash(Uint8Array.of(traceListKind.step), u32(shape.elements), Uint8Array.of(shape.perTile & 255, shape.perTile >> 8, typeCode[shape.type]), top)

export interface UnitRoots {
  residual: Uint8Array
  k: Uint8Array
  v: Uint8Array
}

const u16 = (value: number): Uint8Array => Uint8Array.of(value & 255, value >> 8)

const hashUnit = tagged('unit')
const hashTrace = tagged('trace')

/** H("unit", layer u16, position u32, residual, k, v). */
export const unitHash = (layer: number, position: number, roots: UnitRoots): Uint8Array => hashUnit(u16(layer), u32(position), roots.residual, roots.k, roots.v)

/** H("trace", claimId, positions u32, layers u16, top): the name of a defence. */
export const traceRoot = (claimId: Uint8Array, positions: number, layers: number, top: Uint8Array): Uint8Array =>
  hashTrace(claimId, u32(positions), u16(layers), top)

/** The siblings that a proof of slots [start, end) needs, in order: level by level, left before right. Right of the last used slot everything is empty, hence left out. */
export function* siblingsOf(slots: number, start: number, end: number): Generator<[level: number, index: number]> {
  let width = slots
  for (let level = 0, a = start, b = end; level < depthOf(slots); level++, a >>= 1, b = Math.ceil(b / 2), width = Math.ceil(width / 2)) {
    if (a % 2 === 1) yield [level, a - 1]
    if (b % 2 === 1 && b < width) yield [level, b]
  }
}

/** Bytes of that proof. */
export function rangeProofBytes(slots: number, start: number, end: number): number {
  let count = 0
  for (const _ of siblingsOf(slots, start, end)) count++
  return count * hashBytes
}

/** Top of a tree of `slots` from the hashes of slots [start, start + hashes.length) and their siblings. The proof must have rangeProofBytes. */
export function foldRange(hashes: readonly Uint8Array[], slots: number, start: number, proof: Uint8Array): Uint8Array {
  let row = hashes
  let at = 0
  let width = slots
  const next = (): Uint8Array => {
    at += hashBytes
    return proof.subarray(at - hashBytes, at)
  }
  for (let level = 0, a = start; level < depthOf(slots); level++, a >>= 1, width = Math.ceil(width / 2)) {
    const b = a + row.length
    const full = row.slice()
    if (a % 2 === 1) full.unshift(next())
    if (b % 2 === 1) full.push(b < width ? next() : emptyRoot(level))
    const above: Uint8Array[] = []
    for (let i = 0; i < full.length; i += 2) above.push(hashNode(full[i], full[i + 1]))
    row = above
  }
  return row[0]
}

/** A whole tree in memory: all levels over its leaves; slots from `leaves.length` on are empty, and so are those that hold null. */
export class Tree {
  readonly slots: number
  readonly depth: number
  private readonly levels: (Uint8Array | null)[][]
  constructor(leaves: readonly (Uint8Array | null)[]) {
    this.slots = leaves.length
    this.depth = depthOf(leaves.length)
    this.levels = [leaves.slice()]
    for (let level = 0; level < this.depth; level++) {
      const below = this.levels[level]
      this.levels.push(
        Array.from({ length: Math.ceil(below.length / 2) }, (_, i) => {
          const left = below[2 * i]
          const right = below[2 * i + 1] ?? null
          return left === null && right === null ? null : hashNode(left ?? emptyRoot(level), right ?? emptyRoot(level))
        }),
      )
    }
  }

  node(level: number, index: number): Uint8Array {
    return this.levels[level][index] ?? emptyRoot(level)
  }

  get top(): Uint8Array {
    return this.node(this.depth, 0)
  }

  /** The 2^levels descendants of a node, in slot order. */
  children(level: number, index: number, levels: number): Uint8Array[] {
    return Array.from({ length: 1 << levels }, (_, i) => this.node(level - levels, (index << levels) + i))
  }

  proof(start: number, end: number): Uint8Array {
    return join([...siblingsOf(this.slots, start, end)].map(([level, index]) => this.node(level, index)))
  }
}

/** The tree of a list's tiles. */
export function treeOf(shape: ListShape, values: Values): Tree {
  return new Tree(
    Array.from({ length: tilesOf(shape) }, (_, tile) => {
      const count = tileCount(shape, tile)
      return traceTileHash(shape.type, tile, count, tileBytes(shape, values, tile))
    }),
  )
}

/** Bytes of one tile. */
export function tileBytes(shape: ListShape, values: Values, tile: number): Uint8Array {
  const start = tile * shape.perTile * shape.fields
  return encodeValues(shape.type, values, start, start + tileCount(shape, tile) * shape.fields)
}
