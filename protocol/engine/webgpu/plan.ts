// A program as dispatches. The fast plan fuses steps that touch the same numbers; the traced plan cuts the same kernels into stages, so that every step's values
// can be read. Both are lists of plain data: kernel, parameters, buffers by name.
import type { Core } from '../../model/manifest.ts'
import type { Segment } from '../engine.ts'
import type { Program, Step } from '../program.ts'
import { type Matrix, matmulRuns, type Part, segmentSteps, type VectorLayout, type WeightLayout } from './layout.ts'
import { type Kernel, type Variant, variantOf } from './pipelines.ts'
import type { Tuning } from './tuning.ts'

/** A buffer by what it holds; `keys` and `values` are those of the dispatch's layer, `batch` the rows of the pass it is in. */
export type Slot =
  | 'batch'
  | 'act'
  | 'sums'
  | 'residual'
  | 'delta'
  | 'normed'
  | 'attention'
  | 'gateUp'
  | 'hidden'
  | 'qkv'
  | 'queries'
  | 'keys'
  | 'values'
  | 'scratch'
  | 'vectors'
  | 'tables'
  | 'words'
  | 'logits'
  | 'params'
export type Binding = Slot | Part

export interface Dispatch {
  kernel: Kernel
  /** The kernel for several tokens, when it is another one. */
  many: Kernel | null
  /** Its compile-time constant, see Variant in pipelines.ts. */
  constant: number
  params: number[]
  bindings: Binding[]
  /** Workgroups along x for one token and for several; along y: rows, or rows / 4 / tokens for `many`. */
  x: number
  xMany: number
  /** z counts tiles of visible positions. */
  tiled: boolean
  /** Only when at most / more than tuning.tileFrom positions are visible. */
  when: 'always' | 'short' | 'long'
  layer: number
  /** Multiplications per row: what a submit is cut by. */
  work: number
  /** Steps whose values are complete after this dispatch. */
  steps: Step[]
}

export interface Plan {
  main: Dispatch[]
  tail: Dispatch[]
}

export interface PlanInput {
  program: Program
  segment: Segment
  weights: WeightLayout
  vectors: VectorLayout
  tuning: Tuning
  /** i32 of `sums` before the group sums: the exponents of all rows. */
  actBase: number
  /** u32 of `tables` where the frequency pairs start. */
  frequencyAt: Record<'global' | 'local', number>
  traced: boolean
}

export const stage = { bias: 1, norm: 2, rope: 4, record: 8, keep: 16, score: 1, weigh: 2, mix: 4, post: 1, add: 2, normed: 4 }

type Norm = Step & { op: 'rmsnorm' }

class Planner {
  readonly out: Dispatch[] = []
  private readonly input: PlanInput
  private readonly core: Core
  private layer = -1
  constructor(input: PlanInput) {
    this.input = input
    this.core = input.program.core
  }

  private push(kernel: Kernel, params: number[], bindings: Binding[], x: number, steps: Step[], more: Partial<Dispatch> = {}): void {
    this.out.push({ kernel, many: null, constant: 0, params, bindings, x, xMany: x, tiled: false, when: 'always', layer: this.layer, work: 0, steps, ...more })
  }

  plan(steps: Step[]): Dispatch[] {
    const runs = new Map(matmulRuns(steps).map((run) => [run[0], run]))
    for (let i = 0; i < steps.length; ) {
      const step = steps[i]
      const layer = Number.parseInt(step.label, 10)
      if (!Number.isNaN(layer)) this.layer = layer
      let taken = 1
      if (step.op === 'embed') this.embed(step)
      else if (step.op === 'matmul') {
        const run = runs.get(step)
        if (run) this.matmul(run)
      } else if (step.op === 'bias' || step.op === 'rope' || (step.op === 'rmsnorm' && (step.to === 'q' || step.to === 'k'))) {
        // All of q, k, v's own steps come between their matrices and score: gather them, biases of the run before included.
        if (step.op === 'bias') {
          i++
          continue
        }
        taken = steps.slice(i).findIndex((s) => s.op === 'score')
        const biases = steps.slice(Math.max(0, i - 6), i).filter((s) => s.op === 'bias')
        this.heads([...biases, ...steps.slice(i, i + taken)])
      } else if (step.op === 'score') {
        taken = 3
        this.attention(steps.slice(i, i + 3))
      } else if (step.op === 'gate') {
        taken = 2
        this.gate(step, steps[i + 1])
      } else if (step.op === 'quantise') this.quantise(step)
      else {
        // rmsnorm of a branch, add, rmsnorm of the residual and its quantise, as far as they follow each other.
        taken = 0
        const here: Step[] = []
        const next = (test: (s: Step) => boolean): Step | undefined => {
          const s = steps[i + taken]
          if (!s || !test(s)) return undefined
          taken++
          here.push(s)
          return s
        }
        const post = next((s) => s.op === 'rmsnorm' && s.to === 'delta') as Norm | undefined
        const add = next((s) => s.op === 'add')
        const norm = next((s) => s.op === 'rmsnorm' && s.from === 'residual') as Norm | undefined
        if (norm) next((s) => s.op === 'quantise')
        this.norm(here, post, add !== undefined, norm)
      }
      i += taken
    }
    return this.out
  }

  private parts(matrix: Matrix, each: (part: Part, last: boolean) => void): void {
    for (const [i, part] of matrix.parts.entries()) each(part, i === matrix.parts.length - 1)
  }

  private embed(step: Step & { op: 'embed' }): void {
    const matrix = this.input.weights.matrices.get(step.weight.name)!
    this.parts(matrix, (part, last) => {
      const params = [matrix.groups, part.panelFrom, part.panels, matrix.wordAt, step.factor, step.outBits, 0, 0]
      this.push(
        'embed',
        params,
        ['batch', 'params', part, 'words', 'residual'],
        Math.ceil((matrix.groups * 4) / this.input.tuning.threads),
        last ? [step] : [],
        { constant: { w8: 0, w4: 1, g8: 2 }[matrix.format] },
      )
    })
  }

  private norm(steps: Step[], post: Norm | undefined, add: boolean, norm: Norm | undefined): void {
    const { weights, actBase } = this.input
    const at = (s: Norm | undefined): number => (s ? weights.vectorAt.get(s.weight.name)! / 4 : 0)
    const shift = (s: Norm | undefined): number => (s ? 20 + s.weight.bits - s.outBits : 0)
    const flags = (post ? stage.post : 0) | (add ? stage.add : 0) | (norm ? stage.normed : 0)
    const params = [
      this.core.hidden / 8,
      actBase,
      (norm ?? post)?.rootN ?? 0,
      0,
      at(norm),
      shift(norm),
      norm?.epsilon ?? 0,
      norm?.outBits ?? 0,
      at(post),
      shift(post),
      post?.epsilon ?? 0,
      0,
    ]
    this.push('rmsnorm', params, ['batch', 'params', 'act', 'sums', 'residual', 'delta', 'vectors', 'normed'], 1, steps, { constant: flags })
  }

  private quantise(step: Step & { op: 'quantise' }): void {
    this.push(
      'quantise',
      [step.length / 8, this.input.vectors.attention / 4, step.inBits, this.input.actBase],
      ['batch', 'params', 'act', 'sums', 'attention'],
      1,
      [step],
    )
  }

  private gate(step: Step & { op: 'gate' }, act: Step): void {
    const { gateStride, upAt } = this.input.vectors
    const params = [this.core.ffn / 8, gateStride / 4, upAt / 4, step.outBits, this.input.actBase, 0, 0, 0]
    this.push('gate', params, ['batch', 'params', 'act', 'sums', 'gateUp', 'hidden'], 1, [step, act], { constant: step.kind === 'gelu' ? 1 : 0 })
  }

  private matmul(run: (Step & { op: 'matmul' })[]): void {
    const { weights, vectors, tuning, actBase } = this.input
    const matrix = weights.matrices.get(run[0].weight.name)!
    const { kAt, vAt, upAt, qkvStride, gateStride, logitsStride } = vectors
    const hidden: [Slot, number, number] = ['delta', this.core.hidden, 0]
    const targets: Record<string, [Slot, number, number]> = {
      q: ['qkv', qkvStride, 0],
      k: ['qkv', qkvStride, kAt],
      v: ['qkv', qkvStride, vAt],
      gate: ['gateUp', gateStride, 0],
      up: ['gateUp', gateStride, upAt],
      delta: hidden,
      branch: hidden,
      logits: ['logits', logitsStride, 0],
    }
    const [slot, stride, at] = targets[run[0].to]
    const kind = ({ w8: 'matmul8', w4: 'matmul4', g8: 'matmulg' } as const)[matrix.format]
    this.parts(matrix, (part, last) => {
      const params = [
        matrix.groups,
        part.panels,
        (matrix.wordAt + part.panelFrom * 16) / 4,
        stride / 4,
        (at + part.panelFrom * 16) / 4,
        run[0].outBits,
        actBase / 4,
        0,
      ]
      const lanes = part.panels * 4
      const pairs = tuning.pairs && kind !== 'matmul8'
      const lanesOne = pairs ? Math.ceil(part.panels / 2) * 4 : lanes
      const one = pairs ? (`${kind}_pair` as const) : (`${kind}_one` as const)
      this.push(one, params, ['batch', 'params', part, 'words', 'act', 'sums', slot], Math.ceil(lanesOne / tuning.lanesOne), last ? run : [], {
        many: `${kind}_many`,
        xMany: Math.ceil(lanes / tuning.lanesMany),
        work: part.panels * 16 * matrix.groups * 32,
      })
    })
  }

  private heads(steps: Step[]): void {
    const { weights, vectors, frequencyAt, traced } = this.input
    const { heads, kvHeads, headDim } = this.core
    const find = <Op extends Step['op']>(op: Op, test: (s: Step & { op: Op }) => boolean): (Step & { op: Op }) | undefined =>
      steps.find((s): s is Step & { op: Op } => s.op === op && test(s as Step & { op: Op }))
    const bias = find('bias', (s) => s.to === 'q')
    const qNorm = find('rmsnorm', (s) => s.to === 'q')
    const kNorm = find('rmsnorm', (s) => s.to === 'k')
    const rope = find('rope', () => true)!
    const at = (s: { weight: { name: string } } | undefined): number => (s ? weights.vectorAt.get(s.weight.name)! : 0)
    const shift = (s: Norm | undefined): number => (s ? 20 + s.weight.bits - s.outBits : 0)
    const push = (stages: number, done: Step[]): void => {
      const params = [
        heads,
        kvHeads,
        headDim,
        0,
        vectors.qkvStride,
        vectors.kAt,
        vectors.vAt,
        at(bias),
        at(qNorm),
        at(kNorm),
        shift(qNorm),
        shift(kNorm),
        qNorm?.epsilon ?? 0,
        qNorm?.rootN ?? 0,
        frequencyAt[rope.frequencies],
        vectors.recordWords,
      ]
      this.push('rope', params, ['batch', 'params', 'qkv', 'vectors', 'tables', 'queries', 'keys', 'values'], heads + 2 * kvHeads, done, { constant: stages })
    }
    const stages: [number, Step[]][] = [
      [stage.bias, steps.filter((s) => s.op === 'bias')],
      [stage.norm, steps.filter((s) => s.op === 'rmsnorm')],
      [stage.rope, steps.filter((s) => s.op === 'rope')],
      [stage.record, steps.filter((s) => s.op.startsWith('record'))],
    ]
    const present = stages.filter(([, done]) => done.length > 0)
    if (traced) for (const [flag, done] of present) push(flag | (flag === stage.record ? 0 : stage.keep), done)
    else
      push(
        present.reduce((flags, [flag]) => flags | flag, 0),
        steps,
      )
  }

  private attention(steps: Step[]): void {
    const { vectors, tuning, traced } = this.input
    const { heads, kvHeads } = this.core
    const score = steps[0] as Step & { op: 'score' }
    const all = 0xffff
    const push = (stages: number, tile: number, done: Step[], when: Dispatch['when']): void => {
      const params = [heads, heads / kvHeads, vectors.recordWords, tile, score.window, score.am, score.ae, vectors.attention / 4, kvHeads, 0, 0, 0]
      this.push('attention', params, ['batch', 'params', 'queries', 'keys', 'values', 'scratch', 'attention'], heads, done, {
        when,
        tiled: tile !== all,
        constant: stages,
      })
    }
    if (traced) {
      push(stage.score, tuning.tile, [steps[0]], 'always')
      push(stage.weigh, all, [steps[1]], 'always')
      push(stage.mix, all, [steps[2]], 'always')
    } else {
      push(stage.score | stage.weigh | stage.mix, all, steps, 'short')
      push(stage.score, tuning.tile, [], 'long')
      push(stage.weigh | stage.mix, all, steps, 'long')
    }
  }
}

/** Pipelines a plan needs. */
export function variantsOf(plan: Dispatch[]): Variant[] {
  return plan.flatMap((d) => [variantOf(d.kernel, d.constant), ...(d.many ? [variantOf(d.many, d.constant)] : [])])
}

/** The dispatches of a segment. */
export function planOf(input: PlanInput): Plan {
  const { steps, tail } = segmentSteps(input.program, input.segment)
  return { main: new Planner(input).plan(steps), tail: new Planner(input).plan(tail) }
}
