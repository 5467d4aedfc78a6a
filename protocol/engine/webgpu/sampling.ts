// The sampler on the device: from the logits of some rows to one token each, so that a token is read back as one number. Kernels: ../ops/sampling.wgsl, sample_*.wgsl, argmax.wgsl.
import { drawWords, encodeDraw } from '../draw.ts'
import type { Draw } from '../sampler.ts'
import { argmaxChunk, paramsStride, usage } from './memory.ts'
import { type Compiled, type Variant, variantOf } from './pipelines.ts'

/** Words of a row's state: STATE in ../ops/sampling.wgsl. */
const stateWords = 3144
/** Bit passes of each threshold; those of top-p come after those of top-k. */
const passes = 4

const variants = {
  chunkMax: variantOf('argmax', 1),
  last: variantOf('argmax', 0),
  adjust: variantOf('sample_adjust', 0),
  count: variantOf('sample_radix', 0),
  mass: variantOf('sample_radix', 1),
  noise: variantOf('sample_noise', 0),
} as const

export const samplingVariants: Variant[] = Object.values(variants)

export interface SamplingInput {
  device: GPUDevice
  vocab: number
  /** i32 from one row of logits to the next. */
  stride: number
  rowsMax: number
  /** // rowsMax · stride i32, Q16; overwritten. */
  logits: GPUBuffer
  compiled: Compiled
}

export class Sampling {
  /** // rows u32, the tokens. */
  readonly chosen: GPUBuffer
  private readonly input: SamplingInput
  private readonly chunks: number
  private readonly buffers: GPUBuffer[] = []
  private readonly draws: GPUBuffer
  private readonly state: GPUBuffer
  private readonly found: GPUBuffer
  private readonly params: GPUBuffer
  private readonly groups = new Map<string, GPUBindGroup>()

  constructor(input: SamplingInput) {
    const { device, vocab, stride, rowsMax } = input
    this.input = input
    this.chunks = Math.ceil(vocab / argmaxChunk)
    const buffer = (label: string, words: number, kind = usage.storage): GPUBuffer => {
      const made = device.createBuffer({ label, size: Math.ceil(words / 4) * 16, usage: kind | usage.copyDst | usage.copySrc })
      this.buffers.push(made)
      return made
    }
    this.draws = buffer('draws', drawWords * rowsMax)
    this.state = buffer('sampling', stateWords * rowsMax)
    this.found = buffer('found', this.chunks * 2 * rowsMax)
    this.chosen = buffer('chosen', rowsMax)
    // One block of parameters for each pass, the last one for the best of the chunks.
    const words = new Uint32Array(((2 * passes + 2) * paramsStride) / 4)
    for (let step = 0; step <= 2 * passes; step++) words.set([vocab, stride, argmaxChunk, step], (step * paramsStride) / 4)
    words.set([vocab, stride, this.chunks, 0], ((2 * passes + 1) * paramsStride) / 4)
    this.params = buffer('sampling params', words.length, usage.uniform)
    device.queue.writeBuffer(this.params, 0, words)
  }

  get bytes(): number {
    return this.buffers.reduce((sum, b) => sum + b.size, 0)
  }

  /** Tells the device how the rows are drawn, and clears what the passes add to. Before the pass that `encode` writes to, in the same encoder. */
  prepare(encoder: GPUCommandEncoder, draws: Draw[]): void {
    const words = new Uint32Array(drawWords * draws.length)
    for (const [i, draw] of draws.entries()) words.set(encodeDraw(draw, this.input.vocab), i * drawWords)
    this.input.device.queue.writeBuffer(this.draws, 0, words)
    encoder.clearBuffer(this.state, 0, stateWords * 4 * draws.length)
  }

  /** The passes that these draws need: two for plain greedy, up to eleven. */
  encode(pass: GPUComputePassEncoder, draws: Draw[]): void {
    const rows = draws.length
    const some = (need: (draw: Draw) => boolean): boolean => draws.some(need)
    const run = (variant: Variant, step: number, chunks = this.chunks): void => {
      pass.setPipeline(this.input.compiled.pipelines.get(variant)!)
      pass.setBindGroup(0, this.group(variant, step))
      pass.dispatchWorkgroups(chunks, rows)
    }
    const penalised = some(({ sampler }) => sampler.repeatPenalty !== 65536 && sampler.repeatWindow > 0)
    const sampled = some(({ sampler }) => sampler.temperature > 0)
    if (penalised || sampled) run(variants.adjust, 0)
    if (sampled) {
      let step = 0
      if (some(({ sampler }) => sampler.temperature > 0 && sampler.topK > 0 && sampler.topK < this.input.vocab)) {
        for (; step < passes; step++) run(variants.count, step)
      }
      if (some(({ sampler }) => sampler.temperature > 0 && sampler.topP < 65536)) {
        for (step = passes; step < 2 * passes; step++) run(variants.mass, step)
      }
      run(variants.noise, step)
    } else run(variants.chunkMax, 0)
    run(variants.last, 2 * passes + 1, 1)
  }

  destroy(): void {
    for (const b of this.buffers) b.destroy()
  }

  private group(variant: Variant, step: number): GPUBindGroup {
    const name = `${variant} ${step}`
    const known = this.groups.get(name)
    if (known) return known
    const { device, compiled, logits } = this.input
    const kernel = variant.split(':')[0] as 'argmax' | 'sample_adjust' | 'sample_radix' | 'sample_noise'
    const slots = kernel === 'argmax' ? [logits, this.found, this.chosen] : [this.draws, this.state, logits, ...(kernel === 'sample_noise' ? [this.found] : [])]
    const group = device.createBindGroup({
      label: name,
      layout: compiled.layouts.get(kernel)!,
      entries: [{ buffer: this.params, offset: step * paramsStride, size: 16 }, ...slots.map((buffer) => ({ buffer }))].map((resource, binding) => ({
        binding,
        resource,
      })),
    })
    this.groups.set(name, group)
    return group
  }
}
