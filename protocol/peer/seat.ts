// One session at one host: which rows are cached, which wait, what was sent on. Pure bookkeeping; the engine, the network and the choice of what runs next are outside.
// Rule of receiving (swarm.md c): older epoch or generation: drop. Beyond what is expected: nack. Known already: double, never cut. Newer generation: cut and go on.

import { noiseKey } from '../engine/answer.ts'
import type { Stop } from '../engine/generate.ts'
import type { NoiseKey } from '../engine/sampler.ts'
import { equalBytes, fromHex, hex } from '../hash.ts'
import { boundaryBytesMax, chunkRowsMax } from '../limits.ts'
import { Boundaries } from './boundaries.ts'
import type { Earning } from './earning.ts'
import type { HopTime, ModelFacts, PeerKey, RowWant } from './machine.ts'
import type { MessageOf } from './messages.ts'
import { boundaryBytes, chainNext, chainStart, tokenBytes } from './receipt.ts'

/** Rows that wait to be computed. */
export interface Piece {
  position: number
  count: number
  /** count · hidden; null at layer 0. */
  boundary: Int32Array | null
  since: number
  times: HopTime[]
}

/** A message of rows as the seat sees it. */
export type Received = 'queued' | 'old' | 'double' | { nack: number } | { wrong: string } | 'differs'

interface Logged {
  position: number
  /** rows · hidden: what left this segment. */
  rows: Int32Array
  times: HopTime[]
}

export const stopOf = (
  open: { maxTokens: number; stopIds: readonly number[]; promptLength: number },
  context: number,
  token: number,
  length: number,
): Stop | null => {
  if (open.stopIds.includes(token)) return 'eos'
  if (length - open.promptLength >= open.maxTokens) return 'length'
  return length >= context ? 'context' : null
}

/** Rows of one message: wide ones are fewer. */
const chunkOf = (hidden: number): number => Math.max(1, Math.min(chunkRowsMax, Math.floor(boundaryBytesMax / (hidden * 4))))

export class Seat {
  readonly facts: ModelFacts
  readonly sequence: number
  readonly requester: PeerKey
  readonly session: string
  readonly key: NoiseKey
  open!: MessageOf<'open'>
  index = 0
  generation = 0
  /** Between open and resume nothing runs. */
  resumed = false
  /** Tokens that are settled as far as this host knows (the first host learns each new one). */
  committed = 0
  /** Tokens of the rows [0, end). */
  tokens: number[] = []
  /** Rows computed. */
  kept = 0
  /** Rows in the engine now, beyond kept. */
  computing = 0
  /** Rows in the engine's cache, which may be more than are kept: the engine is told before it runs again. */
  cached = 0
  queue: Piece[] = []
  /** Rows that came between open and resume. */
  early: MessageOf<'rows'>[] = []
  /** Positions of cache set aside. */
  reserved = 0
  /** The successor has rows [0, sent) from us, and has computed [0, taken). */
  sent = 0
  taken = 0
  log: Logged[] = []
  logBytes = 0
  inChain: Uint8Array[] = []
  outChain: Uint8Array[] = []
  /** What the last host said last, for doubled questions. */
  answer: MessageOf<'tokens'> | null = null
  /** Rows computed so far, also those cut again: what this session costs. */
  rowsDone = 0
  /** The paid session that it is part of, null for who pays nothing. */
  earning: Earning | null = null
  /** Only where it is paid: others sign running hashes alone. */
  boundaries: Boundaries | null = null
  /** Whether rows that enter are kept for this host's own defence. */
  keepsRows = false
  /** Since when rows wait for a voucher. */
  unpaidSince: number | null = null
  aliveAt = 0
  progressAt = 0
  roundAt = 0

  constructor(facts: ModelFacts, sequence: number, open: MessageOf<'open'>) {
    this.facts = facts
    this.sequence = sequence
    this.requester = open.requester
    this.session = open.session
    this.key = noiseKey(open.seed)
    this.committed = open.promptLength
  }

  get epoch(): number {
    return this.open.epoch
  }
  get from(): number {
    return this.open.chain[this.index].from
  }
  get to(): number {
    return this.open.chain[this.index].to
  }
  get first(): boolean {
    return this.index === 0
  }
  get last(): boolean {
    return this.index === this.open.chain.length - 1
  }
  /** The first host's predecessor for rows is the requester. */
  get previous(): PeerKey {
    return this.first ? this.requester : this.open.chain[this.index - 1].peer
  }
  /** The ring: the last host's successor is the first. */
  get next(): PeerKey {
    return this.open.chain[this.last ? 0 : this.index + 1].peer
  }
  /** Rows known: computed, being computed, waiting. */
  get end(): number {
    return this.tokens.length
  }
  get logFrom(): number {
    return this.last ? this.kept : (this.log[0]?.position ?? this.kept)
  }

  /** A first open, or one of a newer epoch: everything under way is void, what is computed stays. */
  reopen(open: MessageOf<'open'>, index: number): void {
    const segmentChanged = this.open !== undefined && (open.chain[index].from !== this.from || open.chain[index].to !== this.to)
    this.open = open
    this.index = index
    this.resumed = false
    this.early = []
    this.generation = 0
    this.cut(segmentChanged ? 0 : this.kept)
    if (this.inChain.length === 0 || segmentChanged) {
      this.inChain = [chainStart(this.session, this.from)]
      this.outChain = [chainStart(this.session, this.to)]
      this.log = []
      this.logBytes = 0
      if (this.boundaries) this.boundaries = this.newBoundaries()
    }
  }

  private newBoundaries(): Boundaries {
    return new Boundaries(this.facts.hidden, this.first, this.last, this.keepsRows)
  }

  /** The terms from now on. What came before them has left no roots, and no claim can be made of it. */
  pay(earning: Earning | null): void {
    this.earning = earning
    if (earning && this.end === 0) this.boundaries ??= this.newBoundaries()
  }

  /** Whether the rows that wait may be computed before the next voucher comes. */
  get mayRun(): boolean {
    const piece = this.queue[0]
    return !this.earning || !piece || !this.isLive(piece.position) || piece.position + 1 - this.open.promptLength < this.earning.reach
  }

  /** The last host only: whether it chose `token` after row `position` − 1. */
  hasChosen(position: number, token: number): boolean {
    if (!this.last) return true
    const index = position + 1 - this.open.promptLength
    const [before, after] = [this.outChain[index - 1], this.outChain[index]]
    return before !== undefined && after !== undefined && equalBytes(chainNext(before, position, tokenBytes(token)), after)
  }

  resume(keep: number, replayFrom: number, committed: number): void {
    this.cut(Math.min(keep, this.kept))
    this.committed = committed
    if (this.earning) this.earning.start ??= committed - this.open.promptLength
    this.sent = replayFrom
    this.taken = this.sent
    this.resumed = true
    this.roundAt = 0
    this.answer = null
    // The last host's running hash goes over tokens: those beyond the settled ones are chosen again.
    if (this.last) this.outChain.length = Math.min(this.outChain.length, Math.max(1, this.kept - this.open.promptLength + 2))
  }

  /** Forgets rows from `length` on. */
  cut(length: number): void {
    if (length >= this.end) return
    this.tokens.length = length
    this.kept = Math.min(this.kept, length)
    this.computing = Math.max(0, Math.min(this.computing, length - this.kept))
    this.sent = Math.min(this.sent, length)
    this.taken = Math.min(this.taken, length)
    const { hidden } = this.facts
    this.queue = this.queue.flatMap((piece) => {
      const count = Math.min(piece.count, length - piece.position)
      return count > 0 ? [{ ...piece, count, boundary: piece.boundary?.subarray(0, count * hidden) ?? null }] : []
    })
    this.boundaries?.cut(length)
    this.inChain.length = Math.min(this.inChain.length, length + 1)
    if (!this.last) this.outChain.length = Math.min(this.outChain.length, length + 1)
    while (this.log.length > 0) {
      const piece = this.log[this.log.length - 1]
      const rows = Math.min(piece.rows.length / hidden, length - piece.position)
      if (rows * hidden === piece.rows.length) break
      this.log.pop()
      this.logBytes -= piece.rows.byteLength
      if (rows <= 0) continue
      const kept = piece.rows.slice(0, rows * hidden)
      this.log.push({ ...piece, rows: kept })
      this.logBytes += kept.byteLength
      break
    }
  }

  /** Rows from the predecessor, already of this epoch. Shape against the model first, order second, hash last. */
  receive(message: MessageOf<'rows'>, now: number): Received {
    const { hidden, vocab, context } = this.facts
    const { position, tokens, boundary } = message
    const count = tokens.length
    if (message.layer !== this.from) return { wrong: `rows enter layer ${message.layer}, this segment begins at ${this.from}` }
    if ((boundary?.length ?? 0) !== (this.first ? 0 : count * hidden)) return { wrong: `${count} rows with ${boundary?.length ?? 0} residuals of ${hidden}` }
    if (position + count > context) return { wrong: `rows up to ${position + count} in a context of ${context}` }
    if (tokens.some((token) => token >= vocab)) return { wrong: `a token outside the vocabulary of ${vocab}` }
    if (!this.resumed || message.generation < this.generation) return 'old'
    if (position > this.end) return { nack: this.end }
    const newer = message.generation > this.generation
    if (!newer && position + count <= this.end) return 'double'

    const chains = [this.inChain[position]]
    for (let i = 0; i < count; i++) chains.push(chainNext(chains[i], position + i, boundary ? boundaryBytes(boundary, i, hidden) : tokenBytes(tokens[i])))
    if (!this.first && !equalBytes(chains[count], fromHex(message.chain))) return 'differs'
    if (newer) {
      this.generation = message.generation
      this.cut(position)
    }
    const skip = this.end - position
    this.inChain.push(...chains.slice(1 + skip))
    if (boundary) this.boundaries?.came(this.end, boundary.subarray(skip * hidden))
    this.add(tokens.slice(skip), boundary?.subarray(skip * hidden) ?? null, now, message.times)
    return 'queued'
  }

  /** The first host's own next rows: the new token and guesses at what follows. */
  go(tokens: number[], now: number): void {
    for (const [i, token] of tokens.entries()) this.inChain.push(chainNext(this.inChain[this.end + i], this.end + i, tokenBytes(token)))
    this.add(tokens, null, now, [])
  }

  private add(tokens: number[], boundary: Int32Array | null, now: number, times: HopTime[]): void {
    this.queue.push({ position: this.end, count: tokens.length, boundary, since: now, times })
    this.tokens.push(...tokens)
  }

  /** Rows whose next token is wanted at once and must be judged together; those before may be cut into any batches. */
  isLive(position: number): boolean {
    return position >= this.committed - 1
  }

  wantOf(position: number): RowWant {
    if (!this.last || position < this.open.promptLength - 1) return null
    const { sampler } = this.open
    const penalised = sampler.repeatPenalty !== 65536 && sampler.repeatWindow > 0
    return { sampler, key: this.key, recent: penalised ? this.tokens.slice(Math.max(0, position + 1 - sampler.repeatWindow), position + 1) : [] }
  }

  /** Takes the first `count` waiting rows to the engine. */
  take(count: number): Piece {
    const piece = this.queue[0]
    const { hidden } = this.facts
    const taken = { ...piece, count, boundary: piece.boundary?.subarray(0, count * hidden) ?? null }
    if (count === piece.count) this.queue.shift()
    else this.queue[0] = { ...piece, position: piece.position + count, count: piece.count - count, boundary: piece.boundary?.subarray(count * hidden) ?? null }
    this.computing = count
    return taken
  }

  /** Rows from `position` on came back from the engine: keeps those that are still wanted and what left the segment. Returns how many. */
  computed(position: number, count: number, boundary: Int32Array | null, time: HopTime, times: HopTime[]): number {
    const valid = Math.min(count, this.computing)
    this.cached = position + count
    this.computing = 0
    this.rowsDone += count
    this.kept += valid
    if (valid > 0 && boundary) {
      const { hidden } = this.facts
      const rows = boundary.slice(0, valid * hidden)
      for (let i = 0; i < valid; i++) this.outChain.push(chainNext(this.outChain[position + i], position + i, boundaryBytes(rows, i, hidden)))
      this.boundaries?.went(position, rows)
      this.log.push({ position, rows, times: [...times.slice(0, this.index), time] })
      this.logBytes += rows.byteLength
    }
    return valid
  }

  /** The last host's running hash goes over the tokens it chose: `token` follows row `position`. */
  chose(position: number, token: number): void {
    const index = position + 1 - this.open.promptLength
    this.outChain.length = index + 1
    this.outChain.push(chainNext(this.outChain[index], position + 1, tokenBytes(token)))
  }

  /** The next message of rows for the successor, null when there is none or it must wait for `taken`. */
  nextRows(): MessageOf<'rows'> | null {
    if (!this.resumed || this.last || this.sent >= this.kept) return null
    const chunk = chunkOf(this.facts.hidden)
    // Two chunks under way per hop: the successor always has one to compute, and its memory stays bounded.
    if (!this.isLive(this.sent) && this.sent - this.taken >= 2 * chunk) return null
    const rows = this.rowsAt(this.sent, this.kept)
    if (rows) this.sent += rows.tokens.length
    return rows
  }

  /** Logged outputs from `position` on, as many as make a message, those before `upto` at most; null when the log does not hold them. */
  rowsAt(position: number, upto: number): MessageOf<'rows'> | null {
    const { log } = this
    const { hidden } = this.facts
    let at = log.length - 1
    while (at >= 0 && log[at].position > position) at--
    if (at < 0 || log[at].position + log[at].rows.length / hidden <= position) return null
    const { times } = log[at]
    // Rows that were computed one by one are replayed together: the successor runs them as one batch.
    const parts: Int32Array[] = []
    let end = position
    for (const most = Math.min(upto, position + chunkOf(hidden)); at < log.length && end < most; at++) {
      const piece = log[at]
      const part = piece.rows.subarray((end - piece.position) * hidden, (most - piece.position) * hidden)
      parts.push(part)
      end += part.length / hidden
    }
    const boundary = new Int32Array((end - position) * hidden)
    let filled = 0
    for (const part of parts) {
      boundary.set(part, filled)
      filled += part.length
    }
    return {
      kind: 'rows',
      session: this.session,
      epoch: this.epoch,
      generation: this.generation,
      position,
      layer: this.to,
      tokens: this.tokens.slice(position, end),
      boundary,
      chain: hex(this.outChain[end]),
      times,
    }
  }

  /** Drops the oldest logged outputs that the successor has computed. Returns the bytes freed. */
  trimLog(): number {
    const piece = this.log[0]
    if (!piece || piece.position + piece.rows.length / this.facts.hidden > Math.min(this.sent, this.kept - 1)) return 0
    this.log.shift()
    this.logBytes -= piece.rows.byteLength
    return piece.rows.byteLength
  }
}
