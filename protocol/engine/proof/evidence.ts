// Evidence: the openings of everything one element reads, end to end in the order it asks, with no index, length or name in between: all of them follow from the
// element. `openElement` writes it, `checkElement` reads it; each kind of read is encoded and decoded side by side here.
import { equalBytes, join } from '../../hash.ts'
import { tileColumnsMax } from '../../limits.ts'
import { rowTileBytes } from '../../model/canonical.ts'
import { tensorEntryHash } from '../../model/identity.ts'
import type { Tensor, TensorFormat } from '../../model/manifest.ts'
import { dataType, depthOf, foldProof, hashBytes, listKind, listRoot, vectorTileElements } from '../../model/merkle.ts'
import { chunksOf, verifyTile, slotsOf as weightSlots } from '../../model/tiles.ts'
import {
  decodeValues,
  elementBytes,
  isTrue,
  type ListShape,
  type Machine,
  type Read,
  type Stage,
  tileCount,
  tilesOf,
  type Unit,
  type Values,
  type WeightTile,
} from './table.ts'
import { boundaryRecordBytes, boundaryRecordHash, decodeBoundaryRecord, recordListRoot, saltBytes, tokenBytes, tokenHash, tokenListRoot } from './tokens.ts'
import { slotOf, slotsOf, type Trace, type UnitTrace } from './trace.ts'
import { foldRange, rangeProofBytes, tileBytes, traceListRoot, traceTileHash, treeOf, type UnitRoots, unitHash } from './tree.ts'
import { formatCode, matrixSlot } from './weights.ts'

/** One Prove carries at most this. */
export const evidenceBytesMax = 65536

/** Why evidence is no evidence. Not a verdict: the move is refused and the clock runs on. */
export class EvidenceError extends Error {
  override name = 'EvidenceError'
}

/** What the game has fixed about a unit when an element of it is judged. */
export interface Commitments {
  /** Top of the outer tree. */
  top: Uint8Array
  unit: Unit
  /** Root of every stage of the unit, null for `token`. */
  roots: readonly (Uint8Array | null)[]
}

class Reader {
  private readonly bytes: Uint8Array
  private at = 0
  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }
  take(length: number, what: string): Uint8Array {
    if (this.at + length > this.bytes.length) throw new EvidenceError(`the evidence ends within ${what}`)
    this.at += length
    return this.bytes.subarray(this.at - length, this.at)
  }
  end(): void {
    if (this.at !== this.bytes.length) throw new EvidenceError(`the evidence has ${this.bytes.length - this.at} bytes too many`)
  }
}

/** Tiles that hold elements [start, end). */
const tileRange = (shape: ListShape, start: number, end: number): [number, number] => [Math.floor(start / shape.perTile), Math.ceil(end / shape.perTile)]

function openRange(shape: ListShape, values: Values, start: number, end: number, tree = treeOf(shape, values)): Uint8Array {
  const [a, b] = tileRange(shape, start, end)
  return join([...Array.from({ length: b - a }, (_, i) => tileBytes(shape, values, a + i)), tree.proof(a, b)])
}

/** Values of [start, end) and the root they belong to. */
function readRange(reader: Reader, shape: ListShape, start: number, end: number, what: string): { values: Values; root: Uint8Array } {
  const [a, b] = tileRange(shape, start, end)
  const size = elementBytes(shape)
  const hashes: Uint8Array[] = []
  const tiles: Uint8Array[] = []
  for (let tile = a; tile < b; tile++) {
    const count = tileCount(shape, tile)
    const bytes = reader.take(count * size, what)
    tiles.push(bytes)
    hashes.push(traceTileHash(shape.type, tile, count, bytes))
  }
  const slots = tilesOf(shape)
  const top = foldRange(hashes, slots, a, reader.take(rangeProofBytes(slots, a, b), `the path of ${what}`))
  const from = start - a * shape.perTile
  const bytes = join(tiles).subarray(from * size, (from + end - start) * size)
  return { values: decodeValues(shape.type, bytes), root: traceListRoot(shape, top) }
}

/** The unit leaves of [start, end) of a layer, proven against the outer tree. */
function checkUnits(reader: Reader, machine: Machine, top: Uint8Array, layer: number, start: number, roots: readonly UnitRoots[]): void {
  const slot = slotOf(machine, { layer, position: start })
  const slots = slotsOf(machine)
  const hashes = roots.map((r, i) => unitHash(layer, start + i, r))
  const proof = reader.take(rangeProofBytes(slots, slot, slot + roots.length), 'the path of a unit')
  if (!equalBytes(foldRange(hashes, slots, slot, proof), top)) throw new EvidenceError(`units of layer ${layer} are not those of the trace`)
}

const openUnits = (trace: Trace, layer: number, start: number, end: number): Uint8Array => {
  const slot = slotOf(trace.machine, { layer, position: start })
  return trace.outer.proof(slot, slot + end - start)
}

/** Opening of one read, from a trace. `boundary` opens the records of a segment's receipt. */
function openRead(trace: Trace, unit: UnitTrace, read: Read, boundary: ((position: number) => Uint8Array) | null): Uint8Array {
  const { machine } = trace
  switch (read.from) {
    case 'stage':
      return openRange(unit.stages[read.stage], unit.values[read.stage], read.start, read.end, unit.tree(read.stage))
    case 'residual': {
      const opened = openRange(machine.residual, trace.residual(read.layer, read.position), read.start, read.end)
      if (read.layer < machine.from) return join([opened, boundary!(read.position)])
      const { k, v } = trace.leaf(read)
      return join([opened, k, v, openUnits(trace, read.layer, read.position, read.position + 1)])
    }
    case 'cache': {
      const shape = read.which === 'k' ? machine.keys : machine.values
      const parts: Uint8Array[] = []
      for (let p = read.start; p < read.end; p++) {
        const { residual, k, v } = trace.leaf({ layer: read.layer, position: p })
        parts.push(openRange(shape, trace.records(read.which, read.layer, p), read.head, read.head + 1), residual, read.which === 'k' ? v : k)
      }
      return join([...parts, openUnits(trace, read.layer, read.start, read.end)])
    }
    case 'tokens': {
      const n = trace.prompt.tokens.length
      const parts: Uint8Array[] = []
      if (read.start < n) parts.push(trace.prompt.open(read.start, Math.min(n, read.end)))
      if (read.end > n) parts.push(trace.out.open(Math.max(0, read.start - n), read.end - n))
      return join(parts)
    }
    case 'matrix': {
      const { columns } = machine.tensors[read.tensor]
      return trace.weights.open(read.tensor, matrixSlot(columns!, read.row, read.chunk))
    }
    case 'vector':
      return trace.weights.open(read.tensor, Math.floor(read.index / vectorTileElements))
  }
}

/** Evidence for element `e` of a stage of a unit. */
export function openElement(trace: Trace, unit: Unit, stage: number, e: number, boundary: ((position: number) => Uint8Array) | null = null): Uint8Array {
  const own = trace.unit(unit)
  const parts: Uint8Array[] = []
  if (own.stages[stage].root === 'token')
    parts.push(trace.out.open(unit.position + 1 - trace.prompt.tokens.length, unit.position + 2 - trace.prompt.tokens.length))
  const element = own.stages[stage].element(e)
  let next = element.next()
  while (!next.done) {
    const read = next.value
    parts.push(openRead(trace, own, read, boundary))
    next = element.next(trace.read(read, own))
  }
  return join(parts)
}

function readTokens(reader: Reader, machine: Machine, start: number, end: number): Uint32Array {
  const { prompt, out, promptRoot, outRoot } = machine.tokens
  const ids: number[] = []
  const part = (from: number, to: number, count: number, root: Uint8Array): void => {
    const hashes: Uint8Array[] = []
    for (let i = from; i < to; i++) {
      const bytes = reader.take(tokenBytes, 'a token')
      const token = (bytes[0] | (bytes[1] << 8) | (bytes[2] << 16) | (bytes[3] << 24)) >>> 0
      ids.push(token)
      hashes.push(tokenHash(i, token, bytes.subarray(4, 4 + saltBytes)))
    }
    const top = foldRange(hashes, count, from, reader.take(rangeProofBytes(count, from, to), 'the path of a token'))
    if (!equalBytes(tokenListRoot(count, top), root)) throw new EvidenceError('tokens are not those of the claim')
  }
  if (start < prompt) part(start, Math.min(prompt, end), prompt, promptRoot)
  if (end > prompt) part(Math.max(0, start - prompt), end - prompt, out, outRoot)
  return Uint32Array.from(ids)
}

/** The formats that a tensor may have. */
const formatOf = (code: number, matrix: boolean): TensorFormat | undefined =>
  (['w8', 'w4', 'g8', 'v32'] as const).find((format) => formatCode[format] === code && (format !== 'v32') === matrix)

function readWeight(reader: Reader, machine: Machine, index: number, slotFor: (columns: number | null) => number): WeightTile {
  const shape = machine.tensors[index]
  const head = reader.take(2, 'a tensor')
  const format = formatOf(head[0], shape.columns !== null)
  if (!format) throw new EvidenceError(`tensor ${shape.name} cannot have format ${head[0]}`)
  const bits = (head[1] << 24) >> 24
  const tensor: Tensor = {
    name: shape.name,
    format,
    rows: shape.rows,
    columns: shape.columns ?? 1,
    bits,
    shard: 0,
    offset: 0,
    bytes: 0,
    root: reader.take(hashBytes, 'the root of a tensor'),
  }
  const count = machine.tensors.length
  const top = foldProof(tensorEntryHash(tensor, index), index, count, reader.take(depthOf(count) * hashBytes, 'the path of a tensor'))
  if (!top || !equalBytes(listRoot(listKind.tensors, count, 1, dataType.hash, top), machine.tensorTableRoot))
    throw new EvidenceError(`tensor ${shape.name} is not that of the model`)
  const slot = slotFor(shape.columns)
  const bytes = reader.take(tileSize(tensor, slot), `a tile of ${shape.name}`)
  const proof = reader.take(depthOf(weightSlots(tensor)) * hashBytes, `the path of a tile of ${shape.name}`)
  if (!verifyTile(tensor, { slot, bytes, proof })) throw new EvidenceError(`a tile of ${shape.name} is not that of the model`)
  return { format, bits, bytes }
}

function tileSize(tensor: Tensor, slot: number): number {
  if (tensor.format === 'v32') return Math.min(vectorTileElements, tensor.rows - slot * vectorTileElements) * 4
  const chunk = slot % chunksOf(tensor.columns)
  const columns = Math.min(tensor.columns - chunk * tileColumnsMax, tileColumnsMax)
  return rowTileBytes(tensor.format, columns) + 4
}

/** Checks one opening and gives what it opens. Throws EvidenceError. */
function readOpening(
  reader: Reader,
  machine: Machine,
  c: Commitments,
  stages: readonly Stage[],
  read: Read,
): { values: Values | WeightTile; type: ListShape['type'] | null } {
  switch (read.from) {
    case 'stage': {
      const shape = stages[read.stage]
      const { values, root } = readRange(reader, shape, read.start, read.end, shape.label)
      const known = c.roots[read.stage]
      if (!known || !equalBytes(root, known)) throw new EvidenceError(`values of ${shape.label} are not those of the expansion`)
      return { values, type: shape.type }
    }
    case 'residual': {
      const { values, root } = readRange(reader, machine.residual, read.start, read.end, 'a residual')
      if (read.layer < machine.from) {
        checkBoundary(reader, machine, read.position, 'inRoot', root)
      } else {
        const roots = { residual: root, k: reader.take(hashBytes, 'a root'), v: reader.take(hashBytes, 'a root') }
        checkUnits(reader, machine, c.top, read.layer, read.position, [roots])
      }
      return { values, type: 'i32' }
    }
    case 'cache': {
      const shape = read.which === 'k' ? machine.keys : machine.values
      const roots: UnitRoots[] = []
      const records: Uint8Array[] = []
      for (let p = read.start; p < read.end; p++) {
        const { values, root } = readRange(reader, shape, read.head, read.head + 1, 'a record')
        const residual = reader.take(hashBytes, 'a root')
        const other = reader.take(hashBytes, 'a root')
        records.push(values as Uint8Array)
        roots.push(read.which === 'k' ? { residual, k: root, v: other } : { residual, k: other, v: root })
      }
      checkUnits(reader, machine, c.top, read.layer, read.start, roots)
      return { values: join(records), type: 'u8' }
    }
    case 'tokens':
      return { values: readTokens(reader, machine, read.start, read.end), type: 'u32' }
    case 'matrix':
      return { values: readWeight(reader, machine, read.tensor, (columns) => matrixSlot(columns!, read.row, read.chunk)), type: null }
    case 'vector':
      return { values: readWeight(reader, machine, read.tensor, () => Math.floor(read.index / vectorTileElements)), type: null }
  }
}

/** A record of a segment's receipt: 108 bytes and its path. Throws EvidenceError when it is not in the receipt or holds another root. */
export function checkBoundary(
  reader: { take(length: number, what: string): Uint8Array },
  machine: Machine,
  position: number,
  side: 'inRoot' | 'outRoot',
  root: Uint8Array,
): void {
  const bytes = reader.take(boundaryRecordBytes, 'a record of the receipt')
  const proof = reader.take(rangeProofBytes(machine.positions, position, position + 1), 'the path of a record')
  const record = decodeBoundaryRecord(bytes)
  const listed = recordListRoot(machine.positions, foldRange([boundaryRecordHash(bytes)], machine.positions, position, proof))
  if (!machine.boundary || record.position !== position || !equalBytes(listed, machine.boundary)) throw new EvidenceError('a record is not that of the receipt')
  if (!equalBytes(record[side], root)) throw new EvidenceError('a residual is not that of the receipt')
}

/**
 * What element `e` of a stage is, from evidence alone, and what stands in the trace or claim for it. `claimed` are the element's bytes as revealed, ignored for a token,
 * which the evidence opens. `true` when they agree. Throws EvidenceError for evidence that does not open exactly what the element reads.
 */
export function checkElement(machine: Machine, c: Commitments, stage: number, e: number, claimed: Uint8Array, evidence: Uint8Array): boolean {
  const stages = machine.stages(c.unit)
  const shape = stages[stage]
  const reader = new Reader(evidence)
  let held: Values
  if (shape.root === 'token') held = readTokens(reader, machine, c.unit.position + 1, c.unit.position + 2)
  else held = decodeValues(shape.type, claimed)
  const element = shape.element(e)
  let sane = isTrue(shape.type, held)
  let next = element.next()
  while (!next.done) {
    const { values, type } = readOpening(reader, machine, c, stages, next.value)
    // What no true trace holds reaches no formula; but all openings up to it were sound, so this is a verdict, not an error.
    if (type && !isTrue(type, values as Values)) {
      sane = false
      break
    }
    next = element.next(values)
  }
  if (!next.done) return false
  reader.end()
  if (!sane || next.value === null) return false
  const found = next.value
  if (found.length !== held.length) return false
  for (let i = 0; i < held.length; i++) if (found[i] !== held[i]) return false
  return true
}
