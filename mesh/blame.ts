// Which peer sent wrong bytes of a torrent's piece. WebTorrent only says that a piece failed, and asks again, perhaps the same peer for ever. One sender of the whole
// piece is guilty at once; of several, those whose bytes differ from the piece that passed later ("smart ban"). Honest peers are never named.

interface Block<P> {
  offset: number
  bytes: Uint8Array
  peer: P
}

/** Failed pieces whose blocks are kept until a good one comes: a bound on memory, 64 pieces of at most 8 MiB; more than that at once means there is nobody to trust. */
const failedMax = 64

export class Blame<P> {
  /** Blocks of pieces under way, by piece. */
  private readonly coming = new Map<number, Block<P>[]>()
  /** Blocks of tries that failed. */
  private readonly failures = new Map<number, Block<P>[]>()

  /** A block came. The bytes are kept by reference, until the piece is decided. */
  block(piece: number, offset: number, bytes: Uint8Array, peer: P): void {
    const blocks = this.coming.get(piece)
    if (blocks) blocks.push({ offset, bytes, peer })
    else this.coming.set(piece, [{ offset, bytes, peer }])
  }

  /** The piece was wrong. Returns who is guilty for certain. */
  failed(piece: number): P[] {
    const blocks = this.coming.get(piece) ?? []
    this.coming.delete(piece)
    const peers = new Set(blocks.map((block) => block.peer))
    if (peers.size === 1) return [...peers]
    this.failures.set(piece, [...(this.failures.get(piece) ?? []), ...blocks])
    if (this.failures.size > failedMax) this.failures.delete(this.failures.keys().next().value!)
    return []
  }

  /** The piece was right. Returns who had sent other bytes for it before. */
  passed(piece: number): P[] {
    const good = this.coming.get(piece) ?? []
    this.coming.delete(piece)
    const failed = this.failures.get(piece)
    if (!failed) return []
    this.failures.delete(piece)
    const guilty = new Set<P>()
    for (const block of failed) if (good.some((right) => differ(right, block))) guilty.add(block.peer)
    return [...guilty]
  }
}

/** Whether two blocks have unequal bytes where they overlap. */
function differ(a: { offset: number; bytes: Uint8Array }, b: { offset: number; bytes: Uint8Array }): boolean {
  const from = Math.max(a.offset, b.offset)
  const to = Math.min(a.offset + a.bytes.length, b.offset + b.bytes.length)
  for (let at = from; at < to; at++) if (a.bytes[at - a.offset] !== b.bytes[at - b.offset]) return true
  return false
}
