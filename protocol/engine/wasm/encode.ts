// A program (program.ts) as the machine's instruction list. Steps that need no meeting of threads between them share a phase: row by row (norm, quantise, add), head by head
// (bias, head norms, rope, record), panel by panel (matmuls over the same act; gate and up with the gate itself). Grouping changes who waits for whom, never a value.
import type { Tensor } from '../../model/manifest.ts'
import type { Step, Vector } from '../program.ts'
import * as L from './layout.ts'

/** Address of row 0 and bytes from row to row. */
export interface Place {
  at: number
  stride: number
}

/** Where things lie in linear memory. */
export interface Addresses {
  vectors: Record<Vector, Place>
  /** The residual rows of the tail: only those that want logits. */
  tailResidual: Place
  tensor(tensor: Tensor): number
  angles: Record<'global' | 'local', { cos: number; sin: number; hi: number; lo: number }>
  tables: number
  /** Offset in a page of the layer of the step's label. */
  layerOffset(label: string): number
  hidden: number
  headDim: number
  heads: number
  kvHeads: number
}

export interface Phase {
  kind: number
  tail: boolean
  ops: Op[]
  labels: string[]
}

type Op = number[]

const opSlots: Record<Step['op'], number> = {
  embed: L.opEmbed,
  rmsnorm: L.opRmsnorm,
  quantise: L.opQuantise,
  matmul: L.opMatmul,
  bias: L.opBias,
  rope: L.opRope,
  record_q: L.opRecord,
  record_k: L.opRecord,
  record_v: L.opRecord,
  score: L.opScore,
  weigh: L.opWeigh,
  mix: L.opMix,
  gate: L.opGate,
  add: L.opAdd,
}
const which = { q: 0, k: 1, v: 2 }
/** v32 is no matrix. */
const formats = { w8: L.formatW8, w4: L.formatW4, g8: L.formatG8, v32: -1 }

/** Row words stand after the panels. */
const wordsOf = (tensor: Tensor): number => tensor.bytes - Math.ceil(tensor.rows / 16) * 64

function encodeStep(step: Step, a: Addresses, tail: boolean): Op {
  const place = (v: Vector): [number, number] => {
    const { at, stride } = v === 'residual' && tail ? a.tailResidual : a.vectors[v]
    return [at, stride]
  }
  const kind = opSlots[step.op]
  const headOp = (v: 'q' | 'k' | 'v', ...rest: number[]): Op => {
    const op = [kind, ...place(v), a.headDim, v === 'q' ? a.heads : a.kvHeads, ...rest]
    op[15] = which[v]
    return op
  }
  switch (step.op) {
    case 'embed':
      return [
        kind,
        ...place('residual'),
        a.tensor(step.weight),
        a.tensor(step.weight) + wordsOf(step.weight),
        step.weight.columns,
        formats[step.weight.format],
        step.factor,
        step.outBits,
      ]
    case 'rmsnorm': {
      const op = [
        kind,
        ...place(step.from),
        ...place(step.to),
        a.tensor(step.weight),
        step.weight.bits,
        step.heads,
        step.length,
        step.epsilon,
        step.rootN,
        step.outBits,
      ]
      if (step.to === 'q' || step.to === 'k') op[15] = which[step.to]
      return op
    }
    case 'quantise':
      return [kind, ...place(step.from), step.length, step.inBits]
    case 'matmul': {
      const { weight } = step
      return [
        kind,
        ...place(step.to),
        a.tensor(weight),
        a.tensor(weight) + wordsOf(weight),
        weight.columns,
        Math.ceil(weight.rows / 16),
        formats[weight.format],
        step.outBits,
      ]
    }
    case 'bias':
      return headOp(step.to, a.tensor(step.weight))
    case 'rope':
      return headOp(step.on, a.angles[step.frequencies].cos, a.angles[step.frequencies].sin)
    case 'record_q':
      return headOp('q', 0)
    case 'record_k':
      return headOp('k', a.layerOffset(step.label))
    case 'record_v':
      return headOp('v', a.layerOffset(step.label))
    case 'score':
      return [kind, step.window, step.am, step.ae, a.layerOffset(step.label)]
    case 'weigh':
    case 'mix':
      return [kind, step.window, 0, 0, a.layerOffset(step.label)]
    case 'gate':
      return [kind, ...place('gate'), ...place('up'), a.vectors.gate.stride / 4, step.kind === 'gelu' ? 1 : 0, step.outBits]
    case 'add':
      return [kind, ...place('residual'), ...place('delta'), a.hidden]
  }
}

/** What comes before the steps: cos and sin of every row's position. */
export function anglesPhase(a: Addresses): Phase {
  const sets = a.angles.local === a.angles.global ? [a.angles.global] : [a.angles.global, a.angles.local]
  return { kind: L.phaseRows, tail: false, labels: ['angles'], ops: sets.map((s) => [L.opAngles, s.cos, s.sin, s.hi, s.lo, a.headDim / 2, a.tables]) }
}

/** What comes before the rows that want logits go on alone: their residuals. */
export function gatherPhase(a: Addresses): Phase {
  const { residual } = a.vectors
  return {
    kind: L.phaseRows,
    tail: true,
    labels: ['gather'],
    ops: [[L.opGather, residual.at, residual.stride, a.tailResidual.at, a.tailResidual.stride, a.hidden * 4]],
  }
}

const onHeads = (step: Step): boolean =>
  step.op === 'bias' || step.op === 'rope' || step.op.startsWith('record') || (step.op === 'rmsnorm' && (step.to === 'q' || step.to === 'k'))

/** One step as a phase of its own, for traces. */
export function phaseOf(step: Step, a: Addresses, tail: boolean): Phase {
  return { kind: step.op === 'matmul' ? L.phaseMatmul : L.phaseRows, tail, labels: [step.label], ops: [encodeStep(step, a, tail)] }
}

/** Steps as few phases. */
export function phasesOf(body: Step[], tail: Step[], a: Addresses): Phase[] {
  const phases: Phase[] = [anglesPhase(a)]
  const push = (kind: number, inTail: boolean, step: Step): void => {
    const last = phases[phases.length - 1]
    const op = encodeStep(step, a, inTail)
    if (last && last.kind === kind && last.tail === inTail) {
      last.ops.push(op)
      last.labels.push(step.label)
    } else phases.push({ kind, tail: inTail, ops: [op], labels: [step.label] })
  }
  const add = (step: Step, inTail: boolean): void => {
    const last = phases[phases.length - 1]
    const before = phases[phases.length - 2]
    if (step.op === 'matmul' && last?.kind === L.phaseHeads && before?.kind === L.phaseMatmul) {
      // qwen2's biases stand between the matmuls; those read the same act and write other vectors.
      before.ops.push(encodeStep(step, a, inTail))
      before.labels.push(step.label)
    } else if (step.op === 'matmul') push(L.phaseMatmul, inTail, step)
    else if (step.op === 'score' || step.op === 'weigh' || step.op === 'mix') push(L.phaseAttention, inTail, step)
    else if (step.op === 'gate' && last?.kind === L.phaseMatmul && last.ops.length === 2) {
      last.kind = L.phaseFfn
      last.ops.push(encodeStep(step, a, inTail))
      last.labels.push(step.label)
    } else push(onHeads(step) ? L.phaseHeads : L.phaseRows, inTail, step)
  }
  // Nothing reads what the last layer leaves in rows that want no logits but their keys and values: from its attention on, only the others go on (a 30th of a prefill).
  const split = tail.length > 0 ? body.findLastIndex((step) => step.op === 'score') : body.length
  for (const step of body.slice(0, split)) add(step, false)
  if (tail.length > 0) {
    phases.push(gatherPhase(a))
    for (const step of [...body.slice(split), ...tail]) add(step, true)
  }
  return phases
}

/** Bytes of an encoded list. */
export const encodedBytes = (phases: Phase[]): number => phases.reduce((sum, phase) => sum + L.phaseBytes + phase.ops.length * L.opBytes, L.phaseBytes)

/** Writes an instruction list at `at`; `words` is a view of all of memory. */
export function writePhases(words: Int32Array, at: number, phases: Phase[]): void {
  let next = at
  phases.forEach((phase, index) => {
    const here = next
    next += L.phaseBytes + phase.ops.length * L.opBytes
    words.set([phase.kind, phase.ops.length, next, index, phase.tail ? 1 : 0, 0, 0, 0], here / 4)
    phase.ops.forEach((op, i) =>
      words.set(
        Array.from({ length: L.opBytes / 4 }, (_, w) => op[w] ?? 0),
        (here + L.phaseBytes + i * L.opBytes) / 4,
      ),
    )
  })
  words.set([L.phaseEnd, 0, 0, 0, 0, 0, 0, 0], next / 4)
}
