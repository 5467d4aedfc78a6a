// The WebGPU engine: the program as compute dispatches, one pass, one submit and one readback per token. Integers only, so every adapter gives the same bytes.
// Here: what a caller may ask, sequences and their cache pages. What runs where is plan.ts, how it is encoded runner.ts, the kernels are ../ops/*.wgsl.
import type { Manifest, ModelSource } from '../../model/manifest.ts'
import { EngineError, type EngineOptions, type Row, type RunResult, type Segment, type SegmentEngine, type StepValues, type Want } from '../engine.ts'
import { programOf } from '../program.ts'
import { type Draw, greedy } from '../sampler.ts'
import { checkRun, segmentOf } from '../segment.ts'
import { type Batch, batchesOf, batchWords } from './batch.ts'
import { alignTo, placeWeights, segmentSteps, type VectorLayout, vectorLayout } from './layout.ts'
import { frequencyAt, Memory } from './memory.ts'
import { type Compiled, compile } from './pipelines.ts'
import { type PlanInput, planOf, variantsOf } from './plan.ts'
import type { OpTime } from './profile.ts'
import { Runner } from './runner.ts'
import { samplingVariants } from './sampling.ts'
import { pagePositions, Sequences } from './sequences.ts'
import type { TraceShape } from './trace.ts'
import { type Tuning, tuningOf } from './tuning.ts'
import { uploadWeights } from './upload.ts'

export interface WebGpuOptions extends EngineOptions {
  /** Text of ../ops/<name>.wgsl by name (shaderNames in pipelines.ts): protocol reads no files. */
  shaders: Record<string, string>
  /** navigator.gpu.wgslLanguageFeatures. */
  languageFeatures?: ReadonlySet<string>
  /** Adapter information, where GPUDevice.adapterInfo is missing. */
  adapterInfo?: { vendor?: string; architecture?: string; description?: string; device?: string; isFallbackAdapter?: boolean }
  /** Changes to the tuning chosen for the adapter; speed only. */
  tuning?: Partial<Tuning>
  /** For hosts whose mapAsync resolves late by itself (Firefox, Deno): see readback.ts. `tick` is the host's own way to wait a turn of its event loop. */
  slowReadback?: boolean
  tick?: () => Promise<void>
  /** Milliseconds, for startup figures; without it they are 0. */
  now?: () => number
}

interface Parts {
  device: GPUDevice
  manifest: Manifest
  segment: Segment
  description: string
  tuning: Tuning
  compileMs: number
  planInput: PlanInput
  vectors: VectorLayout
  memory: Memory
  runner: Runner
  kvTokensMax: number
  logitsRows: number
  lost: Promise<never>
}

export class WebGpuEngine implements SegmentEngine {
  readonly backend = 'webgpu'
  readonly threads = 1
  readonly manifest: Manifest
  readonly segment: Segment
  readonly description: string
  /** What a caller may ask for at once; tuning.rowsMax of them run together. */
  readonly rowsMax = 256
  readonly tuning: Tuning
  /** Milliseconds that compiling pipelines took. */
  readonly compileMs: number
  private readonly parts: Parts
  private readonly windows: number[]
  private readonly sequences = new Sequences()
  private logits = new Int32Array(0)
  private busy: Promise<unknown> = Promise.resolve()
  private closed = false

  constructor(parts: Parts) {
    this.parts = parts
    this.manifest = parts.manifest
    this.segment = parts.segment
    this.description = parts.description
    this.tuning = parts.tuning
    this.compileMs = parts.compileMs
    this.windows = segmentSteps(parts.planInput.program, parts.segment).steps.flatMap((s) => (s.op === 'score' ? [s.window] : []))
  }

  async run(rows: Row[], wants: Want[], boundary?: Int32Array, trace?: (step: StepValues) => void): Promise<RunResult> {
    return this.alone(async () => {
      const { core } = this.manifest
      const tail = this.segment.to === core.layers
      const count = wants.filter((want) => want === 'logits').length
      if (tail && this.logits.length < count * core.vocab) this.logits = new Int32Array(count * core.vocab)
      const logits: (Int32Array | null)[] = rows.map(() => null)
      const out = tail ? null : new Int32Array(rows.length * core.hidden)
      let answered = 0
      await this.runRows(rows, wants, boundary, trace, out, null, (i, values, from) => {
        const view = this.logits.subarray(answered * core.vocab, (answered + 1) * core.vocab)
        view.set(values.subarray(from, from + core.vocab))
        logits[i] = view
        answered++
      })
      return { boundary: out, logits }
    })
  }

  /** As run, but answers with the token that each row's draw gives: one number read back instead of a vocabulary, one submit for a whole token. */
  async choose(rows: Row[], draws: (Draw | null)[], boundary?: Int32Array): Promise<(number | null)[]> {
    const wants = draws.map((draw): Want => (draw ? 'logits' : 'nothing'))
    return this.alone(async () => {
      if (this.segment.to < this.manifest.core.layers) throw new EngineError('only the segment with the last layer chooses tokens')
      const chosen: (number | null)[] = rows.map(() => null)
      await this.runRows(rows, wants, boundary, undefined, null, draws, (i, values, from) => {
        chosen[i] = values[from]
      })
      return chosen
    })
  }

  /** As choose, with the largest logit (the lowest id on ties) for each row that wants logits. */
  async runGreedy(rows: Row[], wants: Want[], boundary?: Int32Array): Promise<(number | null)[]> {
    const draw: Draw = { sampler: greedy, key: [0, 0], position: 0, recent: [] }
    return this.choose(
      rows,
      wants.map((want) => (want === 'logits' ? draw : null)),
      boundary,
    )
  }

  /**
   * Milliseconds by op of these rows (as checked by run), which stay uncached: results are thrown away. Timestamp queries where the device has them.
   */
  async profile(rows: Row[], now: () => number, rounds = 4): Promise<OpTime[]> {
    return this.alone(async () => {
      const after = checkRun(
        this.manifest,
        this.segment,
        this.rowsMax,
        this.sequences.lengths(),
        rows,
        rows.map(() => 'nothing'),
        undefined,
      )
      const [batch] = batchesOf(rows, this.windows, this.manifest.core.heads, this.tuning)
      await this.reserve(after)
      await this.load(batch, undefined)
      const times = await this.parts.runner.profile(batch, now, rounds)
      this.sequences.trim()
      return times
    })
  }

  truncate(sequence: number, length: number): void {
    this.sequences.truncate(sequence, length)
  }

  memoryBytes(): { weights: number; other: number } {
    const { weights, other } = this.parts.memory.bytes()
    return { weights, other: other + this.parts.runner.bytes + this.logits.byteLength }
  }

  async close(): Promise<void> {
    if (this.closed) return
    this.closed = true
    await this.busy
    this.parts.memory.destroy()
    this.parts.runner.destroy()
    this.logits = new Int32Array(0)
  }

  /** One call at a time: a call made while another runs waits for it. */
  private alone<T>(work: () => Promise<T>): Promise<T> {
    const next = this.busy.then(async () => {
      if (this.closed) throw new EngineError('the engine is closed')
      await Promise.race([this.parts.lost, Promise.resolve()])
      return work()
    })
    this.busy = next.catch(() => {})
    return next
  }

  /** Checks, caches and computes rows. `answer` gets, for each row that wants logits, its index and where its values start (logits, or one token with draws). */
  private async runRows(
    rows: Row[],
    wants: Want[],
    boundary: Int32Array | undefined,
    trace: ((step: StepValues) => void) | undefined,
    out: Int32Array | null,
    draws: (Draw | null)[] | null,
    answer: (row: number, values: Int32Array, from: number) => void,
  ): Promise<void> {
    const { runner, memory, device, logitsRows, vectors, planInput } = this.parts
    const { core } = this.manifest
    const lengths = this.sequences.lengths()
    const after = checkRun(this.manifest, this.segment, this.rowsMax, lengths, rows, wants, boundary)
    for (const [id, length] of after) lengths.set(id, length)
    const total = [...lengths.values()].reduce((sum, length) => sum + length, 0)
    if (total > this.parts.kvTokensMax) throw new EngineError(`${total} cached positions exceed the limit of ${this.parts.kvTokensMax}`, 'memory')
    const traced = new Map<string, number[][]>()
    try {
      await this.reserve(after)
      for (const batch of batchesOf(rows, this.windows, core.heads, this.tuning)) {
        await this.load(batch, boundary)
        const wanted = batch.rows.flatMap((_, i) => (wants[batch.at + i] === 'logits' ? [i] : []))
        const tails = Array.from({ length: Math.ceil(wanted.length / logitsRows) }, (_, i) => wanted.slice(i * logitsRows, (i + 1) * logitsRows))
        let encoder = trace ? device.createCommandEncoder() : runner.encodeMain(batch)
        if (trace) {
          const keep = (label: string, values: number[][]): void => void traced.set(label, [...(traced.get(label) ?? []), ...values])
          await runner.trace(batch, tails, (some) => this.shapeOf(batch, some), keep)
        }
        for (const some of tails) {
          const values = await runner.runTail(encoder, some, draws && some.map((i) => draws[batch.at + i]!))
          encoder = device.createCommandEncoder()
          for (const [j, i] of some.entries()) answer(batch.at + i, values, draws ? j : j * vectors.logitsStride)
        }
        if (out) out.set(await runner.finish(encoder, memory.of('residual', 0), batch.rows.length * core.hidden), batch.at * core.hidden)
        else if (tails.length === 0) runner.submit(encoder)
      }
    } catch (error) {
      this.sequences.trim()
      throw error
    }
    for (const [id, length] of after) this.sequences.setLength(id, length)
    if (!trace) return
    const { steps, tail } = segmentSteps(planInput.program, this.segment)
    for (const { label } of [...steps, ...tail]) if (traced.has(label)) trace({ label, values: traced.get(label)!.flat() })
  }

  /** Makes room in the cache. Throws EngineError 'memory' when the device has none. */
  private async reserve(after: ReadonlyMap<number, number>): Promise<void> {
    for (const [id, length] of after) this.sequences.reserve(id, length)
    await roomFor(this.parts.device, 'the cache', () => this.parts.memory.growPages(this.sequences.pageCount))
  }

  /** Tells the device which rows come next. */
  private async load(batch: Batch, boundary: Int32Array | undefined): Promise<void> {
    const { device, memory } = this.parts
    const { heads, hidden } = this.manifest.core
    await roomFor(device, 'attention', () => memory.growScratch(batch.rows.length * heads * batch.scratchStride * 4))
    device.queue.writeBuffer(
      memory.of('batch', 0),
      0,
      batchWords(batch, this.tuning.rowsMax, (id) => this.sequences.pagesOf(id)),
    )
    if (boundary) device.queue.writeBuffer(memory.of('residual', 0), 0, boundary.slice(batch.at * hidden, (batch.at + batch.rows.length) * hidden))
  }

  private shapeOf(batch: Batch, some: number[]): TraceShape {
    const rows = some.map((i) => ({ position: batch.rows[i].position, pages: this.sequences.pagesOf(batch.rows[i].sequence) }))
    const stride = some.length === 1 ? 1 : alignTo(some.length, 4)
    return {
      core: this.manifest.core,
      vectors: this.parts.vectors,
      form: this.tuning.form,
      stride,
      scratchStride: batch.scratchStride,
      rows,
      pageCount: this.sequences.pageCount,
    }
  }
}

/** Runs something that makes buffers, in an error scope of its own when it makes any. Throws EngineError 'memory' instead of leaving a broken engine. */
async function roomFor(device: GPUDevice, what: string, work: () => boolean): Promise<void> {
  device.pushErrorScope('out-of-memory')
  let grew = true
  let scope: Promise<GPUError | null>
  try {
    grew = work()
  } finally {
    scope = device.popErrorScope()
    scope.catch(() => {})
  }
  // Nothing made, nothing to wait for: the usual token.
  if (!grew) return
  const error = await scope
  if (error) throw new EngineError(`the device has no memory for ${what}: ${error.message}`, 'memory')
}

/**
 * Loads the segment's weights onto `device` and compiles its kernels. The device needs no optional feature and no limit above WebGPU's defaults.
 * Error scopes are one stack per device: open the engines of one device one after the other.
 * Throws what the source throws; EngineError 'unsupported' for a shape or shader the device cannot do, 'memory' when it has no room, 'lost', 'cancelled'.
 */
export async function createWebGpuEngine(device: GPUDevice, source: ModelSource, options: WebGpuOptions): Promise<WebGpuEngine> {
  const { manifest } = source
  const { core } = manifest
  const segment = segmentOf(manifest, options.segment)
  const info = options.adapterInfo ?? (device as { adapterInfo?: GPUAdapterInfo }).adapterInfo
  const tuning: Tuning = { ...tuningOf(info, options.languageFeatures), ...options.tuning }
  const program = programOf(manifest)
  const vectors = vectorLayout(core)
  const weights = placeWeights(program, segment, Math.min(device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize), tuning.partBytesMax)
  const planInput: PlanInput = {
    program,
    segment,
    weights,
    vectors,
    tuning,
    actBase: alignTo(tuning.rowsMax, 4),
    frequencyAt: frequencyAt(core),
    traced: false,
  }
  const plan = planOf(planInput)
  const tail = segment.to === core.layers
  const kvTokensMax = options.kvTokensMax ?? core.context
  // Logits of a few rows at a time: 256 rows of a large vocabulary would not fit one binding.
  const logitsRows = Math.min(tuning.rowsMax, Math.max(4, Math.floor((16 << 20) / (vectors.logitsStride * 4)) & ~3))

  const lost = device.lost.then((reason): never => {
    throw new EngineError(`the GPU device was lost: ${reason.message || reason.reason || 'no reason given'}`, 'lost')
  })
  lost.catch(() => {})
  const started = options.now?.() ?? 0
  let compileMs = 0
  const compiled: Compiled = { pipelines: new Map(), layouts: new Map() }
  const compiling = compile(
    device,
    [...variantsOf([...plan.main, ...plan.tail]), ...(tail ? samplingVariants : [])],
    core.headDim,
    options.shaders,
    tuning,
    compiled,
  ).then(() => {
    compileMs = (options.now?.() ?? 0) - started
  })
  compiling.catch(() => {})
  let memory: Memory | null = null
  try {
    await Promise.race([
      roomFor(device, `${weights.chunks.reduce((a, b) => a + b, 0)} bytes of weights`, () => {
        memory = new Memory({
          device,
          core,
          segment,
          vectors,
          weights,
          tuning,
          rowsMax: tuning.rowsMax,
          logitsRows,
          actBase: planInput.actBase,
          pagesMax: Math.ceil(kvTokensMax / pagePositions),
        })
        return true
      }),
      lost,
    ])
    const made = memory as unknown as Memory
    await Promise.race([uploadWeights(device, source, segment, weights, made, options), lost])
    await Promise.race([compiling, lost])
    device.pushErrorScope('validation')
    const tick = options.tick ?? (options.slowReadback ? () => new Promise<void>((resolve) => setTimeout(resolve, 0)) : null)
    const runner = new Runner({
      device,
      core,
      vectors,
      tuning,
      memory: made,
      compiled,
      shaders: options.shaders,
      planInput,
      plan,
      tail,
      tick,
      lost,
      logitsRows,
    })
    const invalid = await Promise.race([device.popErrorScope(), lost])
    if (invalid) throw new EngineError(`the device refused the engine: ${invalid.message}`, 'unsupported')
    const name = [info?.vendor, info?.architecture, info?.description].filter(Boolean).join(' ') || 'unnamed adapter'
    const description = `WebGPU, ${name}, ${tuning.packed ? 'packed int8 dot products' : 'plain products'}, ${tuning.form}`
    return new WebGpuEngine({
      device,
      manifest,
      segment,
      description,
      tuning,
      compileMs,
      planInput,
      vectors,
      memory: made,
      runner,
      kvTokensMax,
      logitsRows,
      lost,
    })
  } catch (error) {
    ;(memory as Memory | null)?.destroy()
    throw error
  }
}
