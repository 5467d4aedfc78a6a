// Bringing bytes back from the device, and telling a lost device from a slow one.
import { EngineError } from '../engine.ts'
import { usage } from './memory.ts'

const mapRead = 1 // GPUMapMode.READ

export class Readback {
  private buffer: GPUBuffer | null = null
  private readonly device: GPUDevice
  private readonly tick: (() => Promise<void>) | null
  private readonly lost: Promise<never>

  /** `tick` waits for the next turn of the event loop: given where mapAsync resolves late unless the queue is poked (Firefox: 100 ms timer, findings.md; Deno: 11 ms, measured). */
  constructor(device: GPUDevice, tick: (() => Promise<void>) | null, lost: Promise<never>) {
    this.device = device
    this.tick = tick
    this.lost = lost
  }

  get bytes(): number {
    return this.buffer?.size ?? 0
  }

  /** A mappable buffer of at least `bytes`, to be copied into before `map`. */
  target(bytes: number): GPUBuffer {
    if (!this.buffer || this.buffer.size < bytes) {
      this.buffer?.destroy()
      this.buffer = this.device.createBuffer({ label: 'readback', size: bytes, usage: usage.mapRead | usage.copyDst })
    }
    return this.buffer
  }

  /** Submits what was encoded, which copies into the target, and copies its first words out. Throws EngineError 'lost', or 'unsupported' when the device refused the commands. */
  async submit(encoder: GPUCommandEncoder, words: number): Promise<Int32Array> {
    const { device, tick } = this
    device.pushErrorScope('validation')
    device.queue.submit([encoder.finish()])
    const refused = device.popErrorScope()
    const buffer = this.buffer!
    const bytes = words * 4
    let done = false
    const both = Promise.all([buffer.mapAsync(mapRead, 0, bytes), refused]).finally(() => {
      done = true
    })
    const poke = async (wait: () => Promise<void>): Promise<void> => {
      while (!done) {
        device.queue.submit([])
        await wait()
      }
    }
    if (tick) poke(tick).catch(() => {})
    let error: GPUError | null
    try {
      error = (await Promise.race([both, this.lost]))[1]
    } catch (reason) {
      if (reason instanceof EngineError) throw reason
      throw new EngineError(`the device stopped answering: ${String(reason)}`, 'lost')
    }
    const values = new Int32Array(buffer.getMappedRange(0, bytes).slice(0))
    buffer.unmap()
    if (error) throw new EngineError(`the device refused the commands: ${error.message}`, 'unsupported')
    return values
  }

  destroy(): void {
    this.buffer?.destroy()
    this.buffer = null
  }
}
