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
  const shipped = source.type.name === 'Q8_0'
  const values = new Float64Array(columns)
  const weights = new Int8Array(columns)
  const words = new Uint32Array(weights.buffer)
  const scales = new Float64Array(groups)
  const tooLarge = (row: number, max: number): ModelError =>
    new ModelError(`row ${row} of tensor ${source.name} has a scale as large as ±${max}, the limit is ${groupScaleMax}`)
  /** Largest |value| / 127 of a row, so that one shift serves all its groups. */
  const readShipped = (bytes: Uint8Array, at: number): number => readGroups8(bytes, at, columns, weights, scales)
  return (bytes, view, at, row) => {
    const max = shipped ? readShipped(bytes, at) : dequantiseRow(source.type, bytes, view, at, columns, values)
    if (Number.isNaN(max)) throw notFinite(source, row)
    // Values of 127 · 2047 and less have a scale; the quotient may round, so scaleOfGroup is checked below.
    let shift = shiftOfGroups8(shipped ? max : max / 127)
    if (shift !== null && !shipped && scaleOfGroup(max, shift) > groupScaleMax) shift = shift > 0 ? shift - 1 : null
    if (shift === null) throw tooLarge(row, shipped ? max : max / 127)
    for (let g = 0; g < groups; g++) {
      const from = g * 32
      let d: number
      if (shipped) d = roundScale(scales[g], shift)
      else {
        const part = values.subarray(from, from + 32)
        let most = 0
        for (const v of part) most = Math.max(most, v < 0 ? -v : v)
        d = scaleOfGroup(most, shift)
        quantiseRow(part, 32, rowWordOf(d, shift), weights.subarray(from, from + 32))
      }
      for (let k = 0; k < 8; k++) tile[g * 9 + k] = words[g * 8 + k]
      tile[g * 9 + 8] = d & 0xffff
    }
    return rowWordOf(0, shift)
  }
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

export const packers: Record<MatrixFormat, (source: GgufTensor, columns: number, tile: Uint32Array) => RowPacker> = { w8: int8Packer, g8: group8Packer, w4: groupPacker }

