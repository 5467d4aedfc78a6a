// How torrents of models go over a wire between two tabs. WebTorrent sends every message by itself and asks for 16 KiB at a time: with one seeding and five fetching tabs
// on two cores, messages (their packets, their events, their hops between a browser's processes) were what the time went into.

/** Bytes asked for at once: three of BitTorrent's blocks. With its head and what waits before it this stays below the 64 KiB that every WebRTC takes as one message (RFC 8841). */
export const blockBytes = 3 << 14
/** WebTorrent's own. */
export const plainBlockBytes = 1 << 14
/** Messages up to this size wait for others. */
const smallBytes = 64
/** "I have this piece" need not be known sooner. */
const haveMs = 100
const haveId = 4

interface InsideWire {
  destroyed?: boolean
  requests: unknown[]
  downloadSpeed(): number
  _message?(id: number, numbers: number[], data: Uint8Array | null): void
  _push?(data: Uint8Array): unknown
}

/**
 * Puts a wire's messages together: a block with its head of 13 bytes, all requests of one look, and the news of pieces since the last message, which otherwise cost as much
 * each as a packet full of bytes. Their order stays.
 */
export function joinMessages(wire: object): void {
  const inside = wire as InsideWire
  const { _message, _push } = inside
  if (!_message || !_push) return
  let waiting: Uint8Array[] = []
  let waitingBytes = 0
  let soon = false
  let later: ReturnType<typeof setTimeout> | undefined

  /** What waits, then room for `more` bytes, as one message. */
  const joined = (more: number): Uint8Array => {
    clearTimeout(later)
    later = undefined
    const message = new Uint8Array(waitingBytes + more)
    let at = 0
    for (const one of waiting) {
      message.set(one, at)
      at += one.length
    }
    waiting = []
    waitingBytes = 0
    return message
  }
  const flush = (): void => {
    soon = false
    if (waiting.length > 0 && !inside.destroyed) _push.call(inside, joined(0))
  }
  inside._push = (data) => {
    if (data.length > smallBytes) {
      flush()
      return _push.call(inside, data)
    }
    waiting.push(data)
    waitingBytes += data.length
    if (data.length === 9 && data[4] === haveId) later ??= setTimeout(flush, haveMs)
    else if (!soon) {
      soon = true
      queueMicrotask(flush)
    }
    return true
  }
  inside._message = (id, numbers, data) => {
    if (!data) return _message.call(inside, id, numbers, data)
    const head = 5 + 4 * numbers.length
    const from = waitingBytes
    const message = joined(head + data.length)
    const view = new DataView(message.buffer, from)
    view.setUint32(0, head + data.length - 4)
    message[from + 4] = id
    for (const [i, number] of numbers.entries()) view.setUint32(5 + 4 * i, number)
    message.set(data, from + head)
    _push.call(inside, message)
  }
}

/** A piece under way (torrent-piece): which blocks are asked for and which are here. */
export interface Piece {
  length: number
  missing: number
  sources: unknown[] | null
  _chunks: number
  _remainder: number
  _buffered: number
  _buffer: (Uint8Array | undefined)[] | null
  _cancellations: number[] | null
  _reservations: number
  _flushed: boolean
  chunkLength(i: number): number
  chunkLengthRemaining(i: number): number
  chunkOffset(i: number): number
  set(i: number, data: Uint8Array, source: unknown): boolean
  flush(): Uint8Array | null
  init(): boolean
  cancel(i: number): void
}

interface InsideTorrent {
  pieces: (Piece | null)[]
  _reservations: ((InsideWire | null)[] | undefined)[]
  _hotswap?(wire: InsideWire, index: number): boolean
}

interface Request {
  piece: number
  offset: number
}

/** Bytes per second below which WebTorrent lets another peer take over a block (its SPEED_THRESHOLD). */
export const slowBytesPerSecond = 3 << 14

/**
 * Makes a torrent that is ready ask for larger blocks. Pieces, whichever torrent of this page they belong to, share their methods; each counts its blocks when it is begun.
 * Returns false where WebTorrent is not the version this was written for (3.0.21, torrent-piece 3), which then asks as it always did.
 */
export function useLargeBlocks(torrent: object): boolean {
  const inside = torrent as InsideTorrent
  const some = inside.pieces?.find((piece) => piece !== null)
  if (!some || !inside._hotswap || typeof some.init !== 'function' || typeof some._chunks !== 'number') return false
  const methods = Object.getPrototypeOf(some) as Piece & { large?: boolean }
  if (!methods.large) {
    methods.large = true
    const { init } = methods
    methods.init = function () {
      if (!this._flushed && !this._buffer) {
        this._chunks = Math.ceil(this.length / blockBytes)
        this._remainder = this.length % blockBytes || blockBytes
      }
      return init.call(this)
    }
    methods.chunkLength = function (i) {
      return i === this._chunks - 1 ? this._remainder : blockBytes
    }
    methods.chunkLengthRemaining = function (i) {
      return this.length - i * blockBytes
    }
    methods.chunkOffset = (i) => i * blockBytes
    methods.set = function (i, data, source) {
      if (!this.init()) return false
      for (let j = 0; j * blockBytes < data.length; j++) {
        if (this._buffer![i + j]) continue
        const block = data.subarray(j * blockBytes, (j + 1) * blockBytes)
        this._buffered++
        this._buffer![i + j] = block
        this.missing -= block.length
        if (!this.sources!.includes(source)) this.sources!.push(source)
      }
      return this._buffered === this._chunks
    }
  }
  // WebTorrent's own counts blocks of 16 KiB: a block that a peer slower than this one holds is asked for here.
  inside._hotswap = (wire, index) => {
    const speed = wire.downloadSpeed()
    const holders = inside._reservations[index]
    if (speed < plainBlockBytes || !holders) return false
    let slowest: InsideWire | null = null
    for (const other of holders) {
      if (!other || other === wire) continue
      const otherSpeed = other.downloadSpeed()
      if (otherSpeed < slowBytesPerSecond && 2 * otherSpeed <= speed && otherSpeed <= (slowest?.downloadSpeed() ?? Number.POSITIVE_INFINITY)) slowest = other
    }
    if (!slowest) return false
    for (const [i, holder] of holders.entries()) if (holder === slowest) holders[i] = null
    for (const { piece, offset } of slowest.requests as Request[]) if (piece === index) inside.pieces[index]?.cancel(Math.floor(offset / blockBytes))
    return true
  }
  return true
}
