// The WASM engine: places weights and buffers in linear memory, keeps the page tables of the sequences, and hands whole programs to the machine (machine.as.ts).
// The same file runs in Node and in a browser worker; what differs comes in as WasmHost. run() blocks its thread, so it does not belong on a page's main thread.
import type { Core, Manifest, ModelSource } from '../../model/manifest.ts'
import { drawWords, encodeDraw } from '../draw.ts'
import { EngineError, type EngineOptions, type Row, type RunResult, type Segment, type SegmentEngine, type StepValues, type Want } from '../engine.ts'
import { type Program, programOf, type Step } from '../program.ts'
import type { Draw } from '../sampler.ts'
import { checkRun, segmentOf, shardsOf } from '../segment.ts'
import { cutsOf, Ways } from './apart.ts'
import { type Buffers, bytesOfBuffers, layOut, pagePositions } from './buffers.ts'
import { anglesPhase, gatherPhase, type Phase, phaseOf, phasesOf, writePhases } from './encode.ts'
import type { ThreadStart, WasmHost, WasmThread } from './host.ts'
import * as L from './layout.ts'
import { LinearMemory, memoryBytesMax } from './memory.ts'
import { stepValues } from './values.ts'

/** Rows one run may hold: enough that widening a panel costs little per row, few enough that their activations stay in the second-level cache. */
const rowsMaxDefault = 192
/** Looks at a word before sleeping, about 7 µs (measured): longer than most waits inside a run; more would be wasted where two threads share a core, as they do on a busy machine. */
const spinsDefault = 20_000

export interface WasmEngineOptions extends EngineOptions {
  rowsMax?: number
  /** Keep nanoseconds per phase, see `profile()`. */
  profile?: boolean
}

export interface WasmEngine extends SegmentEngine {
  /** Milliseconds per phase since the last call, longest first; labels without their layer. */
  profile(): { label: string; ms: number }[]
  /** The greedy choice over a row's logits of the last run: the largest, the lowest id on ties. */
  argmax(row: number): number
}

interface Exports {
  run(): void
  wake(): void
  argmax(address: number, count: number): number
  sample(logits: number, count: number, draw: number, bins: number): number
}

/** Bytes of the sampler's scratch: see ops/sample.as.ts. */
const binBytes = 2048

interface Sequence {
  length: number
  pages: number[]
  /** Address of the page table. */
  table: number
}

class Engine implements WasmEngine {
  readonly backend = 'wasm'
  readonly manifest: Manifest
  readonly segment: Segment
  readonly threads: number
  readonly description: string
  readonly rowsMax: number
  private readonly core: Core
  private readonly memory: LinearMemory
  private readonly buffers: Buffers
  private readonly weightBytes: number
  private readonly kvTokensMax: number
  private readonly exports: Exports
  private readonly helpers: WasmThread[]
  private readonly program: Program
  private readonly phases: Phase[]
  private readonly profiled: boolean
  private readonly now: () => number
  private readonly ways = new Ways()
  private readonly sequences = new Map<number, Sequence>()
  private logits = { at: 0, rows: 0 }
  /** Row of the last run -> its row among the logits. */
  private tailOf: number[] = []
  /** Address of the sampler's draw and scratch, once something was drawn. */
  private sampling: number | null = null
  private closed = false

  constructor(parts: {
    manifest: Manifest
    segment: Segment
    memory: LinearMemory
    buffers: Buffers
    weightBytes: number
    kvTokensMax: number
    exports: Exports
    helpers: WasmThread[]
    rowsMax: number
    description: string
    profile: boolean
    now: () => number
  }) {
    this.manifest = parts.manifest
    this.core = parts.manifest.core
    this.segment = parts.segment
    this.memory = parts.memory
    this.buffers = parts.buffers
    this.weightBytes = parts.weightBytes
    this.kvTokensMax = parts.kvTokensMax
    this.exports = parts.exports
    this.helpers = parts.helpers
    this.threads = parts.helpers.length + 1
    this.rowsMax = parts.rowsMax
    this.description = parts.description
    this.profiled = parts.profile
    this.now = parts.now
    this.program = programOf(parts.manifest)
    this.phases = phasesOf(this.bodySteps(), this.hasTail ? this.program.tail : [], this.buffers.addresses)
    this.writeProgram()
  }

  private get hasTail(): boolean {
    return this.segment.to === this.core.layers
  }

  private bodySteps(): Step[] {
    return [...(this.segment.from === 0 ? this.program.embed : []), ...this.program.layers.slice(this.segment.from, this.segment.to).flat()]
  }

  private words(): Int32Array {
    return this.memory.i32(0, this.memory.bytes / 4)
  }

  private writeProgram(): void {
    writePhases(this.words(), this.buffers.program, this.phases)
  }

  async run(rows: Row[], wants: Want[], boundary?: Int32Array, trace?: (step: StepValues) => void): Promise<RunResult> {
    if (this.closed) throw new EngineError('the engine is closed')
    const lengths = new Map([...this.sequences].map(([id, s]) => [id, s.length]))
    const after = checkRun(this.manifest, this.segment, this.rowsMax, lengths, rows, wants, boundary)
    this.makeRoom(lengths, after)
    this.tailOf = rows.flatMap((_, i) => (wants[i] === 'logits' ? [i] : []))
    this.makeLogits(this.tailOf.length)
    this.writeRows(rows, boundary)
    if (trace) {
      this.writeCuts(null)
      this.runTraced(rows, trace)
    } else this.runAll(rows)
    for (const [id, length] of after) this.sequences.get(id)!.length = length
    return this.result(rows, wants)
  }

  /** Pages for the positions to come. Throws EngineError and leaves every sequence as it was when they do not fit. */
  private makeRoom(lengths: Map<number, number>, after: Map<number, number>): void {
    let total = 0
    for (const [id, length] of lengths) total += after.get(id) ?? length
    for (const [id, length] of after) if (!lengths.has(id)) total += length
    if (total > this.kvTokensMax) throw new EngineError(`${total} cached positions exceed the limit of ${this.kvTokensMax}`, 'memory')
    try {
      for (const [id, length] of after) {
        let sequence = this.sequences.get(id)
        if (!sequence) {
          sequence = { length: 0, pages: [], table: this.memory.take(this.buffers.tableBytes) }
          this.sequences.set(id, sequence)
        }
        while (sequence.pages.length * pagePositions < length) {
          const page = this.memory.take(this.buffers.pageBytes)
          this.memory.u32(sequence.table, this.buffers.tableBytes / 4)[sequence.pages.length] = page
          sequence.pages.push(page)
        }
      }
    } catch (error) {
      for (const id of after.keys()) this.truncate(id, lengths.get(id) ?? 0)
      throw error
    }
  }

  /** Room for the logits of `rows` rows; the number grows by doubling. */
  private makeLogits(rows: number): void {
    if (rows <= this.logits.rows) return
    const { stride } = this.buffers.addresses.vectors.logits
    let wanted = 1
    while (wanted < rows) wanted *= 2
    wanted = Math.min(this.rowsMax, wanted)
    const at = this.memory.take(wanted * stride)
    if (this.logits.rows > 0) this.memory.give(this.logits.at, this.logits.rows * stride)
    this.logits = { at, rows: wanted }
    this.buffers.addresses.vectors.logits.at = at
    for (const phase of this.phases) {
      for (const [i, op] of phase.ops.entries()) if (phase.labels[i] === 'head') op[1] = at
    }
    this.writeProgram()
  }

  private writeRows(rows: Row[], boundary: Int32Array | undefined): void {
    const { buffers, memory } = this
    const words = this.words()
    words[L.stateRows / 4] = rows.length
    words[L.stateTailRows / 4] = this.tailOf.length
    rows.forEach(({ sequence, position, token }, i) => {
      words[buffers.positions / 4 + i] = position
      words[buffers.tokens / 4 + i] = token
      words[buffers.tables / 4 + i] = this.sequences.get(sequence)!.table
    })
    words.set(this.tailOf, buffers.tailOf / 4)
    if (this.segment.from === 0) return
    const { at, stride } = buffers.addresses.vectors.residual
    for (let i = 0; i < rows.length; i++)
      memory.i32(at + i * stride, this.core.hidden).set(boundary!.subarray(i * this.core.hidden, (i + 1) * this.core.hidden))
  }

  private runAll(rows: Row[]): void {
    const cuts = cutsOf(rows, this.tailOf.length, this.threads)
    const apart = cuts !== null && this.ways.apart(rows.length)
    this.writeCuts(apart ? cuts : null)
    const start = this.now()
    this.execute(this.buffers.program)
    if (cuts) this.ways.took(rows.length, apart, this.now() - start)
  }

  private writeCuts(cuts: number[] | null): void {
    const words = this.words()
    words[L.stateApart / 4] = cuts ? 1 : 0
    if (cuts) words.set(cuts, L.stateCuts / 4)
  }

  /** Runs the list at `program` with all threads. */
  private execute(program: number): void {
    const words = this.words()
    words.fill(0, this.buffers.counters / 4, (this.buffers.counters + this.buffers.counterBytes) / 4)
    words[L.stateProgram / 4] = program
    this.exports.run()
  }

  private runTraced(rows: Row[], trace: (step: StepValues) => void): void {
    const { buffers, core, memory } = this
    const span = Math.ceil((Math.max(...rows.map((r) => r.position)) + 1) / 16) * 16 + 16
    const units = rows.length * core.heads
    const sizes = [units * span * 4, units * span * 2, units * 4]
    const places = sizes.map((size) => memory.take(size))
    const words = this.words()
    const spanBefore = words[L.stateSpan / 4]
    words.set(places, L.stateTraceT / 4)
    words[L.stateSpan / 4] = span
    const once = (phase: Phase): void => {
      writePhases(this.words(), buffers.traceProgram, [phase])
      this.execute(buffers.traceProgram)
    }
    const context = {
      core,
      memory,
      buffers,
      span,
      traceT: places[0],
      traceW: places[1],
      traceZ: places[2],
      tableOf: (sequence: number) => this.sequences.get(sequence)!.pages,
    }
    const steps = (list: Step[], tail: boolean, chosen: number[]): void => {
      for (const step of list) {
        once(phaseOf(step, buffers.addresses, tail))
        trace({ label: step.label, values: chosen.flatMap((_, i) => stepValues(step, i, rows[chosen[i]], context)) })
      }
    }
    once(anglesPhase(buffers.addresses))
    steps(
      this.bodySteps(),
      false,
      rows.map((_, i) => i),
    )
    if (this.hasTail && this.tailOf.length > 0) {
      once(gatherPhase(buffers.addresses))
      steps(this.program.tail, true, this.tailOf)
    }
    this.words()[L.stateSpan / 4] = spanBefore
    places.forEach((at, i) => memory.give(at, sizes[i]))
  }

  private result(rows: Row[], wants: Want[]): RunResult {
    const { vectors } = this.buffers.addresses
    const { hidden, vocab } = this.core
    if (this.hasTail) {
      let next = 0
      return {
        boundary: null,
        logits: wants.map((want) => (want === 'logits' ? this.memory.i32(this.logits.at + next++ * vectors.logits.stride, vocab) : null)),
      }
    }
    const boundary = new Int32Array(rows.length * hidden)
    for (let i = 0; i < rows.length; i++) boundary.set(this.memory.i32(vectors.residual.at + i * vectors.residual.stride, hidden), i * hidden)
    return { boundary, logits: wants.map(() => null) }
  }

  async choose(rows: Row[], draws: (Draw | null)[], boundary?: Int32Array): Promise<(number | null)[]> {
    // Taken first: a run that was done cannot be taken back for want of memory.
    this.sampling ??= this.memory.take(drawWords * 4 + binBytes)
    const at = this.sampling
    await this.run(
      rows,
      draws.map((draw) => (draw ? 'logits' : 'nothing')),
      boundary,
    )
    const { stride } = this.buffers.addresses.vectors.logits
    const { vocab } = this.core
    return draws.map((draw, row) => {
      if (!draw) return null
      this.memory.u32(at, drawWords).set(encodeDraw(draw, vocab))
      return this.exports.sample(this.logits.at + this.tailOf.indexOf(row) * stride, vocab, at, at + drawWords * 4)
    })
  }

  argmax(row: number): number {
    const index = this.tailOf.indexOf(row)
    if (index < 0) throw new EngineError(`row ${row} of the last run has no logits`)
    return this.exports.argmax(this.logits.at + index * this.buffers.addresses.vectors.logits.stride, this.core.vocab)
  }

  truncate(sequence: number, length: number): void {
    const found = this.sequences.get(sequence)
    if (!found) return
    found.length = Math.min(found.length, length)
    const pages = Math.ceil(found.length / pagePositions)
    for (const page of found.pages.splice(pages)) this.memory.give(page, this.buffers.pageBytes)
    if (found.length > 0) return
    this.memory.give(found.table, this.buffers.tableBytes)
    this.sequences.delete(sequence)
  }

  memoryBytes(): { weights: number; other: number } {
    return { weights: this.weightBytes, other: this.closed ? 0 : this.memory.bytes - this.weightBytes }
  }

  profile(): { label: string; ms: number }[] {
    if (!this.profiled) return []
    const times = this.memory.f64(this.buffers.times, this.phases.length)
    const sums = new Map<string, number>()
    this.phases.forEach((phase, i) => {
      const label = phase.labels.map((l) => l.replace(/^\d+\./, '')).join('+')
      sums.set(label, (sums.get(label) ?? 0) + times[i])
    })
    times.fill(0)
    return [...sums].map(([label, ms]) => ({ label, ms })).sort((a, b) => b.ms - a.ms)
  }

  async close(): Promise<void> {
    if (this.closed) return
    this.closed = true
    this.sequences.clear()
    if (this.helpers.length === 0) return
    Atomics.store(this.words(), L.controlStop / 4, 1)
    this.exports.wake()
    await Promise.all(this.helpers.map((helper) => helper.terminate()))
  }
}

/** Starts the helper threads; none when one of them cannot start, so that the engine works with the caller's thread alone. */
async function startHelpers(host: WasmHost, memory: WebAssembly.Memory): Promise<{ helpers: WasmThread[]; note: string }> {
  if (!host.shared || !host.spawn || host.threads < 2) return { helpers: [], note: '' }
  const helpers: WasmThread[] = []
  try {
    for (let thread = 1; thread < host.threads; thread++) {
      const helper = host.spawn()
      helpers.push(helper)
      helper.postMessage({ module: host.module, memory, thread } satisfies ThreadStart)
    }
    await Promise.all(helpers.map((helper) => helper.ready))
    return { helpers, note: '' }
  } catch (error) {
    await Promise.allSettled(helpers.map((helper) => helper.terminate()))
    return { helpers: [], note: ` (helper threads did not start: ${error instanceof Error ? error.message : String(error)})` }
  }
}

/**
 * Loads the segment's shards straight into linear memory and makes the engine.
 * Throws EngineError (`memory` when the model does not fit 4 GiB or the device refuses, `input` for a bad segment), and what the source throws.
 */
export async function createWasmEngine(source: ModelSource, options: WasmEngineOptions & { host: WasmHost }): Promise<WasmEngine> {
  const { host, signal } = options
  const { manifest } = source
  const { core } = manifest
  const segment = segmentOf(manifest, options.segment)
  const rowsMax = options.rowsMax ?? rowsMaxDefault
  const kvTokensMax = options.kvTokensMax ?? core.context
  const indices = shardsOf(manifest, segment)
  const weightBytes = indices.reduce((sum, index) => sum + manifest.shards[index].bytes, 0)

  const plan = { core, segment, rowsMax, threads: host.threads, kvTokensMax, program: programOf(manifest) }
  const fixed = bytesOfBuffers(plan)
  const start = 65536
  const initial = start + weightBytes + indices.length * 64 + fixed.fixed
  // A shared memory reserves its maximum; the others' is the address space.
  const memory = new LinearMemory(host.shared, start, initial, host.shared ? Math.min(memoryBytesMax, initial + fixed.growing) : memoryBytesMax)

  const shardAt = new Map<number, number>()
  let loaded = 0
  for (const index of indices) {
    signal?.throwIfAborted()
    const { bytes } = manifest.shards[index]
    const at = memory.take(bytes)
    shardAt.set(index, at)
    await source.readShard(index, memory.u8(at, bytes), signal)
    loaded += bytes
    options.onProgress?.(loaded, weightBytes)
  }
  signal?.throwIfAborted()

  const buffers = layOut(plan, memory, (tensor) => shardAt.get(tensor.shard)! + tensor.offset)
  const words = memory.i32(0, memory.bytes / 4)
  words[L.stateSpins / 4] = spinsDefault
  words[L.stateProfile / 4] = options.profile ? 1 : 0
  const instance = await WebAssembly.instantiate(host.module, { env: { memory: memory.memory, now: host.now } })
  const { helpers, note } = await startHelpers(host, memory.memory)
  words[L.stateThreads / 4] = helpers.length + 1
  const threads = helpers.length + 1
  return new Engine({
    manifest,
    segment,
    memory,
    buffers,
    weightBytes,
    kvTokensMax,
    exports: instance.exports as unknown as Exports,
    helpers,
    rowsMax,
    description: `WASM SIMD, ${threads} thread${threads === 1 ? '' : 's'}${note}`,
    profile: options.profile ?? false,
    now: host.now,
  })
}
