// Buffers of an engine by what they hold: fixed ones made once, cache pages and attention scratch that grow, bind groups kept until a buffer they name is replaced.
import type { Core } from '../../model/manifest.ts'
import { EngineError, type Segment } from '../engine.ts'
import { ropeTables, splitFrequencies } from '../tables.ts'
import { headerWords, rowWords } from './batch.ts'
import { alignTo, bindingAlign, type Part, type VectorLayout, type WeightLayout } from './layout.ts'
import type { Compiled } from './pipelines.ts'
import type { Dispatch, Slot } from './plan.ts'
import type { Tuning } from './tuning.ts'

/** GPUBufferUsage by number: the constants of the WebGPU specification, section 5.1.2. */
export const usage = { mapRead: 1, copySrc: 4, copyDst: 8, uniform: 64, storage: 128, queryResolve: 512 }

/** Bytes of the parameters of one dispatch, aligned. */
export const paramsStride = bindingAlign

export interface MemoryInput {
  device: GPUDevice
  core: Core
  segment: Segment
  vectors: VectorLayout
  weights: WeightLayout
  tuning: Tuning
  rowsMax: number
  logitsRows: number
  actBase: number
  pagesMax: number
}

/** Rope tables, then the global and the local frequency pairs (hi, lo). */
function tableWords(core: Core): Uint32Array<ArrayBuffer> {
  const { C, S, c, s } = ropeTables()
  const half = core.headDim / 2
  const words = new Uint32Array(4096 + half * 4)
  for (const [i, table] of [C, S, c, s].entries()) for (let j = 0; j < 1024; j++) words[i * 1024 + j] = table[j]
  const pairs = [core.ropeGlobal, core.ropeLocal ?? core.ropeGlobal]
  for (const [i, bytes] of pairs.entries()) {
    const { hi, lo } = splitFrequencies(bytes)
    for (let j = 0; j < half; j++) {
      words[4096 + (i * half + j) * 2] = hi[j]
      words[4096 + (i * half + j) * 2 + 1] = lo[j]
    }
  }
  return words
}

/** Where the frequency pairs start in the tables, in words. */
export const frequencyAt = (core: Core): Record<'global' | 'local', number> => ({ global: 4096, local: 4096 + core.headDim })

export class Memory {
  readonly chunks: GPUBuffer[] = []
  readonly fixed = new Map<Slot, GPUBuffer>()
  readonly tailBatch: GPUBuffer
  /** Keys and values by layer. */
  private keys: GPUBuffer[] = []
  private values: GPUBuffer[] = []
  private scratch: GPUBuffer | null = null
  private pages = 0
  private generation = 0
  private groups = new Map<Dispatch, { group: GPUBindGroup; generation: number }>()
  private readonly input: MemoryInput

  constructor(input: MemoryInput) {
    this.input = input
    const { device, core, vectors, weights, actBase, pagesMax } = input
    // Kernels for several tokens work on whole quads, the last one partly for nothing.
    const rowsMax = alignTo(input.rowsMax, 4)
    const logitsRows = alignTo(input.logitsRows, 4)
    for (const [i, bytes] of weights.chunks.entries()) this.chunks.push(this.buffer(`weights ${i}`, bytes, usage.storage))
    const batchSize = headerWords + rowsMax * rowWords + pagesMax + rowsMax
    const words: Partial<Record<Slot, number>> = {
      batch: batchSize,
      words: weights.wordCount,
      vectors: weights.vectorCount,
      act: (vectors.actColumns / 2) * rowsMax,
      sums: actBase + (vectors.actColumns / 8) * rowsMax,
      residual: core.hidden * rowsMax,
      delta: core.hidden * rowsMax,
      normed: core.hidden * rowsMax,
      attention: vectors.attention * rowsMax,
      gateUp: vectors.gateStride * rowsMax,
      hidden: core.ffn * rowsMax,
      qkv: vectors.qkvStride * rowsMax,
      queries: core.heads * vectors.queryWords * rowsMax,
    }
    if (input.segment.to === core.layers) {
      Object.assign(words, { logits: vectors.logitsStride * logitsRows })
    }
    for (const [slot, count] of Object.entries(words)) this.fixed.set(slot as Slot, this.buffer(slot, count * 4, usage.storage | usage.copySrc))
    this.tailBatch = this.buffer('tail batch', (headerWords + rowsMax * rowWords) * 4, usage.storage)
    const tables = tableWords(core)
    this.fixed.set('tables', this.buffer('tables', tables.byteLength, usage.storage))
    device.queue.writeBuffer(this.fixed.get('tables')!, 0, tables)
  }

  buffer(label: string, bytes: number, kind: number): GPUBuffer {
    return this.input.device.createBuffer({ label, size: Math.max(16, alignTo(bytes, 16)), usage: kind | usage.copyDst })
  }

  /** The parameters of a plan in one uniform buffer. */
  params(plan: Dispatch[]): GPUBuffer {
    const words = new Int32Array((plan.length * paramsStride) / 4)
    for (const [i, d] of plan.entries()) for (const [j, value] of d.params.entries()) words[(i * paramsStride) / 4 + j] = value | 0
    const buffer = this.buffer('params', words.byteLength, usage.uniform)
    // Deno 2.9 panics on an empty write.
    if (words.length > 0) this.input.device.queue.writeBuffer(buffer, 0, words)
    return buffer
  }

  /** Bytes of one page of keys and values in every layer. */
  get pageBytes(): number {
    return (this.input.vectors.keyPageWords + this.input.vectors.valuePageWords) * 4 * Math.max(1, this.input.segment.to - this.input.segment.from)
  }

  /** Makes the cache hold `pages` pages (in all layers); what it holds is kept. False when it did already. Throws EngineError when one binding cannot hold them. */
  growPages(pages: number): boolean {
    if (pages <= this.pages) return false
    const { device, vectors, segment, pagesMax } = this.input
    const keyBytes = vectors.keyPageWords * 4
    const valueBytes = vectors.valuePageWords * 4
    const limit = Math.floor(Math.min(device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize) / Math.max(keyBytes, valueBytes))
    if (pages > limit) throw new EngineError(`the cache needs ${pages} pages of 64 positions, this device's largest binding holds ${limit}`, 'memory')
    // Half as much again, so that growing costs little in all and little is held in vain.
    const count = Math.min(limit, Math.max(pages, Math.min(pagesMax, Math.ceil(this.pages * 1.5), this.pages + 64), 4))
    const encoder = device.createCommandEncoder()
    const grown = (old: GPUBuffer | undefined, each: number, label: string): GPUBuffer => {
      const made = this.buffer(label, count * each, usage.storage | usage.copySrc)
      if (old) encoder.copyBufferToBuffer(old, 0, made, 0, this.pages * each)
      return made
    }
    const before = [...this.keys, ...this.values]
    const layers = segment.to - segment.from
    this.keys = Array.from({ length: layers }, (_, l) => grown(this.keys[l], keyBytes, `keys ${segment.from + l}`))
    this.values = Array.from({ length: layers }, (_, l) => grown(this.values[l], valueBytes, `values ${segment.from + l}`))
    device.queue.submit([encoder.finish()])
    for (const b of before) b.destroy()
    this.pages = count
    this.generation++
    return true
  }

  /** Makes attention scratch hold `bytes`. False when it did already. */
  growScratch(bytes: number): boolean {
    if (this.scratch && this.scratch.size >= bytes) return false
    this.scratch?.destroy()
    this.scratch = this.buffer(
      'scratch',
      Math.min(this.input.device.limits.maxStorageBufferBindingSize, Math.max(bytes, (this.scratch?.size ?? 0) * 1.5)),
      usage.storage | usage.copySrc,
    )
    this.generation++
    return true
  }

  of(slot: Slot, layer: number): GPUBuffer {
    if (slot === 'keys') return this.keys[layer - this.input.segment.from]
    if (slot === 'values') return this.values[layer - this.input.segment.from]
    if (slot === 'scratch') return this.scratch!
    return this.fixed.get(slot)!
  }

  private resource(binding: Slot | Part, dispatch: Dispatch, params: GPUBuffer, index: number, tail: boolean): GPUBufferBinding {
    if (typeof binding !== 'string') return { buffer: this.chunks[binding.chunk], offset: binding.offset, size: binding.bytes }
    if (binding === 'params') return { buffer: params, offset: index * paramsStride, size: alignTo(dispatch.params.length * 4, 16) }
    if (binding === 'batch' && tail) return { buffer: this.tailBatch }
    return { buffer: this.of(binding, dispatch.layer) }
  }

  /** The bind group of dispatch `index` of a plan whose parameters are in `params`. */
  group(compiled: Compiled, dispatch: Dispatch, params: GPUBuffer, index: number, tail: boolean): GPUBindGroup {
    const cached = this.groups.get(dispatch)
    const grows = dispatch.kernel === 'rope' || dispatch.kernel === 'attention'
    if (cached && (!grows || cached.generation === this.generation)) return cached.group
    const group = this.input.device.createBindGroup({
      label: dispatch.steps[0]?.label ?? dispatch.kernel,
      layout: compiled.layouts.get(dispatch.kernel)!,
      entries: dispatch.bindings.map((binding, i) => ({ binding: i, resource: this.resource(binding, dispatch, params, index, tail) })),
    })
    this.groups.set(dispatch, { group, generation: this.generation })
    return group
  }

  bytes(): { weights: number; other: number } {
    const size = (buffers: Iterable<GPUBuffer>): number => [...buffers].reduce((sum, b) => sum + b.size, 0)
    const { words, vectors, ...rest } = Object.fromEntries(this.fixed) as Record<Slot, GPUBuffer>
    return {
      weights: size(this.chunks) + words.size + vectors.size,
      other: size(Object.values(rest)) + size([this.tailBatch, ...this.keys, ...this.values]) + (this.scratch?.size ?? 0),
    }
  }

  destroy(): void {
    for (const b of [...this.chunks, ...this.fixed.values(), this.tailBatch, ...this.keys, ...this.values]) b.destroy()
    this.scratch?.destroy()
    this.groups.clear()
  }
}

/** Logits one workgroup of argmax looks through. */
export const argmaxChunk = 4096
