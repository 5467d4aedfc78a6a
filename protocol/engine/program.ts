// A program is data: the list of steps a model runs, the same for the three engines, for segments, for traces and for disputes.
// Adding an architecture is adding a branch here. Ops and vectors are those of protocol/README.md sections 3 and 4.
import type { Core, Manifest, Tensor } from '../model/manifest.ts'
import { epsilonOf, scoreScale } from './tables.ts'

export type Vector = 'residual' | 'delta' | 'branch' | 'normed' | 'q' | 'k' | 'v' | 'attention' | 'gate' | 'up' | 'hidden' | 'logits'

export type Step = { label: string } & (
  | { op: 'embed'; weight: Tensor; factor: number; outBits: number }
  /** `heads` vectors of `length`, each normed by itself with the same weight. */
  | { op: 'rmsnorm'; from: Vector; to: Vector; weight: Tensor; heads: number; length: number; inBits: number; outBits: number; epsilon: number; rootN: number }
  /** Writes `act`. */
  | { op: 'quantise'; from: Vector; length: number; inBits: number }
  /** Reads `act`. */
  | { op: 'matmul'; weight: Tensor; to: Vector; outBits: number }
  | { op: 'bias'; to: 'q' | 'k' | 'v'; weight: Tensor }
  | { op: 'rope'; on: 'q' | 'k'; heads: number; frequencies: 'global' | 'local' }
  /** Query records live for this row only; key and value records go into the layer's cache at the row's position. */
  | { op: 'record_q' | 'record_k' | 'record_v'; heads: number }
  | { op: 'score'; window: number; am: number; ae: number }
  | { op: 'weigh'; window: number }
  | { op: 'mix'; window: number }
  | { op: 'gate'; kind: 'silu' | 'gelu'; outBits: number }
  | { op: 'add' }
)

export interface Program {
  core: Core
  embed: Step[]
  layers: Step[][]
  /** Final norm and head; ends with the vector `logits`. */
  tail: Step[]
}

export const vectorBits = 16
/** Fractional bits of `branch`, the matmul output that gemma's post-norms read: wide range, since what follows normalises it. */
export const branchBits = 8

/** Length of a vector in elements per row. */
export function vectorLength(core: Core, vector: Vector): number {
  if (vector === 'q' || vector === 'attention') return core.heads * core.headDim
  if (vector === 'k' || vector === 'v') return core.kvHeads * core.headDim
  if (vector === 'gate' || vector === 'up' || vector === 'hidden') return core.ffn
  return vector === 'logits' ? core.vocab : core.hidden
}

/** Tensors a layer of this architecture has, in canonical order; shapes as (rows, columns), null columns for v32. */
export function layerTensors(core: Core): { name: string; rows: number; columns: number | null }[] {
  const { hidden, ffn, heads, kvHeads, headDim, architecture } = core
  const gemma = architecture === 'gemma3'
  const headNorms = gemma || architecture === 'qwen3'
  return [
    { name: 'attention_norm', rows: hidden, columns: null },
    { name: 'wq', rows: heads * headDim, columns: hidden },
    { name: 'wk', rows: kvHeads * headDim, columns: hidden },
    { name: 'wv', rows: kvHeads * headDim, columns: hidden },
    ...(architecture === 'qwen2'
      ? [
          { name: 'bq', rows: heads * headDim, columns: null },
          { name: 'bk', rows: kvHeads * headDim, columns: null },
          { name: 'bv', rows: kvHeads * headDim, columns: null },
        ]
      : []),
    ...(headNorms
      ? [
          { name: 'q_norm', rows: headDim, columns: null },
          { name: 'k_norm', rows: headDim, columns: null },
        ]
      : []),
    { name: 'wo', rows: hidden, columns: heads * headDim },
    ...(gemma ? [{ name: 'attention_post_norm', rows: hidden, columns: null }] : []),
    { name: 'ffn_norm', rows: hidden, columns: null },
    { name: 'w_gate', rows: ffn, columns: hidden },
    { name: 'w_up', rows: ffn, columns: hidden },
    { name: 'w_down', rows: hidden, columns: ffn },
    ...(gemma ? [{ name: 'ffn_post_norm', rows: hidden, columns: null }] : []),
  ]
}

/** Every tensor of a model in canonical order: embed, layers, output_norm, head (unless tied). */
export function modelTensors(core: Core): { name: string; rows: number; columns: number | null }[] {
  const layers = Array.from({ length: core.layers }, (_, l) => layerTensors(core).map((t) => ({ ...t, name: `layers.${l}.${t.name}` })))
  return [
    { name: 'embed', rows: core.vocab, columns: core.hidden },
    ...layers.flat(),
    { name: 'output_norm', rows: core.hidden, columns: null },
    ...(core.tied ? [] : [{ name: 'head', rows: core.vocab, columns: core.hidden }]),
  ]
}

/** The steps of a model. Throws an assertion error when the manifest lacks a tensor (import.ts checks manifests from strangers). */
export function programOf(manifest: Manifest): Program {
  const { core } = manifest
  const byName = new Map(manifest.tensors.map((t) => [t.name, t]))
  const tensor = (name: string): Tensor => {
    const found = byName.get(name)
    if (!found) throw new Error(`manifest lacks tensor ${name}`)
    return found
  }
  const { hidden, ffn, heads, kvHeads, headDim, residualBits, hiddenBits } = core
  const gemma = core.architecture === 'gemma3'
  const norm = (label: string, from: Vector, to: Vector, weight: Tensor, heads: number, length: number, inBits: number, outBits = vectorBits): Step => ({
    label,
    op: 'rmsnorm',
    from,
    to,
    weight,
    heads,
    length,
    inBits,
    outBits,
    ...epsilonOf(core.epsBits, length, inBits),
  })
  const { am, ae } = scoreScale(core.attentionScaleOf)

  const layer = (l: number): Step[] => {
    const t = (name: string) => tensor(`layers.${l}.${name}`)
    const at = (name: string) => `${l}.${name}`
    const sliding = core.slidingWindow > 0 && (l + 1) % core.slidingPattern !== 0
    const window = sliding ? core.slidingWindow : 0
    const frequencies = sliding && core.ropeLocal ? 'local' : 'global'
    const steps: Step[] = [
      norm(at('attention_norm'), 'residual', 'normed', t('attention_norm'), 1, hidden, residualBits),
      { label: at('attention_act'), op: 'quantise', from: 'normed', length: hidden, inBits: vectorBits },
    ]
    for (const v of ['q', 'k', 'v'] as const) {
      steps.push({ label: at(`w${v}`), op: 'matmul', weight: t(`w${v}`), to: v, outBits: vectorBits })
      if (core.architecture === 'qwen2') steps.push({ label: at(`b${v}`), op: 'bias', to: v, weight: t(`b${v}`) })
    }
    if (gemma || core.architecture === 'qwen3') {
      steps.push(norm(at('q_norm'), 'q', 'q', t('q_norm'), heads, headDim, vectorBits), norm(at('k_norm'), 'k', 'k', t('k_norm'), kvHeads, headDim, vectorBits))
    }
    steps.push(
      { label: at('rope_q'), op: 'rope', on: 'q', heads, frequencies },
      { label: at('rope_k'), op: 'rope', on: 'k', heads: kvHeads, frequencies },
      { label: at('record_q'), op: 'record_q', heads },
      { label: at('record_k'), op: 'record_k', heads: kvHeads },
      { label: at('record_v'), op: 'record_v', heads: kvHeads },
      { label: at('score'), op: 'score', window, am, ae },
      { label: at('weigh'), op: 'weigh', window },
      { label: at('mix'), op: 'mix', window },
      { label: at('mix_act'), op: 'quantise', from: 'attention', length: heads * headDim, inBits: vectorBits },
      { label: at('wo'), op: 'matmul', weight: t('wo'), to: gemma ? 'branch' : 'delta', outBits: gemma ? branchBits : residualBits },
    )
    if (gemma) steps.push(norm(at('attention_post_norm'), 'branch', 'delta', t('attention_post_norm'), 1, hidden, branchBits, residualBits))
    steps.push(
      { label: at('attention_add'), op: 'add' },
      norm(at('ffn_norm'), 'residual', 'normed', t('ffn_norm'), 1, hidden, residualBits),
      { label: at('ffn_act'), op: 'quantise', from: 'normed', length: hidden, inBits: vectorBits },
      { label: at('w_gate'), op: 'matmul', weight: t('w_gate'), to: 'gate', outBits: vectorBits },
      { label: at('w_up'), op: 'matmul', weight: t('w_up'), to: 'up', outBits: vectorBits },
      { label: at('gate'), op: 'gate', kind: gemma ? 'gelu' : 'silu', outBits: hiddenBits },
      { label: at('hidden_act'), op: 'quantise', from: 'hidden', length: ffn, inBits: hiddenBits },
      { label: at('w_down'), op: 'matmul', weight: t('w_down'), to: gemma ? 'branch' : 'delta', outBits: gemma ? branchBits : residualBits },
    )
    if (gemma) steps.push(norm(at('ffn_post_norm'), 'branch', 'delta', t('ffn_post_norm'), 1, hidden, branchBits, residualBits))
    steps.push({ label: at('ffn_add'), op: 'add' })
    return steps
  }

  const { rootN } = epsilonOf(core.epsBits, hidden, residualBits)
  return {
    core,
    embed: [{ label: 'embed', op: 'embed', weight: tensor('embed'), factor: gemma ? rootN : 65536, outBits: residualBits }],
    layers: Array.from({ length: core.layers }, (_, l) => layer(l)),
    tail: [
      norm('output_norm', 'residual', 'normed', tensor('output_norm'), 1, hidden, residualBits),
      { label: 'head_act', op: 'quantise', from: 'normed', length: hidden, inBits: vectorBits },
      { label: 'head', op: 'matmul', weight: tensor(core.tied ? 'embed' : 'head'), to: 'logits', outBits: vectorBits },
    ],
  }
}
