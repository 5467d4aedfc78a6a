// Frames on a stream: u32 little-endian length, then that many bytes. Written in pieces of at most 16 KiB, since other libp2p implementations refuse larger
// data channel messages; read from pieces of any size.

/** Bytes of one write: go-libp2p and rust-libp2p accept no larger message on a WebRTC data channel. */
export const writeBytesMax = 16 << 10

/** What a stranger sent is no frame; the sentence says which limit it broke. */
export class FrameError extends Error {
  override name = 'FrameError'
}

/** The writes that carry these frames, in order. Small frames share one write: encrypting and writing eight tokens of eight sessions one by one took eight times as long. */
export function* frameWrites(frames: readonly Uint8Array[]): Generator<Uint8Array> {
  const bytes = new Uint8Array(frames.reduce((sum, frame) => sum + 4 + frame.length, 0))
  const view = new DataView(bytes.buffer)
  let end = 0
  for (const frame of frames) {
    view.setUint32(end, frame.length, true)
    bytes.set(frame, end + 4)
    end += 4 + frame.length
  }
  for (let at = 0; at < bytes.length; at += writeBytesMax) yield bytes.subarray(at, at + writeBytesMax)
}

/** Puts frames together again. Memory is taken for bytes that came, never for bytes that a length announces. */
export class FrameReader {
  private readonly bytesMax: number
  private pieces: Uint8Array[] = []
  private held = 0
  private wanted = -1

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax
  }

  /** Bytes of a frame that has not ended. */
  get unfinished(): number {
    return this.held
  }

  /** The frames that end in `piece`. Throws FrameError when one is longer than the limit: the stream is to be reset. */
  push(piece: Uint8Array): Uint8Array[] {
    const frames: Uint8Array[] = []
    this.pieces.push(piece)
    this.held += piece.length
    for (;;) {
      if (this.wanted < 0) {
        if (this.held < 4) return frames
        const head = this.take(4)
        this.wanted = new DataView(head.buffer, head.byteOffset).getUint32(0, true)
        if (this.wanted > this.bytesMax) throw new FrameError(`a frame of ${this.wanted} bytes came, the limit is ${this.bytesMax}`)
      }
      if (this.held < this.wanted) return frames
      frames.push(this.take(this.wanted))
      this.wanted = -1
    }
  }

  private take(count: number): Uint8Array {
    const out = new Uint8Array(count)
    let at = 0
    let used = 0
    while (at < count) {
      const piece = this.pieces[used]!
      const part = piece.subarray(0, count - at)
      out.set(part, at)
      at += part.length
      if (part.length < piece.length) this.pieces[used] = piece.subarray(part.length)
      else used++
    }
    this.pieces.splice(0, used)
    this.held -= count
    return out
  }
}
