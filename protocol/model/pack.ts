// From a row of a GGUF tensor to a row of a canonical matrix: one packer per format. Arithmetic in canonical.ts and dequantise.ts; here are the choices and the refusals.
import { groupScaleMax, quantiseRow, roundGroups, roundScale, rowWordOf, scaleOfGroup, scaleOfRow, shiftOfGroups8, shiftOfRow } from './canonical.ts'
import { createGroups, dequantiseRow, readGroups, readGroups8 } from './dequantise.ts'
import type { GgufTensor } from './gguf.ts'
import { type MatrixFormat, ModelError } from './manifest.ts'

export const notFinite = (source: GgufTensor, row?: number): ModelError =>
  new ModelError(`tensor ${source.name} (${source.type.name}) has a value that is NaN or infinite${row === undefined ? '' : ` in row ${row}`}`)

/** Fills the tile it was made over with the row that starts at byte `at`; returns its row word. Throws ModelError for values that are no number or too large. */
type RowPacker = (bytes: Uint8Array, view: DataView, at: number, row: number) => number

/** Fills `tile` with a row of int8 weights; returns its row word. */
function int8Packer(source: GgufTensor, columns: number, tile: Uint32Array): RowPacker {
  const values = new Float64Array(columns)
  const weights = new Int8Array(tile.buffer)
  return (bytes, view, at, row) => {
    const max = dequantiseRow(source.type, bytes, view, at, columns, values)
    if (Number.isNaN(max)) throw notFinite(source, row)
    const word = scaleOfRow(max)
    if (word === null) throw new ModelError(`row ${row} of tensor ${source.name} holds the value ±${max}, the limit is ${127 * 65535}`)
    quantiseRow(values, columns, word, weights)
    return word
  }
}

/** Fills `tile` with a row of 8-bit groups; returns its row word. Q8_0 keeps its shipped weights, its scales rounded to 11 bits under the row's shift. */
function group8Packer(source: GgufTensor, columns: number, tile: Uint32Array): RowPacker {
  const groups = columns / 32
  const weights = new Int8Array(columns)
  const words = new Uint32Array(weights.buffer)
  const store = (g: number, d: number): void => {
    for (let k = 0; k < 8; k++) tile[g * 9 + k] = words[g * 8 + k]
    tile[g * 9 + 8] = d & 0xffff
  }
  const tooLarge = (row: number, max: number): ModelError =>
    new ModelError(`row ${row} of tensor ${source.name} has a scale as large as ±${max}, the limit is ${groupScaleMax}`)

  if (source.type.name === 'Q8_0') {
    const scales = new Float64Array(groups)
    return (bytes, _view, at, row) => {
      const max = readGroups8(bytes, at, columns, weights, scales)
      if (Number.isNaN(max)) throw notFinite(source, row)
      const shift = shiftOfGroups8(max)
      if (shift === null) throw tooLarge(row, max)
      for (let g = 0; g < groups; g++) store(g, roundScale(scales[g], shift))
      return rowWordOf(0, shift)
    }
  }
  const values = new Float64Array(columns)
  return (bytes, view, at, row) => {
    const max = dequantiseRow(source.type, bytes, view, at, columns, values)
    if (Number.isNaN(max)) throw notFinite(source, row)
    // The quotient may have been rounded down to the limit; scaleOfGroup is exact.
    let shift = shiftOfGroups8(max / 127)
    if (shift !== null && scaleOfGroup(max, shift) > groupScaleMax) shift = shift > 0 ? shift - 1 : null
    if (shift === null) throw tooLarge(row, max / 127)
    for (let g = 0; g < groups; g++) {
      const d = scaleOfGroup(largestOf(values, g * 32, 32), shift)
      quantiseRow(values, 32, rowWordOf(d, shift), weights, g * 32)
      store(g, d)
    }
    return rowWordOf(0, shift)
  }
}

/** Largest |value| of `count` from `from` on. */
function largestOf(values: Float64Array, from: number, count: number): number {
  let most = 0
  for (let i = from; i < from + count; i++) most = Math.max(most, Math.abs(values[i]))
  return most
}

/** Fills `tile` with a row of 4-bit groups; returns its row word. */
function groupPacker(source: GgufTensor, columns: number, tile: Uint32Array): RowPacker {
  const groups = createGroups(columns)
  return (bytes, view, at, row) => {
    const max = readGroups(source.type, bytes, view, at, columns, groups)
    if (Number.isNaN(max)) throw notFinite(source, row)
    const shift = shiftOfRow(max)
    if (shift === null) throw new ModelError(`row ${row} of tensor ${source.name} has the scale or minimum ±${max}, the limit is 32767`)
    roundGroups(groups, shift, tile)
    return rowWordOf(0, shift)
  }
}

export const packers: Record<MatrixFormat, (source: GgufTensor, columns: number, tile: Uint32Array) => RowPacker> = {
  w8: int8Packer,
  g8: group8Packer,
  w4: groupPacker,
}
