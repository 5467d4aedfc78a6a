// What a disputed computation is made of: units, stages, reads. A stage is one list of values of a unit, cut into tiles; each of its elements is a generator that asks
// for what it reads and returns its value. That one generator is run by the evaluator (values from memory), by the prover (which writes down openings) and by the
// judge (which checks them), so nobody ever states an index and the three cannot disagree. Knows no model: a toy of letters is a machine as well.
import type { TensorFormat } from '../../model/manifest.ts'

export type ValueType = 'u8' | 'u16' | 'i16' | 'u32' | 'i32' | 'i64'
export type Values = Uint8Array | Uint16Array | Int16Array | Uint32Array | Int32Array | Float64Array

/** A list of `elements`, each of `fields` values, `perTile` elements a tile. */
export interface ListShape {
  type: ValueType
  fields: number
  elements: number
  perTile: number
}

/** Layer `layer` at `position`; `layer` = Machine.to is the tail: final norm, head, sampling. */
export interface Unit {
  layer: number
  position: number
}

/** What an element may ask for. `start` and `end` count elements. */
export type Read =
  /** Another stage of the same unit. Gives its values. */
  | { from: 'stage'; stage: number; start: number; end: number }
  /** The residual that leaves a unit. */
  | { from: 'residual'; layer: number; position: number; start: number; end: number }
  /** Key or value records of one head at positions [start, end) of a layer, end to end. */
  | { from: 'cache'; which: 'k' | 'v'; layer: number; head: number; start: number; end: number }
  /** Token ids of the sequence, prompt first. */
  | { from: 'tokens'; start: number; end: number }
  /** One row of a matrix by at most 8,192 columns. Gives a WeightTile. */
  | { from: 'matrix'; tensor: number; row: number; chunk: number }
  /** The 64 elements of a vector that hold `index`. Gives a WeightTile of i32 bytes. */
  | { from: 'vector'; tensor: number; index: number }

export interface WeightTile {
  format: TensorFormat
  /** Fractional bits (v32). */
  bits: number
  bytes: Uint8Array
}

/** Returns the element's fields; null when no true trace holds such inputs, which a judge calls unequal. Answers to reads: Values, or a WeightTile. */
// biome-ignore lint/suspicious/noExplicitAny: TypeScript types every answer to a yield alike; the table's helpers name the type they asked for.
export type Element = Generator<Read, ArrayLike<number> | null, any>

/** Where a stage's root stands: in an expansion (`step`), in the unit's leaf, or (`token`) in the claim. */
export type RootPlace = 'step' | 'residual' | 'k' | 'v' | 'token'

export interface Stage extends ListShape {
  label: string
  root: RootPlace
  element(e: number): Element
}

/** A tensor as the judge knows it from the model's core; its format and root come with a proof. */
export interface TensorShape {
  name: string
  rows: number
  /** Null for v32. */
  columns: number | null
}

/** A computation with everything that job and claim fix about it. */
export interface Machine {
  /** Layers [from, to) of the trace. */
  from: number
  to: number
  /** Positions of the trace: prompt + answer − 1. */
  positions: number
  /** Positions with a tail: [tailFrom, tailTo). The tail of p chooses token p + 1. */
  tailFrom: number
  tailTo: number
  residual: ListShape
  /** Records of one unit: `kvHeads` elements of `u8` fields. */
  keys: ListShape
  values: ListShape
  tensors: readonly TensorShape[]
  tensorTableRoot: Uint8Array
  /** 32 bytes. */
  claimId: Uint8Array
  tokens: { promptRoot: Uint8Array; prompt: number; outRoot: Uint8Array; out: number; vocab: number }
  /** For a receipt of some layers only: the root of its boundary records (section 5 of ledger/dispute/README.md). */
  boundary: Uint8Array | null
  stages(unit: Unit): readonly Stage[]
}

export const byteWidth: Record<ValueType, number> = { u8: 1, u16: 2, i16: 2, u32: 4, i32: 4, i64: 8 }

/** Zeroed values. i64 is held in doubles: every true value is below 2^53 in size. */
export function newValues(type: ValueType, length: number): Values {
  switch (type) {
    case 'u8':
      return new Uint8Array(length)
    case 'u16':
      return new Uint16Array(length)
    case 'i16':
      return new Int16Array(length)
    case 'u32':
      return new Uint32Array(length)
    case 'i32':
      return new Int32Array(length)
    case 'i64':
      return new Float64Array(length)
  }
}

/** Little-endian bytes of `values[start, end)`. */
export function encodeValues(type: ValueType, values: Values, start = 0, end = values.length): Uint8Array {
  const width = byteWidth[type]
  const bytes = new Uint8Array((end - start) * width)
  const view = new DataView(bytes.buffer)
  for (let i = start, at = 0; i < end; i++, at += width) {
    if (type === 'u8') bytes[at] = values[i]
    else if (width === 2) view.setInt16(at, values[i], true)
    else if (width === 4) view.setInt32(at, values[i], true)
    else {
      view.setUint32(at, values[i], true)
      view.setInt32(at + 4, Math.floor(values[i] / 4294967296), true)
    }
  }
  return bytes
}

/** The inverse, total: an i64 beyond ±2^53 loses bits, which no true trace holds, and every implementation must say unequal to it (see `isTrue`). */
export function decodeValues(type: ValueType, bytes: Uint8Array): Values {
  const width = byteWidth[type]
  const length = Math.floor(bytes.length / width)
  const values = newValues(type, length)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let i = 0, at = 0; i < length; i++, at += width) {
    if (type === 'u8') values[i] = bytes[at]
    else if (width === 2) values[i] = view.getInt16(at, true)
    else if (width === 4) values[i] = view.getInt32(at, true)
    else values[i] = view.getInt32(at + 4, true) * 4294967296 + view.getUint32(at, true)
  }
  return values
}

/** Whether values can stand in a true trace at all: i32 is never −2^31, i64 stays within ±(2^53 − 1). Checked on all that a judge reads, so no formula meets others. */
export function isTrue(type: ValueType, values: Values): boolean {
  if (type !== 'i32' && type !== 'i64') return true
  const most = type === 'i32' ? 2147483647 : Number.MAX_SAFE_INTEGER
  for (let i = 0; i < values.length; i++) if (values[i] > most || values[i] < -most) return false
  return true
}

export const tilesOf = (shape: ListShape): number => Math.ceil(shape.elements / shape.perTile)

/** Elements in a tile: the last one may be shorter. */
export const tileCount = (shape: ListShape, tile: number): number => Math.min(shape.perTile, shape.elements - tile * shape.perTile)

/** Bytes of one element. */
export const elementBytes = (shape: ListShape): number => shape.fields * byteWidth[shape.type]
