// Linear memory: who gets which bytes. Weights and fixed buffers are taken once; pages come and go through a free list per size, so a page is always found again.
import { EngineError } from '../engine.ts'

const wasmPage = 65536
/** The whole of a 32-bit linear memory. */
export const memoryBytesMax = 65536 * wasmPage
/** Growing takes a system call, so it is done by at least 4 MiB. */
const growBytesMin = 4 << 20

export class LinearMemory {
  readonly memory: WebAssembly.Memory
  private next: number
  private readonly bytesMax: number
  private readonly free = new Map<number, number[]>()

  /** `start`: first byte to give away. Throws EngineError when the host refuses the memory. */
  constructor(shared: boolean, start: number, bytesInitial: number, bytesMax: number) {
    this.next = start
    this.bytesMax = Math.min(memoryBytesMax, Math.ceil(bytesMax / wasmPage) * wasmPage)
    const initial = Math.ceil(bytesInitial / wasmPage)
    if (initial * wasmPage > this.bytesMax) throw tooLarge(initial * wasmPage, this.bytesMax)
    try {
      this.memory = new WebAssembly.Memory({ initial, maximum: this.bytesMax / wasmPage, shared })
    } catch {
      throw new EngineError(`this device refuses ${megabytes(initial * wasmPage)} of memory for the model`, 'memory')
    }
  }

  get bytes(): number {
    return this.memory.buffer.byteLength
  }

  /** Address of `bytes` bytes, a multiple of 64. Contents are whatever was there. Throws EngineError when there is no more. */
  take(bytes: number): number {
    const size = Math.ceil(bytes / 64) * 64
    const used = this.free.get(size)?.pop()
    if (used !== undefined) return used
    const end = this.next + size
    if (end > this.bytes) {
      if (end > this.bytesMax) throw tooLarge(end, this.bytesMax)
      const pages = Math.min(Math.ceil(Math.max(end - this.bytes, growBytesMin) / wasmPage), (this.bytesMax - this.bytes) / wasmPage)
      try {
        this.memory.grow(pages)
      } catch {
        throw new EngineError(`this device refuses to grow the model's memory beyond ${megabytes(this.bytes)}`, 'memory')
      }
    }
    const at = this.next
    this.next = end
    return at
  }

  /** Gives bytes back that take(bytes) gave. */
  give(at: number, bytes: number): void {
    const size = Math.ceil(bytes / 64) * 64
    const list = this.free.get(size)
    if (list) list.push(at)
    else this.free.set(size, [at])
  }

  // Views are made when needed: growing replaces the buffer.
  i32(at: number, count: number): Int32Array {
    return new Int32Array(this.memory.buffer as ArrayBuffer, at, count)
  }
  u32(at: number, count: number): Uint32Array {
    return new Uint32Array(this.memory.buffer as ArrayBuffer, at, count)
  }
  u8(at: number, count: number): Uint8Array {
    return new Uint8Array(this.memory.buffer as ArrayBuffer, at, count)
  }
  i16(at: number, count: number): Int16Array {
    return new Int16Array(this.memory.buffer as ArrayBuffer, at, count)
  }
  f64(at: number, count: number): Float64Array {
    return new Float64Array(this.memory.buffer as ArrayBuffer, at, count)
  }
}

export const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`

const tooLarge = (bytes: number, max: number): EngineError =>
  new EngineError(`the model needs ${megabytes(bytes)} of memory, more than the limit of ${megabytes(max)}`, 'memory')
