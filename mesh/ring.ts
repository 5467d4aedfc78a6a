// The ring's streams. Each peer opens one stream to the other for what it sends, and keeps it: opening takes a round trip, a token must not. Frames wait in a
// bounded queue while the stream is full; a peer that takes nothing for too long is let go, so that it cannot hold memory here.
import type { Stream, StreamMessageEvent } from '@libp2p/interface'
import { FrameError, FrameReader, frameWrites, writeBytesMax } from './frames.ts'
import type { NetworkStatistics } from './network.ts'

export const ringProtocol = '/meadow/ring/1'

/** A 4,096-token prompt's boundary at width 2,048 is 32 MiB; more than that means the other side does not read. To be revisited with wider models. */
const queueBytesMax = 64 << 20
/** A stream that stays full so long is dead: the peer would have been replaced long ago. */
const stallMs = 20_000

export interface RingLinkOptions {
  /** Opens the outgoing stream, and says whether it goes through a relay. */
  open: (signal: AbortSignal) => Promise<{ stream: Stream; relayed: boolean }>
  statistics: NetworkStatistics
  failed: (reason: string) => void
}

export class RingLink {
  private readonly options: RingLinkOptions
  private readonly ending = new AbortController()
  private queue: Uint8Array[] = []
  private queuedBytes = 0
  private stream: Stream | undefined
  private relayed = false
  private pumping = false

  constructor(options: RingLinkOptions) {
    this.options = options
  }

  /** Whether frames wait to be written. */
  get waiting(): boolean {
    return this.pumping
  }

  /** Queues a frame. False when the link has ended or the other side takes too little. */
  send(frame: Uint8Array): boolean {
    if (this.ending.signal.aborted) return false
    if (this.queuedBytes + frame.length > queueBytesMax) {
      this.fail(`${this.queuedBytes} bytes wait to be read by it`)
      return false
    }
    this.queue.push(frame)
    this.queuedBytes += frame.length
    if (!this.pumping) {
      this.pumping = true
      // Once this turn's work is done: what a step says to one peer goes out in one write, after the engine has got its next rows.
      queueMicrotask(() => void this.pump())
    }
    return true
  }

  close(): void {
    this.ending.abort()
    this.queue = []
    this.queuedBytes = 0
    this.stream?.close().catch(() => {})
  }

  private fail(reason: string): void {
    if (this.ending.signal.aborted) return
    this.close()
    this.options.failed(reason)
  }

  private async pump(): Promise<void> {
    const { statistics } = this.options
    try {
      this.stream ??= await this.openStream()
      while (this.queue.length > 0 && !this.ending.signal.aborted) {
        const { frames, bytes } = this.takeFrames()
        for (const write of frameWrites(frames)) {
          if (this.stream.send(write)) continue
          await this.stream.onDrain({ signal: AbortSignal.any([this.ending.signal, AbortSignal.timeout(stallMs)]) })
        }
        this.queuedBytes -= bytes
        statistics.framesSent += frames.length
        statistics.bytesSent += bytes
        if (this.relayed) statistics.bytesRelayed += bytes
      }
    } catch (error) {
      this.fail(error instanceof Error ? error.message : String(error))
    } finally {
      this.pumping = false
    }
  }

  /** The frames that go out next: one, or as many as fit into one write. */
  private takeFrames(): { frames: Uint8Array[]; bytes: number } {
    let count = 0
    let bytes = 0
    for (const { length } of this.queue) {
      if (count > 0 && bytes + length + (count + 1) * 4 > writeBytesMax) break
      count++
      bytes += length
    }
    return { frames: this.queue.splice(0, count), bytes }
  }

  private async openStream(): Promise<Stream> {
    const { stream, relayed } = await this.options.open(AbortSignal.any([this.ending.signal, AbortSignal.timeout(stallMs)]))
    this.relayed = relayed
    // Sessions may rest for hours between questions.
    stream.inactivityTimeout = 0x7fffffff
    stream.addEventListener('close', () => this.fail('its stream ended'), { once: true })
    return stream
  }

  /** Reads frames from a stream that the other side opened. */
  static receive(
    stream: Stream,
    frameBytesMax: number,
    to: { statistics: NetworkStatistics; frame: (bytes: Uint8Array) => void; failed: (reason: string) => void },
  ): void {
    const reader = new FrameReader(frameBytesMax)
    stream.inactivityTimeout = 0x7fffffff
    stream.addEventListener('message', (event: StreamMessageEvent) => {
      const data = event.data instanceof Uint8Array ? event.data : event.data.subarray()
      to.statistics.bytesReceived += data.length
      try {
        for (const frame of reader.push(data)) {
          to.statistics.framesReceived++
          to.frame(frame)
        }
      } catch (error) {
        if (!(error instanceof FrameError)) throw error
        stream.abort(error)
        to.failed(error.message)
      }
    })
  }
}
