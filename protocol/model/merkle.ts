// Merkle trees over tensors (dispute.md 2.1, specification section 9): tiles, nodes, empty subtrees, lists. A tree's depth follows from how many slots it has,
// never from a proof, so a proof of any other length is refused. Building keeps one hash a level; proofs need the leaves.
import { hashTagged, join, sha256, tagPrefix, u32 } from '../hash.ts'

export const hashBytes = 32

/** What the bytes of a list are: the field `dtype`. Numbers never change meaning. */
export const dataType = { u8: 1, i8: 2, u16: 3, i16: 4, u32: 5, i32: 6, hash: 7, w8: 16, w4: 17, g8: 18 } as const
export type DataType = (typeof dataType)[keyof typeof dataType]

/** What a list is for: the field `kind`. */
export const listKind = { vector: 1, matrix: 2, tensors: 3, shard: 4, bytes: 5, tables: 6 } as const
export type ListKind = (typeof listKind)[keyof typeof listKind]

/** ⌈log2 slots⌉: 0 for one slot or none. */
export function depthOf(slots: number): number {
  let depth = 0
  while (2 ** depth < slots) depth++
  return depth
}

const nodePrefix = tagPrefix('node')
const nodeMessage = new Uint8Array(nodePrefix.length + 2 * hashBytes)
nodeMessage.set(nodePrefix)

/** H("node", left, right). */
export function hashNode(left: Uint8Array, right: Uint8Array): Uint8Array {
  nodeMessage.set(left, nodePrefix.length)
  nodeMessage.set(right, nodePrefix.length + hashBytes)
  return sha256(nodeMessage)
}

const empties: Uint8Array[] = []
/** E_level: the root of 2^level unused slots; E0 = H("empty"). */
export function emptyRoot(level: number): Uint8Array {
  while (empties.length <= level) {
    const last = empties.at(-1)
    empties.push(last ? hashNode(last, last) : hashTagged('empty'))
  }
  return empties[level]
}

/** Root over hashes pushed in slot order, with one pending hash a level. */
export class TreeBuilder {
  private readonly pending: (Uint8Array | null)[] = []
  count = 0

  push(leaf: Uint8Array): void {
    let hash = leaf
    let level = 0
    for (let left = this.pending[0]; left; left = this.pending[level]) {
      hash = hashNode(left, hash)
      this.pending[level++] = null
    }
    this.pending[level] = hash
    this.count++
  }

  /** Root of the slots so far, the rest of the last ones empty. */
  top(): Uint8Array {
    const depth = depthOf(this.count)
    let hash: Uint8Array | null = null
    for (let level = 0; level < depth; level++) {
      const left: Uint8Array | null = this.pending[level] ?? null
      if (left) hash = hashNode(left, hash ?? emptyRoot(level))
      else if (hash) hash = hashNode(hash, emptyRoot(level))
    }
    return hash ?? this.pending[depth] ?? emptyRoot(0)
  }
}

export function treeTop(leaves: Iterable<Uint8Array>): Uint8Array {
  const tree = new TreeBuilder()
  for (const leaf of leaves) tree.push(leaf)
  return tree.top()
}

/** The siblings of slot `index`, lowest first, depthOf(leaves.length) of them, joined. Throws RangeError for a slot that is not there. */
export function proofOf(leaves: readonly Uint8Array[], index: number): Uint8Array<ArrayBuffer> {
  if (!(Number.isInteger(index) && index >= 0 && index < leaves.length)) throw new RangeError(`slot ${index} is not one of ${leaves.length}`)
  const proof: Uint8Array[] = []
  let row: readonly Uint8Array[] = leaves
  for (let level = 0, at = index; level < depthOf(leaves.length); level++, at >>= 1) {
    proof.push(row[at ^ 1] ?? emptyRoot(level))
    const above: Uint8Array[] = []
    for (let i = 0; i < row.length; i += 2) above.push(hashNode(row[i], row[i + 1] ?? emptyRoot(level)))
    row = above
  }
  return join(proof)
}

/** The top that a leaf at slot `index` of `slots` and its proof give; null when the slot does not exist or the proof is not exactly as long as the depth. */
export function foldProof(leaf: Uint8Array, index: number, slots: number, proof: Uint8Array): Uint8Array | null {
  if (!(Number.isInteger(index) && index >= 0 && index < slots) || leaf.length !== hashBytes || proof.length !== depthOf(slots) * hashBytes) return null
  let hash = leaf
  for (let level = 0, at = index; level * hashBytes < proof.length; level++, at = Math.floor(at / 2)) {
    const sibling = proof.subarray(level * hashBytes, (level + 1) * hashBytes)
    hash = at % 2 === 0 ? hashNode(hash, sibling) : hashNode(sibling, hash)
  }
  return hash
}

const u16 = (value: number): Uint8Array => Uint8Array.of(value & 255, value >> 8)

/** H("list", kind u8, n u32, perTile u16, dtype u8, top). */
export const listRoot = (kind: ListKind, n: number, perTile: number, dtype: DataType, top: Uint8Array): Uint8Array =>
  hashTagged('list', Uint8Array.of(kind), u32(n), u16(perTile), Uint8Array.of(dtype), top)

/** H("tile", dtype u8, index u32, count u16, bytes): `count` elements, so the bytes have a known width. */
export const tileHash = (dtype: DataType, index: number, count: number, bytes: Uint8Array): Uint8Array =>
  hashTagged('tile', Uint8Array.of(dtype), u32(index), u16(count), bytes)

/** Slots of a list of n elements and the leaves that stand in them, `bytesEach` bytes an element. */
export function tileHashes(bytes: Uint8Array, n: number, perTile: number, dtype: DataType, bytesEach: number): Uint8Array[] {
  return Array.from({ length: Math.ceil(n / perTile) }, (_, index) => {
    const count = Math.min(perTile, n - index * perTile)
    const from = index * perTile * bytesEach
    return tileHash(dtype, index, count, bytes.subarray(from, from + count * bytesEach))
  })
}

/** Elements of a v32 tile. */
export const vectorTileElements = 64
/** Bytes of a tile of plain bytes (the tokenizer shard). */
export const byteTileBytes = 1024

/** Root of i32 values given as bytes: v32 tensors, constant tables. */
export const vectorRoot = (kind: ListKind, bytes: Uint8Array, n: number): Uint8Array =>
  listRoot(kind, n, vectorTileElements, dataType.i32, treeTop(tileHashes(bytes, n, vectorTileElements, dataType.i32, 4)))

/** Root of plain bytes: the tokenizer shard. */
export const bytesRoot = (bytes: Uint8Array): Uint8Array =>
  listRoot(listKind.bytes, bytes.length, byteTileBytes, dataType.u8, treeTop(tileHashes(bytes, bytes.length, byteTileBytes, dataType.u8, 1)))

export const isHash = (value: unknown): value is Uint8Array => value instanceof Uint8Array && value.length === hashBytes
