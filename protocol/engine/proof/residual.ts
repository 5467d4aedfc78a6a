// The root of one residual as a list of a trace (ledger/dispute/README.md section 2): i32[hidden], 64 a tile. Hosts of paid sessions make two of them a row, so this is
// `traceListRoot(shape, treeOf(shape, values).top)` with its buffers made once; test/protocol/engine/proof/residual.test.ts holds them equal.
import { join, sha256, tagPrefix, u32 } from '../../hash.ts'
import { depthOf, emptyRoot, hashBytes } from '../../model/merkle.ts'
import { tileElements } from './build.ts'
import { traceListKind, typeCode } from './tree.ts'

const tilePrefix = tagPrefix('tile')
const nodePrefix = tagPrefix('node')
const listPrefix = tagPrefix('list')
const isLittle = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1

/** H("tile", dtype, index, count, bytes): the index and count change, the prefix stands. */
const tile = new Uint8Array(tilePrefix.length + 7 + tileElements * 4)
tile.set(tilePrefix)
tile[tilePrefix.length] = typeCode.i32
const tileView = new DataView(tile.buffer)
const node = new Uint8Array(nodePrefix.length + 2 * hashBytes)
node.set(nodePrefix)

let together: ((rows: readonly Int32Array[]) => Uint8Array[]) | null = null

/** Uses a faster implementation for several rows of one length (roots.ts) from now on. */
export function setResidualRoots(faster: (rows: readonly Int32Array[]) => Uint8Array[]): void {
  together = faster
}

/** Roots of up to rootsTogether rows of one length. */
export const residualRoots = (rows: readonly Int32Array[]): Uint8Array[] => (together ? together(rows) : rows.map(residualRoot))

/** Root of the list of a residual's values. */
export function residualRoot(values: Int32Array): Uint8Array {
  const at = tilePrefix.length
  let row: Uint8Array[] = []
  for (let start = 0, index = 0; start < values.length; start += tileElements, index++) {
    const count = Math.min(tileElements, values.length - start)
    tileView.setUint32(at + 1, index, true)
    tileView.setUint16(at + 5, count, true)
    if (isLittle) tile.set(new Uint8Array(values.buffer, values.byteOffset + start * 4, count * 4), at + 7)
    else for (let i = 0; i < count; i++) tileView.setInt32(at + 7 + i * 4, values[start + i], true)
    row.push(sha256(count === tileElements ? tile : tile.subarray(0, at + 7 + count * 4)))
  }
  for (let level = 0, depth = depthOf(row.length); level < depth; level++) {
    const above: Uint8Array[] = []
    for (let i = 0; i < row.length; i += 2) {
      node.set(row[i], nodePrefix.length)
      node.set(row[i + 1] ?? emptyRoot(level), nodePrefix.length + hashBytes)
      above.push(sha256(node))
    }
    row = above
  }
  const shape = Uint8Array.of(tileElements & 255, tileElements >> 8, typeCode.i32)
  return sha256(join([listPrefix, Uint8Array.of(traceListKind.step), u32(values.length), shape, row[0]]))
}
