// What WebTorrent takes for a disk: our store, and in memory what passes through.
import type { ChunkDone } from 'webtorrent/dist/webtorrent.min.js'
import type { LendStore } from './store.ts'

/** Bytes of pieces that came or were read last and are kept in memory, per model. */
const freshBytesMax = 16 << 20
/** And so long after the last one. */
const freshMs = 60_000

/** WebTorrent's disk (abstract-chunk-store): our store, through its worker. What came or was read last is kept for a while: it is what the others ask for next. */
export function chunkStore(store: LendStore, modelId: string) {
  return class {
    readonly chunkLength: number
    private readonly fresh = new Map<number, Uint8Array>()
    /** Pieces that are being read: a peer asks for all blocks of one at once. */
    private readonly reading = new Map<number, Promise<Uint8Array>>()
    private forgetting: ReturnType<typeof setTimeout> | undefined
    constructor(chunkLength: number) {
      this.chunkLength = chunkLength
    }
    private keep(index: number, bytes: Uint8Array): void {
      this.fresh.set(index, bytes)
      if (this.fresh.size * this.chunkLength > freshBytesMax) this.fresh.delete(this.fresh.keys().next().value!)
      clearTimeout(this.forgetting)
      this.forgetting = setTimeout(() => this.fresh.clear(), freshMs)
    }
    private read(index: number): Promise<Uint8Array> {
      const known = this.reading.get(index)
      if (known) return known
      const read = store.get(modelId, index, 0, -1)
      this.reading.set(index, read)
      const end = (): boolean => this.reading.delete(index)
      read.then((bytes) => {
        end()
        this.keep(index, bytes)
      }, end)
      return read
    }
    put(index: number, bytes: Uint8Array, done: ChunkDone): void {
      store.put(modelId, index, bytes as Uint8Array<ArrayBuffer>).then((back) => {
        this.keep(index, back)
        done(null)
      }, done)
    }
    /** The bytes answered are the piece's own, not a copy: whoever asks puts them into a message at once. */
    get(index: number, options: { offset?: number; length?: number } | null | ChunkDone<Uint8Array>, done?: ChunkDone<Uint8Array>): void {
      const answer = (typeof options === 'function' ? options : done)!
      const { offset = 0, length = -1 } = typeof options === 'function' || !options ? {} : options
      const part = (bytes: Uint8Array): void => answer(null, bytes.subarray(offset, length < 0 ? undefined : offset + length))
      const fresh = this.fresh.get(index)
      if (fresh) part(fresh)
      else this.read(index).then(part, answer)
    }
    close(done: ChunkDone): void {
      done(null)
    }
    destroy(done: ChunkDone): void {
      done(null)
    }
  }
}
