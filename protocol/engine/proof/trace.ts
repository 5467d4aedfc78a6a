// A whole trace in memory: what leaves every unit (residual, keys, values), the outer tree over it, and the stages of any one unit on demand. Honest players build the
// true one; a cheat builds one with an alteration. Values come from the stage tables themselves, or for real models from a fast engine (engine-trace.ts).

import { equalBytes } from '../../hash.ts'
import { depthOf } from '../../model/merkle.ts'
import { type Machine, newValues, type Read, type Stage, type Unit, type Values, type WeightTile } from './table.ts'
import type { TokenList } from './tokens.ts'
import { Tree, traceListRoot, treeOf, type UnitRoots, unitHash } from './tree.ts'
import type { Weights } from './weights.ts'

/** What leaves one layer: per position the residual, and the key and value records of all heads. */
export interface LayerValues {
  residual: Int32Array[]
  keys: Uint8Array[]
  values: Uint8Array[]
}

/** Changes values of a stage after they are computed: how tests make cheats. */
export type Alteration = (unit: Unit, stage: Stage, values: Values) => void

/** Slot of a unit in the outer tree: layers are aligned, so the positions of a layer are neighbours. */
export const slotOf = (machine: Machine, unit: Unit): number => (unit.layer - machine.from) * strideOf(machine) + unit.position
export const strideOf = (machine: Machine): number => 1 << depthOf(machine.positions)
export const slotsOf = (machine: Machine): number => (machine.to - machine.from) * strideOf(machine)
/** The unit of a slot, or null for one that stays empty. */
export function unitOf(machine: Machine, slot: number): Unit | null {
  const stride = strideOf(machine)
  const position = slot % stride
  return position < machine.positions ? { layer: machine.from + Math.floor(slot / stride), position } : null
}

/** The stages of one unit with their values and trees. */
export class UnitTrace {
  readonly stages: readonly Stage[]
  readonly values: readonly Values[]
  private readonly trees: (Tree | undefined)[] = []
  constructor(stages: readonly Stage[], values: readonly Values[]) {
    this.stages = stages
    this.values = values
  }

  tree(stage: number): Tree {
    this.trees[stage] ??= treeOf(this.stages[stage], this.values[stage])
    return this.trees[stage]
  }

  root(stage: number): Uint8Array {
    return traceListRoot(this.stages[stage], this.tree(stage).top)
  }

  /** Roots that an expansion names, in stage order. */
  stepRoots(): Uint8Array[] {
    return this.stages.flatMap((stage, i) => (stage.root === 'step' ? [this.root(i)] : []))
  }
}

/** Runs an element's generator with answers from `answer`. */
export function runElement(stage: Stage, e: number, answer: (read: Read) => Values | WeightTile): ArrayLike<number> | null {
  const element = stage.element(e)
  let next = element.next()
  while (!next.done) next = element.next(answer(next.value))
  return next.value
}

export interface TraceSource {
  machine: Machine
  weights: Weights
  prompt: TokenList
  out: TokenList
  /** Residuals that enter at layer `from`, when that is not 0. */
  entering?: Int32Array[]
}

/** Stages of a tail take a few MB with a large vocabulary. */
const unitsKept = 8

export class Trace {
  readonly machine: Machine
  readonly weights: Weights
  readonly prompt: TokenList
  readonly out: TokenList
  readonly entering: Int32Array[]
  private readonly layers: LayerValues[] = []
  private readonly roots: UnitRoots[] = []
  private readonly cache = new Map<string, UnitTrace>()
  private readonly alter: Alteration | null
  private tree: Tree | null = null

  constructor(source: TraceSource, alter: Alteration | null = null) {
    this.machine = source.machine
    this.weights = source.weights
    this.prompt = source.prompt
    this.out = source.out
    this.entering = source.entering ?? []
    this.alter = alter
  }

  /** Adds the values that leave the next layer, and hashes them. */
  push(layer: LayerValues): void {
    const index = this.machine.from + this.layers.length
    const { residual, keys, values } = this.machine
    this.layers.push(layer)
    const slot = slotOf(this.machine, { layer: index, position: 0 })
    for (let p = 0; p < this.machine.positions; p++) {
      this.roots[slot + p] = {
        residual: traceListRoot(residual, treeOf(residual, layer.residual[p]).top),
        k: traceListRoot(keys, treeOf(keys, layer.keys[p]).top),
        v: traceListRoot(values, treeOf(values, layer.values[p]).top),
      }
    }
  }

  /**
   * Computes every layer from the stage tables: for small models and toys. Units for which `same` holds are taken from `base`, a trace over the same tokens as far as
   * those units see.
   */
  compute(base?: Trace, same: (unit: Unit) => boolean = () => true): this {
    while (this.machine.from + this.layers.length < this.machine.to) {
      const layer = this.machine.from + this.layers.length
      const now: LayerValues = { residual: [], keys: [], values: [] }
      this.layers.push(now)
      for (let position = 0; position < this.machine.positions; position++) {
        const unit = { layer, position }
        if (!base || !same(unit)) {
          this.evaluate(unit, now)
          continue
        }
        now.residual[position] = base.residual(layer, position)
        now.keys[position] = base.records('k', layer, position)
        now.values[position] = base.records('v', layer, position)
      }
      this.layers.pop()
      this.push(now)
    }
    return this
  }

  /** What leaves a layer. */
  layer(layer: number): LayerValues {
    return this.layers[layer - this.machine.from]
  }

  get outer(): Tree {
    const leaves = Array.from({ length: slotsOf(this.machine) }, (_, slot) => {
      const unit = unitOf(this.machine, slot)
      return unit && unitHash(unit.layer, unit.position, this.roots[slot])
    })
    this.tree ??= new Tree(leaves)
    return this.tree
  }

  leaf(unit: Unit): UnitRoots {
    return this.roots[slotOf(this.machine, unit)]
  }

  residual(layer: number, position: number): Int32Array {
    return layer < this.machine.from ? this.entering[position] : this.layers[layer - this.machine.from].residual[position]
  }

  /** All records of a unit. */
  records(which: 'k' | 'v', layer: number, position: number): Uint8Array {
    const values = this.layers[layer - this.machine.from]
    return (which === 'k' ? values.keys : values.values)[position]
  }

  token(index: number): number {
    return index < this.prompt.tokens.length ? this.prompt.tokens[index] : this.out.tokens[index - this.prompt.tokens.length]
  }

  /** What a read of a unit gives. */
  read(read: Read, unit: UnitTrace): Values | WeightTile {
    return this.answer(read, unit.stages, unit.values)
  }

  /** Answers a read of a unit whose stages so far are `own`. */
  private answer(read: Read, stages: readonly Stage[], own: readonly Values[]): Values | WeightTile {
    switch (read.from) {
      case 'stage': {
        const { fields } = stages[read.stage]
        return own[read.stage].subarray(read.start * fields, read.end * fields)
      }
      case 'residual':
        return this.residual(read.layer, read.position).subarray(read.start, read.end)
      case 'cache': {
        const { fields } = read.which === 'k' ? this.machine.keys : this.machine.values
        const out = new Uint8Array((read.end - read.start) * fields)
        for (let p = read.start; p < read.end; p++) {
          const records = this.records(read.which, read.layer, p)
          out.set(records.subarray(read.head * fields, (read.head + 1) * fields), (p - read.start) * fields)
        }
        return out
      }
      case 'tokens':
        return Uint32Array.from({ length: read.end - read.start }, (_, i) => this.token(read.start + i))
      case 'matrix':
        return this.weights.matrix(read.tensor, read.row, read.chunk)
      case 'vector':
        return this.weights.vector(read.tensor, read.index)
    }
  }

  /** The stages of a unit, from what the trace says flows into it; what leaves it is written to `into`, or taken from the trace. */
  private evaluate(unit: Unit, into: LayerValues | null): UnitTrace {
    const stages = this.machine.stages(unit)
    const own: Values[] = []
    for (const stage of stages) {
      const values = newValues(stage.type, stage.elements * stage.fields)
      for (let e = 0; e < stage.elements; e++) {
        const found = runElement(stage, e, (read) => this.answer(read, stages, own))
        // Only a cheat's trace has inputs that none is true for; it then holds zeros.
        if (found) values.set(found, e * stage.fields)
      }
      this.alter?.(unit, stage, values)
      if (into) {
        if (stage.root === 'residual') into.residual[unit.position] = values as Int32Array
        if (stage.root === 'k') into.keys[unit.position] = values as Uint8Array
        if (stage.root === 'v') into.values[unit.position] = values as Uint8Array
      } else if (stage.root === 'residual') values.set(this.residual(unit.layer, unit.position))
      else if (stage.root === 'k' || stage.root === 'v') values.set(this.records(stage.root, unit.layer, unit.position))
      own.push(values)
    }
    return new UnitTrace(stages, own)
  }

  /** Stages of a unit, its tail included; the last few are kept. */
  unit(unit: Unit): UnitTrace {
    const name = `${unit.layer} ${unit.position}`
    const kept = this.cache.get(name)
    if (kept) return kept
    const made = this.evaluate(unit, null)
    if (this.cache.size >= unitsKept) this.cache.delete(this.cache.keys().next().value!)
    this.cache.set(name, made)
    return made
  }
}

/** The first slot where two traces differ, or null. */
export function firstDifference(machine: Machine, a: Trace, b: Trace): Unit | null {
  for (let slot = 0; slot < slotsOf(machine); slot++) {
    const unit = unitOf(machine, slot)
    if (unit && !equalBytes(a.outer.node(0, slot), b.outer.node(0, slot))) return unit
  }
  return null
}
