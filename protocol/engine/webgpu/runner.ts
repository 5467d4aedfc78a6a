// The device side of the engine: plans as encoded passes, results and traces read back. Knows nothing of sequences or of what a caller may ask.
import type { Core } from '../../model/manifest.ts'
import { EngineError } from '../engine.ts'
import type { Draw } from '../sampler.ts'
import { type Batch, strideOf, tailWords } from './batch.ts'
import type { VectorLayout } from './layout.ts'
import type { Memory } from './memory.ts'
import { type Compiled, compile, variantOf } from './pipelines.ts'
import { type Dispatch, type Plan, type PlanInput, planOf, variantsOf } from './plan.ts'
import { type OpTime, profileDispatches } from './profile.ts'
import { Readback } from './readback.ts'
import { Sampling } from './sampling.ts'
import { type TraceShape, tapOf } from './trace.ts'
import type { Tuning } from './tuning.ts'

interface Planned extends Plan {
  mainParams: GPUBuffer
  tailParams: GPUBuffer
}

export interface RunnerInput {
  device: GPUDevice
  core: Core
  vectors: VectorLayout
  tuning: Tuning
  memory: Memory
  compiled: Compiled
  shaders: Record<string, string>
  planInput: PlanInput
  plan: Plan
  /** Whether the segment has the tail, and for how many rows at once. */
  tail: boolean
  logitsRows: number
  tick: (() => Promise<void>) | null
  lost: Promise<never>
}

export class Runner {
  readonly readback: Readback
  private readonly input: RunnerInput
  private readonly planned: Planned
  private traced: Planned | null = null
  private readonly sampling: Sampling | null

  constructor(input: RunnerInput) {
    this.input = input
    this.readback = new Readback(input.device, input.tick, input.lost)
    this.planned = this.withParams(input.plan)
    const { device, core, vectors, memory, compiled, logitsRows } = input
    this.sampling = input.tail
      ? new Sampling({ device, vocab: core.vocab, stride: vectors.logitsStride, rowsMax: logitsRows, logits: memory.of('logits', 0), compiled })
      : null
    // Bind groups now, not with the first token; those of cache and scratch follow when these exist.
    for (const [plan, params, tail] of [
      [input.plan.main, this.planned.mainParams, false],
      [input.plan.tail, this.planned.tailParams, true],
    ] as const) {
      for (const [i, d] of plan.entries()) if (!d.bindings.includes('keys')) input.memory.group(input.compiled, d, params, i, tail)
    }
  }

  /** Encodes all main dispatches of a batch in one pass; answers with the encoder to go on with. Only what is too long for one submit (a watchdog would end it) becomes several. */
  encodeMain(batch: Batch): GPUCommandEncoder {
    const { device, tuning } = this.input
    let encoder = device.createCommandEncoder()
    let pass = encoder.beginComputePass()
    let work = 0
    for (const [i, d] of this.planned.main.entries()) {
      if (this.skips(d, batch.visible)) continue
      work += d.work * batch.rows.length
      if (work > tuning.submitWorkMax) {
        pass.end()
        this.submit(encoder)
        encoder = device.createCommandEncoder()
        pass = encoder.beginComputePass()
        work = d.work * batch.rows.length
      }
      this.dispatch(pass, d, this.group(d, this.planned.mainParams, i, false), batch.rows.length, batch.visible)
    }
    pass.end()
    return encoder
  }

  /** Final norm and head for some rows (indices into the batch on the device); answers with their logits, rows of logitsStride, or, given their draws, with their tokens. */
  async runTail(encoder: GPUCommandEncoder, rows: number[], draws: Draw[] | null): Promise<Int32Array> {
    const { memory, vectors } = this.input
    this.writeTail(rows)
    if (draws) this.sampling!.prepare(encoder, draws)
    const pass = encoder.beginComputePass()
    for (const [i, d] of this.planned.tail.entries()) this.dispatch(pass, d, this.group(d, this.planned.tailParams, i, true), rows.length, 1)
    if (draws) this.sampling!.encode(pass, draws)
    pass.end()
    return draws ? this.finish(encoder, this.sampling!.chosen, rows.length) : this.finish(encoder, memory.of('logits', 0), rows.length * vectors.logitsStride)
  }

  /** Copies the start of a buffer out, submits, waits. Throws EngineError 'lost', or 'unsupported' when the device refused what was encoded. */
  async finish(encoder: GPUCommandEncoder, source: GPUBuffer, words: number): Promise<Int32Array> {
    encoder.copyBufferToBuffer(source, 0, this.readback.target(words * 4), 0, words * 4)
    return this.readback.submit(encoder, words)
  }

  submit(encoder: GPUCommandEncoder): void {
    this.input.device.queue.submit([encoder.finish()])
  }

  /** Runs the traced plan, one dispatch at a time; `each` gets every step's values, one array per row. `tails` are the rows that want logits, as many at a time as fit. */
  async trace(batch: Batch, tails: number[][], shapeOf: (rows: number[]) => TraceShape, each: (label: string, rows: number[][]) => void): Promise<void> {
    const { memory, device } = this.input
    const planned = await this.tracedPlan()
    const run = async (plan: Dispatch[], params: GPUBuffer, tail: boolean, shape: TraceShape): Promise<void> => {
      for (const [i, d] of plan.entries()) {
        const encoder = device.createCommandEncoder()
        const pass = encoder.beginComputePass()
        this.dispatch(pass, d, this.group(d, params, i, tail), shape.rows.length, batch.visible)
        pass.end()
        const taps = d.steps.map((step) => ({ step, tap: tapOf(step, shape) }))
        const slots = taps.flatMap(({ tap }) => tap.slots)
        const words = slots.reduce((sum, s) => sum + s.words, 0)
        if (words === 0) {
          this.submit(encoder)
          continue
        }
        const target = this.readback.target(words * 4)
        let at = 0
        for (const { slot, words: count } of slots) {
          encoder.copyBufferToBuffer(memory.of(slot, d.layer), 0, target, at * 4, count * 4)
          at += count
        }
        const all = await this.readback.submit(encoder, words)
        at = 0
        for (const { step, tap } of taps) {
          const copies = tap.slots.map(({ words: count }) => {
            at += count
            return all.subarray(at - count, at)
          })
          each(step.label, tap.read(copies, shape))
        }
      }
    }
    await run(planned.main, planned.mainParams, false, shapeOf(batch.rows.map((_, i) => i)))
    for (const rows of tails) {
      this.writeTail(rows)
      await run(planned.tail, planned.tailParams, true, shapeOf(rows))
    }
  }

  /** Milliseconds by op of the batch that was written to the device, tail for one row included. */
  async profile(batch: Batch, now: () => number, rounds: number): Promise<OpTime[]> {
    const { memory, device } = this.input
    this.writeTail([0])
    const rows = batch.rows.length
    const of = (plan: Dispatch[], params: GPUBuffer, tail: boolean) =>
      plan.flatMap((d, i) => {
        if (this.skips(d, batch.visible)) return []
        return [
          {
            op: d.steps.map((s) => s.label.replace(/^\d+\./, '')).join('+') || d.kernel,
            kernel: d.many && !tail && rows > 1 ? d.many : d.kernel,
            weightBytes: d.many ? d.bindings.reduce((sum, b) => sum + (typeof b === 'string' ? 0 : b.bytes), 0) : 0,
            encode: (pass: GPUComputePassEncoder) => this.dispatch(pass, d, this.group(d, params, i, tail), tail ? 1 : rows, batch.visible),
          },
        ]
      })
    const dispatches = [...of(this.planned.main, this.planned.mainParams, false), ...of(this.planned.tail, this.planned.tailParams, true)]
    const wait = async (): Promise<void> => {
      await this.finish(device.createCommandEncoder(), memory.of('residual', 0), 4)
    }
    return profileDispatches(device, dispatches, wait, now, rounds)
  }

  /** Bytes beside the memory's own. */
  get bytes(): number {
    return this.readback.bytes + (this.sampling?.bytes ?? 0)
  }

  destroy(): void {
    this.readback.destroy()
    this.sampling?.destroy()
    for (const plan of [this.planned, this.traced]) {
      plan?.mainParams.destroy()
      plan?.tailParams.destroy()
    }
  }

  private group(d: Dispatch, params: GPUBuffer, index: number, tail: boolean): GPUBindGroup {
    return this.input.memory.group(this.input.compiled, d, params, index, tail)
  }

  private dispatch(pass: GPUComputePassEncoder, d: Dispatch, group: GPUBindGroup, rows: number, visible: number): void {
    const { tuning, compiled } = this.input
    const many = d.many !== null && rows > 1
    const pipeline = compiled.pipelines.get(variantOf(many ? d.many! : d.kernel, d.constant))
    if (!pipeline) throw new EngineError(`kernel ${d.kernel}:${d.constant} was not compiled`, 'unsupported')
    pass.setPipeline(pipeline)
    pass.setBindGroup(0, group)
    if (many) pass.dispatchWorkgroups(d.xMany, Math.ceil(strideOf(rows) / 4 / tuning.tokens))
    else pass.dispatchWorkgroups(d.x, d.many ? 1 : rows, d.tiled ? Math.ceil((Math.floor((visible + 62) / 64) + 1) / tuning.tile) : 1)
  }

  private skips(d: Dispatch, visible: number): boolean {
    return d.when !== 'always' && (d.when === 'long') !== visible > this.input.tuning.tileFrom
  }

  private writeTail(rows: number[]): void {
    this.input.device.queue.writeBuffer(this.input.memory.tailBatch, 0, tailWords(rows))
  }

  /** The plan for traces is made, and its kernels compiled, when the first trace is asked for. */
  private async tracedPlan(): Promise<Planned> {
    if (!this.traced) {
      const { device, planInput, shaders, tuning, compiled } = this.input
      const plan = planOf({ ...planInput, traced: true })
      await compile(device, variantsOf([...plan.main, ...plan.tail]), planInput.program.core.headDim, shaders, tuning, compiled)
      this.traced = this.withParams(plan)
    }
    return this.traced
  }

  private withParams(plan: Plan): Planned {
    const { memory } = this.input
    return { ...plan, mainParams: memory.params(plan.main), tailParams: memory.params(plan.tail) }
  }
}
