// A model, a job and a claim as a machine: the steps of ../program.ts cut into stages that a judge can check one element of.

import type { Core, Tensor } from '../../model/manifest.ts'
import { modelTensors, type Program, programOf, type Step, type Vector } from '../program.ts'
import type { NoiseKey, Sampler } from '../sampler.ts'
import { frequenciesOf } from '../step.ts'
import { attention, cacheRecord, queryRecord, recordShape } from './attention.ts'
import { type Source, StageList, tileElements } from './build.ts'
import { type Act, added, bias, embed, gated, matmul, quantise, rmsnorm, rope } from './linear.ts'
import { sampling } from './sampling.ts'
import type { ListShape, Machine, Stage, Unit } from './table.ts'

/** What job and claim fix about a computation. */
export interface ClaimFacts {
  /** 32 bytes each. */
  claimId: Uint8Array
  promptRoot: Uint8Array
  outRoot: Uint8Array
  /** Tokens of prompt and answer; an answer is at least one token. */
  prompt: number
  out: number
  sampler: Sampler
  /** First two u32 of H("rng", jobId, seed32). */
  noise: NoiseKey
  /** A receipt of layers [from, to) only, and the root of its records; null for a whole answer. */
  segment: { from: number; to: number; recordsRoot: Uint8Array } | null
}

const none = new Uint8Array(32)

interface Known {
  program: Program
  index: Map<string, number>
  tensors: ReturnType<typeof modelTensors>
  frequencies: ReturnType<typeof frequenciesOf>
}

const known = new WeakMap<Core, Known>()

/** A program without a manifest: steps know shapes; formats, bits and roots come with proofs. Remembered as long as the core is (80 layers take 3 ms). */
function programOfCore(core: Core): Known {
  const before = known.get(core)
  if (before) return before
  const shapes = modelTensors(core)
  const tensors: Tensor[] = shapes.map(({ name, rows, columns }) => ({
    name,
    format: columns === null ? 'v32' : 'g8',
    rows,
    columns: columns ?? 1,
    bits: 0,
    shard: 0,
    offset: 0,
    bytes: 0,
    root: none,
  }))
  const made = {
    program: programOf({ core, tensors, shards: [] }),
    index: new Map(shapes.map(({ name }, i) => [name, i])),
    tensors: shapes,
    frequencies: frequenciesOf(core),
  }
  known.set(core, made)
  return made
}

/** The machine of a claim. `tensorTableRoot` is the model's. Throws nothing for a core that decodeCore accepted. */
export function machineOf(core: Core, tensorTableRoot: Uint8Array, claim: ClaimFacts): Machine {
  const { hidden, heads, kvHeads, headDim, vocab } = core
  const { program, index, tensors, frequencies } = programOfCore(core)
  const residual: ListShape = { type: 'i32', fields: 1, elements: hidden, perTile: tileElements }
  const positions = claim.prompt + claim.out - 1
  const { from, to } = claim.segment ?? { from: 0, to: core.layers }
  const tensorOf = (step: Step & { weight: Tensor }): number => index.get(step.weight.name)!

  const below = (layer: number, position: number): Source => ({
    ...residual,
    read: (start, end) => ({ from: 'residual', layer, position, start, end }),
  })

  /** Walks steps in order; `at` holds where each vector stands now. */
  const walk = (list: StageList, steps: readonly Step[], at: Map<Vector, Source>, unit: Unit): void => {
    const { layer, position } = unit
    let act: Act | null = null
    let query: Source | null = null
    const waiting: Partial<Record<'score' | 'weigh', Step>> = {}
    const get = (vector: Vector): Source => at.get(vector)!
    steps.forEach((step, i) => {
      switch (step.op) {
        case 'embed':
          return void at.set('residual', embed(list, step, position, tensorOf(step)))
        case 'rmsnorm':
          return void at.set(step.to, rmsnorm(list, step, get(step.from), tensorOf(step)))
        case 'quantise':
          act = quantise(list, step, get(step.from))
          return
        case 'matmul':
          return void at.set(step.to, matmul(list, step, act!, tensorOf(step)))
        case 'bias':
          return void at.set(step.to, bias(list, step, get(step.to), tensorOf(step)))
        case 'rope':
          return void at.set(step.on, rope(list, step.label, get(step.on), headDim, position, frequencies[step.frequencies]))
        case 'record_q':
          query = queryRecord(list, step.label, get('q'), heads, headDim)
          return
        case 'record_k':
          return void cacheRecord(list, step.label, 'k', get('k'), kvHeads, headDim)
        case 'record_v':
          return void cacheRecord(list, step.label, 'v', get('v'), kvHeads, headDim)
        case 'score':
        case 'weigh':
          waiting[step.op] = step
          return
        case 'mix': {
          const { score, weigh } = waiting as { score: Step & { op: 'score' }; weigh: Step & { op: 'weigh' } }
          return void at.set('attention', attention(list, { layer, position, heads, kvHeads, headDim }, { score, weigh, mix: step }, query!))
        }
        case 'gate':
          return void at.set('hidden', gated(list, step, get('gate'), get('up')))
        case 'add':
          return void at.set('residual', added(list, step.label, get('residual'), get('delta'), i === steps.length - 1 ? 'residual' : 'step'))
      }
    })
  }

  const build = (unit: Unit): Stage[] => {
    const list = new StageList()
    const at = new Map<Vector, Source>()
    if (unit.layer > 0) at.set('residual', below(unit.layer - 1, unit.position))
    if (unit.layer === core.layers) {
      walk(list, program.tail, at, unit)
      sampling(list, at.get('logits')!, claim.sampler, claim.noise, unit.position)
    } else {
      walk(list, unit.layer === 0 ? [...program.embed, ...program.layers[0]] : program.layers[unit.layer], at, unit)
    }
    return list.stages
  }

  return {
    from,
    to,
    positions,
    tailFrom: to === core.layers ? claim.prompt - 1 : 0,
    tailTo: to === core.layers ? positions : 0,
    residual,
    keys: recordShape(kvHeads, headDim, 'k'),
    values: recordShape(kvHeads, headDim, 'v'),
    tensors,
    tensorTableRoot,
    claimId: claim.claimId,
    tokens: { promptRoot: claim.promptRoot, prompt: claim.prompt, outRoot: claim.outRoot, out: claim.out, vocab },
    boundary: claim.segment?.recordsRoot ?? null,
    stages: build,
  }
}
