// A tensor as tiles: what a judge is shown of it (dispute.md 2.3, specification section 9). A matrix tile is one row by at most 8,192 columns with its scales; a
// v32 tile is 64 elements. tensorRoot commits to all tiles; verifyTile checks one against it with nothing else at hand.
import { sha256, tagPrefix, u32 } from '../hash.ts'
import { tileColumnsMax } from '../limits.ts'
import { gatherRow, panelsBytes, rowTileBytes } from './canonical.ts'
import type { MatrixFormat, Tensor } from './manifest.ts'
import { dataType, foldProof, listKind, listRoot, proofOf, TreeBuilder, tileHash, tileHashes, treeTop, vectorTileElements } from './merkle.ts'

type Shape = Pick<Tensor, 'format' | 'rows' | 'columns'>

export const chunksOf = (columns: number): number => Math.ceil(columns / tileColumnsMax)

/** Slots of a tensor's tree. */
export const slotsOf = (tensor: Shape): number =>
  tensor.format === 'v32' ? Math.ceil(tensor.rows / vectorTileElements) : tensor.rows * chunksOf(tensor.columns)

const prefix = tagPrefix('wtile')
/** The tile's bytes stand 4-byte aligned in the message: prefix, fmt u8, row u32, chunk u16, length u32 come right before. */
const payloadAt = 24
const messageAt = payloadAt - prefix.length - 11
/** The largest tile is a g8's: 36 bytes for 32 columns. */
const message = new Uint8Array(payloadAt + rowTileBytes('g8', tileColumnsMax) + 4)
message.set(prefix, messageAt)
const messageView = new DataView(message.buffer)

/** H("wtile", fmt u8, row u32, chunk u16, length u32, bytes, row word u32). */
export function weightTileHash(format: MatrixFormat, row: number, chunk: number, bytes: Uint8Array, word: number): Uint8Array {
  messageView.setUint8(payloadAt - 11, dataType[format])
  messageView.setUint32(payloadAt - 10, row, true)
  messageView.setUint16(payloadAt - 6, chunk, true)
  messageView.setUint32(payloadAt - 4, bytes.length + 4, true)
  message.set(bytes, payloadAt)
  messageView.setUint32(payloadAt + bytes.length, word, true)
  return sha256(message.subarray(messageAt, payloadAt + bytes.length + 4))
}

/** Bytes of tile `chunk` of a row, within the row in tile order. */
function chunkRange(format: MatrixFormat, columns: number, chunk: number): [number, number] {
  const from = chunk * tileColumnsMax
  return [rowTileBytes(format, from), rowTileBytes(format, Math.min(columns, from + tileColumnsMax))]
}

/** Root of a matrix from its rows in order, `push` once each. */
export class MatrixTree {
  private readonly tree = new TreeBuilder()
  private readonly shape: Shape & { format: MatrixFormat }
  private row = 0
  constructor(format: MatrixFormat, rows: number, columns: number) {
    this.shape = { format, rows, columns }
  }

  /** `tile` is the whole row in tile order, without its word. */
  push(tile: Uint8Array, word: number): void {
    const { format, columns } = this.shape
    for (let chunk = 0; chunk < chunksOf(columns); chunk++) {
      const [from, to] = chunkRange(format, columns, chunk)
      this.tree.push(weightTileHash(format, this.row, chunk, tile.subarray(from, to), word))
    }
    this.row++
  }

  root(): Uint8Array {
    return matrixListRoot(this.shape, this.tree.top())
  }
}

const matrixListRoot = (tensor: Shape, top: Uint8Array): Uint8Array =>
  listRoot(listKind.matrix, tensor.rows, chunksOf(tensor.columns), dataType[tensor.format as MatrixFormat], top)
const vectorListRoot = (tensor: Shape, top: Uint8Array): Uint8Array => listRoot(listKind.vector, tensor.rows, vectorTileElements, dataType.i32, top)

const wordsOf = (bytes: Uint8Array): Uint32Array =>
  bytes.byteOffset % 4 === 0 ? new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2) : new Uint32Array(bytes.slice().buffer, 0, bytes.length >> 2)

/** Rows of a matrix in tile order (the same array each time) with their words, from row `first` on. `bytes` are the tensor's. */
export function* matrixRows(tensor: Shape, bytes: Uint8Array, first = 0): Generator<[tile: Uint8Array, word: number]> {
  const format = tensor.format as MatrixFormat
  const words = wordsOf(bytes)
  const tile = new Uint32Array(rowTileBytes(format, tensor.columns) / 4)
  const tileBytes = new Uint8Array(tile.buffer)
  const wordsAt = panelsBytes(tensor) / 4
  for (let row = first; row < tensor.rows; row++) {
    gatherRow(format, tensor.columns, words, row, tile)
    yield [tileBytes, words[wordsAt + row]]
  }
}

/** Root of a tensor from its canonical bytes. */
export function tensorRoot(tensor: Shape, bytes: Uint8Array): Uint8Array {
  if (tensor.format === 'v32') return vectorListRoot(tensor, treeTop(tileHashes(bytes, tensor.rows, vectorTileElements, dataType.i32, 4)))
  const tree = new MatrixTree(tensor.format, tensor.rows, tensor.columns)
  for (const [tile, word] of matrixRows(tensor, bytes)) tree.push(tile, word)
  return tree.root()
}

export interface Tile {
  /** Slot in the tensor's tree: row · chunks + chunk, or the index of 64 elements. */
  slot: number
  /** The tile's bytes as hashed: weights in tile order and the row word; or i32 elements. */
  bytes: Uint8Array
  /** Sibling hashes, lowest first. */
  proof: Uint8Array
}

/** A tile with its proof, from the tensor's canonical bytes. Hashes the whole tensor. Throws RangeError for a slot that is not there. */
export function tileOf(tensor: Shape, bytes: Uint8Array, slot: number): Tile {
  if (tensor.format === 'v32') {
    const leaves = tileHashes(bytes, tensor.rows, vectorTileElements, dataType.i32, 4)
    const proof = proofOf(leaves, slot)
    return { slot, bytes: bytes.slice(slot * 256, Math.min(tensor.rows * 4, slot * 256 + 256)), proof }
  }
  const chunks = chunksOf(tensor.columns)
  const leaves: Uint8Array[] = []
  let found = new Uint8Array()
  for (const [tile, word] of matrixRows(tensor, bytes)) {
    for (let chunk = 0; chunk < chunks; chunk++) {
      const part = tile.subarray(...chunkRange(tensor.format, tensor.columns, chunk))
      if (leaves.length === slot) {
        found = new Uint8Array(part.length + 4)
        found.set(part)
        found.set(u32(word), part.length)
      }
      leaves.push(weightTileHash(tensor.format, Math.floor(leaves.length / chunks), chunk, part, word))
    }
  }
  return { slot, bytes: found, proof: proofOf(leaves, slot) }
}

/** Whether a stranger's tile is that slot of the tensor. Total: false for anything malformed. */
export function verifyTile(tensor: Shape & Pick<Tensor, 'root'>, tile: Tile): boolean {
  const { slot, bytes, proof } = tile
  const slots = slotsOf(tensor)
  if (!(Number.isInteger(slot) && slot >= 0 && slot < slots)) return false
  const same = (root: Uint8Array): boolean => root.every((byte, i) => byte === tensor.root[i])
  if (tensor.format === 'v32') {
    const count = Math.min(vectorTileElements, tensor.rows - slot * vectorTileElements)
    if (bytes.length !== count * 4) return false
    const top = foldProof(tileHash(dataType.i32, slot, count, bytes), slot, slots, proof)
    return top !== null && same(vectorListRoot(tensor, top))
  }
  const chunks = chunksOf(tensor.columns)
  const chunk = slot % chunks
  const [from, to] = chunkRange(tensor.format, tensor.columns, chunk)
  const size = to - from
  if (bytes.length !== size + 4) return false
  const word = new DataView(bytes.buffer, bytes.byteOffset).getUint32(size, true)
  const leaf = weightTileHash(tensor.format, Math.floor(slot / chunks), chunk, bytes.subarray(0, size), word)
  const top = foldProof(leaf, slot, slots, proof)
  return top !== null && same(matrixListRoot(tensor, top))
}
