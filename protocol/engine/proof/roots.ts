// roots.as.ts, loaded: four residuals' roots at once. Measured on a loaded 2-core machine, hidden 576: 6 µs a root, 39 through native SHA-256, 36 in portable JavaScript.
import { tagPrefix } from '../../hash.ts'
import { hiddenMax } from '../../limits.ts'
import { emptyRoot, hashBytes } from '../../model/merkle.ts'

/** Rows that are hashed together. */
export const rootsTogether = 4

interface Exports {
  memory: { buffer: ArrayBuffer }
  at(what: number): number
  residualRoots(count: number): void
}

/** Levels of a tree of 128 tiles, the widest residual's. */
const levels = 8

/** `module`: build/roots.wasm, compiled. What it resolves to is for setResidualRoots of residual.ts. */
export async function rootsFrom(module: WebAssembly.Module): Promise<(rows: readonly Int32Array[]) => Uint8Array[]> {
  const { exports } = await WebAssembly.instantiate(module, { env: { abort: () => {} } })
  const { memory, at, residualRoots } = exports as unknown as Exports
  const bytes = new Uint8Array(memory.buffer)
  for (const [i, tag] of ['tile', 'node', 'list'].entries()) bytes.set(tagPrefix(tag), at(0) + i * 16)
  for (let level = 0; level < levels; level++) bytes.set(emptyRoot(level), at(1) + level * hashBytes)
  const [rowsAt, rootsAt] = [at(2), at(3)]
  return (rows) => {
    const count = rows[0]?.length ?? 0
    if (rows.length > rootsTogether || count === 0 || count > hiddenMax || rows.some((row) => row.length !== count))
      throw new RangeError('up to four rows of one length')
    rows.forEach((row, lane) => {
      new Int32Array(memory.buffer, rowsAt + lane * count * 4, count).set(row)
    })
    residualRoots(count)
    return rows.map((_, lane) => bytes.slice(rootsAt + lane * hashBytes, rootsAt + (lane + 1) * hashBytes))
  }
}
