// Helpers of the stage tables: a list of stages under construction, sources that elements read from, and reductions cut so that no element reads more than 1,024 values
// or what 64 positions hold (budget: ledger/dispute/README.md section 4).
import { amaxOf } from '../integer.ts'
import type { Element, ListShape, Read, RootPlace, Stage, Values, ValueType, WeightTile } from './table.ts'

/** Values that one element of a partial reduction reads: 4 KiB of i32. */
export const partElements = 1024
/** Elements of an ordinary tile. */
export const tileElements = 64

/** A list that elements can read: a stage, or the residual of the unit below. */
export interface Source extends ListShape {
  read(start: number, end: number): Read
}

export interface StageOptions {
  label: string
  type: ValueType
  elements: number
  fields?: number
  perTile?: number
  root?: RootPlace
  element(e: number): Element
}

export class StageList {
  readonly stages: Stage[] = []

  add({ label, type, elements, fields = 1, perTile = tileElements, root = 'step', element }: StageOptions): Source {
    const stage = this.stages.length
    const shape = { type, fields, elements, perTile }
    this.stages.push({ label, root, ...shape, element })
    return { ...shape, read: (start, end) => ({ from: 'stage', stage, start, end }) }
  }
}

/** Asks for elements [start, end) of a source. */
export function* values(source: Source, start: number, end: number): Generator<Read, Values, Values> {
  return yield source.read(start, end)
}

/** Asks for all elements of a source. */
export const all = (source: Source): Generator<Read, Values, Values> => values(source, 0, source.elements)

/** Asks for the one field of one element. */
export function* value(source: Source, e: number): Generator<Read, number, Values> {
  const found = yield source.read(e, e + 1)
  return found[0]
}

export function* matrixTile(tensor: number, row: number, chunk: number): Generator<Read, WeightTile, WeightTile> {
  return yield { from: 'matrix', tensor, row, chunk }
}

/** One element of a v32 tensor and its fractional bits. */
export function* weightAt(tensor: number, index: number): Generator<Read, { weight: number; bits: number }, WeightTile> {
  const { bytes, bits } = yield { from: 'vector', tensor, index }
  const at = (index & 63) * 4
  return { weight: bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24), bits }
}

export const partsOf = (length: number): number => Math.ceil(length / partElements)

/** Largest |x| of a source, as a stage of partial maxima where one element would read too much; gives how an element reads the whole. */
export function largest(list: StageList, label: string, source: Source): () => Generator<Read, number, Values> {
  if (source.elements <= partElements)
    return function* () {
      return amaxOf((yield* all(source)) as Int32Array)
    }
  const parts = list.add({
    label: `${label}.part`,
    type: 'i32',
    elements: partsOf(source.elements),
    *element(e) {
      return [amaxOf((yield* values(source, e * partElements, Math.min(source.elements, (e + 1) * partElements))) as Int32Array)]
    },
  })
  return function* () {
    return amaxOf((yield* all(parts)) as Int32Array)
  }
}
