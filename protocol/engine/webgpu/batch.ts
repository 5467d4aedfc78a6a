// Rows as the kernels see them: which run together, and the words that tell the device about them. Pure arithmetic.
import type { Row } from '../engine.ts'
import { firstVisible } from '../step.ts'
import { alignTo } from './layout.ts'
import type { Tuning } from './tuning.ts'

/** Words before the rows: how many rows, the token stride of activations, the stride of attention scratch, unused. */
export const headerWords = 4
/** Words per row: token, position, where its page table starts in these words, its row of the residual. */
export const rowWords = 4
/** Words of attention scratch per row and head before the positions: Z first. */
export const scratchHeader = 4

/** Rows that run together, and what they see. */
export interface Batch {
  rows: Row[]
  /** Index of the first row in the run. */
  at: number
  stride: number
  scratchStride: number
  /** Most positions any of the rows sees in any layer. */
  visible: number
}

/** Rows padded to whole quads, as the kernels for several tokens want them. */
export const strideOf = (rows: number): number => (rows === 1 ? 1 : alignTo(rows, 4))

/** Cuts rows so that attention scratch stays within its bound: rows far into a long context run fewer at a time. `windows` are those of the segment's layers. */
export function batchesOf(rows: Row[], windows: number[], heads: number, tuning: Tuning): Batch[] {
  const sees = (position: number): number => windows.reduce((most, window) => Math.max(most, position + 1 - firstVisible(position, window)), 1)
  const strideFor = (visible: number): number => scratchHeader + alignTo(visible, 64)
  const out: Batch[] = []
  for (let at = 0; at < rows.length; ) {
    let visible = 1
    let count = 0
    while (at + count < rows.length && count < tuning.rowsMax) {
      const more = Math.max(visible, sees(rows[at + count].position))
      if (count > 0 && (count + 1) * heads * strideFor(more) * 4 > tuning.scratchBytesMax) break
      visible = more
      count++
    }
    out.push({ rows: rows.slice(at, at + count), at, stride: strideOf(count), scratchStride: strideFor(visible), visible })
    at += count
  }
  return out
}

/** The contents of `batch`: header, rows, then the page tables of the sequences in it. */
export function batchWords(batch: Batch, rowsMax: number, pagesOf: (sequence: number) => readonly number[]): Uint32Array<ArrayBuffer> {
  const tablesAt = headerWords + rowsMax * rowWords
  const tables = new Map<number, number>()
  const pages: number[] = []
  for (const { sequence } of batch.rows) {
    if (tables.has(sequence)) continue
    tables.set(sequence, tablesAt + pages.length)
    pages.push(...pagesOf(sequence))
  }
  const words = new Uint32Array(tablesAt + pages.length)
  words.set([batch.rows.length, batch.stride, batch.scratchStride, 0])
  for (const [i, { sequence, position, token }] of batch.rows.entries()) words.set([token, position, tables.get(sequence)!, i], headerWords + i * rowWords)
  words.set(pages, tablesAt)
  return words
}

/** The contents of `batch` for the tail: only some rows, each reading its own residual. `rows` are indices into the batch. */
export function tailWords(rows: number[]): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(headerWords + rows.length * rowWords)
  words.set([rows.length, strideOf(rows.length), 0, 0])
  for (const [j, row] of rows.entries()) words[headerWords + j * rowWords + 3] = row
  return words
}
