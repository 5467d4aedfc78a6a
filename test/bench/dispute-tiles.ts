// Evidence for one element of every stage at the largest supported shape, without a model or a trace: values are invented, siblings are random, and the commitments are
// made to fit. What a judge reads, hashes and computes is what it would for a real one.

import { noiseKey } from '../../protocol/engine/answer.ts'
import type { Commitments } from '../../protocol/engine/proof/evidence.ts'
import { type ClaimFacts, machineOf } from '../../protocol/engine/proof/machine.ts'
import {
  encodeValues,
  type ListShape,
  type Machine,
  newValues,
  type Read,
  type Stage,
  tilesOf,
  type Unit,
  type Values,
  type WeightTile,
} from '../../protocol/engine/proof/table.ts'
import { saltBytes, tokenHash, tokenListRoot } from '../../protocol/engine/proof/tokens.ts'
import { slotOf, slotsOf } from '../../protocol/engine/proof/trace.ts'
import {
  foldRange,
  rangeProofBytes,
  type Tree,
  tileBytes,
  traceListRoot,
  traceTileHash,
  treeOf,
  type UnitRoots,
  unitHash,
} from '../../protocol/engine/proof/tree.ts'
import { formatCode, matrixSlot } from '../../protocol/engine/proof/weights.ts'
import { samplerOf } from '../../protocol/engine/sampler.ts'
import { random } from '../../protocol/engine/specimen.ts'
import { join, u32 } from '../../protocol/hash.ts'
import { rowTileBytes } from '../../protocol/model/canonical.ts'
import { tensorEntryHash } from '../../protocol/model/identity.ts'
import type { Core, MatrixFormat, Tensor } from '../../protocol/model/manifest.ts'
import { dataType, depthOf, foldProof, hashBytes, listKind, listRoot, tileHash, vectorTileElements } from '../../protocol/model/merkle.ts'
import { chunksOf, slotsOf as weightSlots, weightTileHash } from '../../protocol/model/tiles.ts'
import { tinyCore } from '../tiny-package.ts'

/** The largest shapes the limits allow; `wide` has the widest heads and as many key-value heads as heads. */
export const largestCores = (): { name: string; core: Core }[] => {
  const shape = { hidden: 8192, ffn: 28672, vocab: 262400, context: 32768, layers: 80 }
  return [
    { name: 'llama', core: tinyCore('llama', { ...shape, heads: 64, kvHeads: 8, headDim: 128 }) },
    { name: 'qwen2', core: tinyCore('qwen2', { ...shape, heads: 64, kvHeads: 8, headDim: 128 }) },
    { name: 'qwen3', core: tinyCore('qwen3', { ...shape, heads: 128, kvHeads: 128, headDim: 128, attentionScaleOf: 128 }) },
    { name: 'gemma3', core: tinyCore('gemma3', { ...shape, heads: 64, kvHeads: 64, headDim: 256, attentionScaleOf: 256, slidingWindow: 1024 }) },
  ]
}

export interface Case {
  label: string
  facts: ClaimFacts
  tensorTableRoot: Uint8Array
  commitments: Commitments
  stage: number
  element: number
  claimed: Uint8Array
  evidence: Uint8Array
}

export const longest = (): ClaimFacts => ({
  claimId: new Uint8Array(32),
  promptRoot: new Uint8Array(32),
  outRoot: new Uint8Array(32),
  prompt: 16384,
  out: 16384,
  sampler: samplerOf({ temperature: 0.8, topK: 40, topP: 0.9, minP: 0.05, repeatPenalty: 1.1, repeatWindow: 256 }),
  noise: noiseKey(1),
  segment: null,
})

/** Numbers that a true trace may hold, by what the stage is. */
function invent(stage: ListShape & { label?: string }, next: () => number): Values {
  const values = newValues(stage.type, stage.elements * stage.fields)
  const label = stage.label ?? ''
  for (let i = 0; i < values.length; i++) {
    if (label.endsWith('.e')) values[i] = 6
    else if (label.endsWith('.scale')) values[i] = i % 2 === 0 ? 30 : 70_000
    else if (label === 'sample.top') values[i] = 1 << 24
    else if (label.startsWith('sample.top')) values[i] = next() % 1024
    else if (label.endsWith('weigh.top')) values[i] = 1 << 20
    else if (label.endsWith('mix.top')) values[i] = 4
    else if (label.endsWith('.sum') || label.endsWith('.sum.part')) values[i] = 1 << 24
    else if (stage.type === 'i16') values[i] = (next() % 32767) - 16383
    else if (stage.type === 'u16') values[i] = next() % 32768
    else if (stage.type === 'i64') values[i] = next() % 1_000_000
    else if (stage.type === 'u8') values[i] = next() & 255
    else values[i] = (next() % (1 << 21)) - (1 << 20)
  }
  // Exponents of query records stand last in an element.
  if (stage.type === 'i16' && stage.fields > 1) for (let i = stage.fields - 1; i < values.length; i += stage.fields) values[i] = 2
  return values
}

/** Makes cases for every stage of a unit; weights in `format`. */
export class Forge {
  readonly core: Core
  private readonly facts: ClaimFacts
  private readonly machine: Machine
  private readonly format: MatrixFormat
  private readonly next = random(7)
  private readonly filled = new Map<string, { values: Values; tree: Tree }>()

  constructor(core: Core, format: MatrixFormat) {
    this.core = core
    this.format = format
    this.facts = longest()
    this.machine = machineOf(core, new Uint8Array(32), this.facts)
  }

  private bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.next() & 255)
  }

  /** The last position, at a layer that sees all of them. */
  get units(): Unit[] {
    const position = this.machine.positions - 1
    const layer = this.core.slidingPattern > 1 ? this.core.slidingPattern - 1 : 1
    return [
      { layer: 0, position },
      { layer, position },
      { layer: this.core.layers, position },
    ]
  }

  stages(unit: Unit): readonly Stage[] {
    return this.machine.stages(unit)
  }

  private stageOf(unit: Unit, stage: Stage): { values: Values; tree: Tree } {
    const name = `${unit.layer} ${stage.label}`
    let found = this.filled.get(name)
    if (!found) {
      const values = invent(stage, this.next)
      found = { values, tree: treeOf(stage, values) }
      // The largest take tens of MB: only the latest are kept.
      if (this.filled.size >= 6) this.filled.delete(this.filled.keys().next().value!)
      this.filled.set(name, found)
    }
    return found
  }

  private weight(index: number, slot: number): { tile: WeightTile; bytes: Uint8Array; table: Uint8Array } {
    const { name, rows, columns } = this.machine.tensors[index]
    const format = columns === null ? 'v32' : this.format
    const tensor: Tensor = {
      name,
      format,
      rows,
      columns: columns ?? 1,
      bits: columns === null ? 22 : 0,
      shard: 0,
      offset: 0,
      bytes: 0,
      root: new Uint8Array(32),
    }
    const chunks = chunksOf(tensor.columns)
    const count = format === 'v32' ? Math.min(vectorTileElements, rows - slot * vectorTileElements) : 0
    const width = Math.min(8192, tensor.columns - (slot % chunks) * 8192)
    const payload = this.bytes(format === 'v32' ? count * 4 : rowTileBytes(format, width))
    if (format === 'v32') for (let i = 3; i < payload.length; i += 4) payload[i] = 0
    const word = 0x14_8000
    const leaf =
      format === 'v32' ? tileHash(dataType.i32, slot, count, payload) : weightTileHash(format, Math.floor(slot / chunks), slot % chunks, payload, word)
    const slots = weightSlots(tensor)
    const proof = this.bytes(depthOf(slots) * hashBytes)
    const top = foldProof(leaf, slot, slots, proof)!
    tensor.root =
      format === 'v32' ? listRoot(listKind.vector, rows, vectorTileElements, dataType.i32, top) : listRoot(listKind.matrix, rows, chunks, dataType[format], top)
    const tensors = this.machine.tensors.length
    const path = this.bytes(depthOf(tensors) * hashBytes)
    const table = listRoot(listKind.tensors, tensors, 1, dataType.hash, foldProof(tensorEntryHash(tensor, index), index, tensors, path)!)
    const whole = format === 'v32' ? payload : join([payload, u32(word)])
    return {
      tile: { format, bits: tensor.bits, bytes: whole },
      bytes: join([Uint8Array.of(formatCode[format], tensor.bits), tensor.root, path, whole, proof]),
      table,
    }
  }

  /** One case: element `e` of a stage. */
  case(unit: Unit, stage: number, e: number): Case {
    const { machine } = this
    const stages = machine.stages(unit)
    const shape = stages[stage]
    const roots: (Uint8Array | null)[] = stages.map((one) => (one.root === 'token' ? null : new Uint8Array(32)))
    const facts = { ...this.facts }
    let top: Uint8Array = new Uint8Array(32)
    let table: Uint8Array = new Uint8Array(32)
    const parts: Uint8Array[] = []

    const units = (layer: number, start: number, leaves: UnitRoots[]): Uint8Array => {
      const slot = slotOf(machine, { layer, position: start })
      const proof = this.bytes(rangeProofBytes(slotsOf(machine), slot, slot + leaves.length))
      const hashes = leaves.map((leaf, i) => unitHash(layer, start + i, leaf))
      top = foldRange(hashes, slotsOf(machine), slot, proof)
      return proof
    }
    const tokens = (start: number, end: number): { ids: number[]; bytes: Uint8Array } => {
      const n = facts.prompt
      const ids: number[] = []
      const list = (from: number, to: number, count: number, set: (root: Uint8Array) => void): Uint8Array => {
        const hashes: Uint8Array[] = []
        const bytes: Uint8Array[] = []
        for (let i = from; i < to; i++) {
          const token = this.next() % this.core.vocab
          const salt = this.bytes(saltBytes)
          ids.push(token)
          hashes.push(tokenHash(i, token, salt))
          bytes.push(u32(token), salt)
        }
        const proof = this.bytes(rangeProofBytes(count, from, to))
        set(tokenListRoot(count, foldRange(hashes, count, from, proof)))
        return join([...bytes, proof])
      }
      const bytes: Uint8Array[] = []
      if (start < n) bytes.push(list(start, Math.min(n, end), n, (root) => Object.assign(facts, { promptRoot: root })))
      if (end > n) bytes.push(list(Math.max(0, start - n), end - n, facts.out, (root) => Object.assign(facts, { outRoot: root })))
      return { ids, bytes: join(bytes) }
    }

    const answer = (read: Read): Values | WeightTile => {
      switch (read.from) {
        case 'stage': {
          const own = stages[read.stage]
          const { values, tree } = this.stageOf(unit, own)
          roots[read.stage] = traceListRoot(own, tree.top)
          const a = Math.floor(read.start / own.perTile)
          const b = Math.ceil(read.end / own.perTile)
          parts.push(...Array.from({ length: b - a }, (_, i) => tileBytes(own, values, a + i)), tree.proof(a, b))
          return values.subarray(read.start * own.fields, read.end * own.fields)
        }
        case 'residual': {
          const own = { ...machine.residual, label: 'residual' }
          const { values, tree } = this.stageOf(unit, { ...own, root: 'residual', element: stages[0].element })
          const a = Math.floor(read.start / own.perTile)
          const b = Math.ceil(read.end / own.perTile)
          const [k, v] = [this.bytes(32), this.bytes(32)]
          parts.push(...Array.from({ length: b - a }, (_, i) => tileBytes(own, values, a + i)), tree.proof(a, b), k, v)
          parts.push(units(read.layer, read.position, [{ residual: traceListRoot(own, tree.top), k, v }]))
          return values.subarray(read.start, read.end)
        }
        case 'cache': {
          const own = read.which === 'k' ? machine.keys : machine.values
          const leaves: UnitRoots[] = []
          const records: Uint8Array[] = []
          for (let p = read.start; p < read.end; p++) {
            const record = this.bytes(own.fields)
            record[own.fields - 2] = 2
            record[own.fields - 1] = 0
            const proof = this.bytes(rangeProofBytes(own.elements, read.head, read.head + 1))
            const tile = traceTileHash(own.type, read.head, 1, record)
            const root = traceListRoot(own, foldRange([tile], tilesOf(own), read.head, proof))
            const [residual, other] = [this.bytes(32), this.bytes(32)]
            leaves.push(read.which === 'k' ? { residual, k: root, v: other } : { residual, k: other, v: root })
            records.push(record)
            parts.push(record, proof, residual, other)
          }
          parts.push(units(read.layer, read.start, leaves))
          return join(records)
        }
        case 'tokens': {
          const { ids, bytes } = tokens(read.start, read.end)
          parts.push(bytes)
          return Uint32Array.from(ids)
        }
        case 'matrix':
        case 'vector': {
          const slot =
            read.from === 'matrix' ? matrixSlot(machine.tensors[read.tensor].columns!, read.row, read.chunk) : Math.floor(read.index / vectorTileElements)
          const found = this.weight(read.tensor, slot)
          table = found.table
          parts.push(found.bytes)
          return found.tile
        }
      }
    }

    let claimed: Uint8Array = new Uint8Array()
    if (shape.root === 'token') parts.push(tokens(unit.position + 1, unit.position + 2).bytes)
    const element = shape.element(e)
    let step = element.next()
    while (!step.done) step = element.next(answer(step.value))
    if (step.value === null) throw new Error(`${shape.label}: the invented values are impossible`)
    if (shape.root !== 'token') {
      const out = newValues(shape.type, shape.fields)
      out.set(step.value)
      claimed = encodeValues(shape.type, out)
    }
    return { label: shape.label, facts, tensorTableRoot: table, commitments: { top, unit, roots }, stage, element: e, claimed, evidence: join(parts) }
  }
}
