// One model's segment at a host: the engine's jobs, one at a time, the seats they serve, and what rows cost. Decides nothing about whom to admit (host.ts).
import type { Segment } from '../engine/engine.ts'
import { Cost, nextBatch, type Part, type Shares } from './batching.ts'
import type { Context } from './context.ts'
import type { ModelFacts, PeerKey, RowWant } from './machine.ts'
import type { Seat } from './seat.ts'

/** A step is meant to take 150 ms. An engine that brings nothing for a minute hangs (GPUs do, without a word): it is loaded anew. */
const jobMsMax = 60_000

interface Job {
  id: number
  parts: Part[]
  since: number
}

export class Served {
  readonly facts: ModelFacts
  readonly segment: Segment
  /** `leaving`: unloaded as soon as the last seat is gone. */
  state: 'loading' | 'ready' | 'leaving' = 'loading'
  loadingSince = 0
  rowsMax = 1
  positionsMax = 0
  readonly cost = new Cost()
  readonly seats = new Map<string, Seat>()
  private job: Job | null = null
  /** Sequences whose cache the engine may drop. */
  private readonly freed: number[] = []
  private readonly spare: number[] = []
  private sequences = 0
  /** Busy time of the running ten seconds, for the load that others see. */
  private busyMs = 0
  private busyFrom = 0
  load = 0
  /** No job before this: the device is lent in part. */
  private restUntil = 0
  rowsServed = 0
  /** Sessions in a batch, smoothed: guesses of one are paid for by all of them. */
  together = 1

  constructor(facts: ModelFacts, segment: Segment) {
    this.facts = facts
    this.segment = segment
  }

  get positionsReserved(): number {
    let sum = 0
    for (const seat of this.seats.values()) sum += seat.reserved
    return sum
  }

  get positionsFree(): number {
    return Math.max(0, this.positionsMax - this.positionsReserved)
  }

  takeSequence(): number {
    return this.spare.pop() ?? this.sequences++
  }

  release(seat: Seat): void {
    this.seats.delete(seat.session)
    this.freed.push(seat.sequence)
  }

  get busy(): boolean {
    return this.job !== null
  }

  /** The job under way when it has taken longer than any can. */
  stuckJob(now: number): number | null {
    return this.job && now >= this.job.since + jobMsMax ? this.job.id : null
  }

  /** Starts the next job when the engine is free and rows wait. `share`: percent of the time it may compute. */
  run(ctx: Context, shares: Shares, isFriend: (peer: PeerKey) => boolean): void {
    if (this.job || this.state === 'loading' || ctx.now < this.restUntil) return
    for (const sequence of this.freed.splice(0)) {
      ctx.act({ kind: 'truncate', modelId: this.facts.modelId, sequence, length: 0 })
      this.spare.push(sequence)
    }
    const parts = nextBatch([...this.seats.values()], this.rowsMax, this.cost, shares, isFriend)
    if (parts.length === 0) return
    for (const { seat } of parts) {
      if (seat.cached <= seat.kept) continue
      ctx.act({ kind: 'truncate', modelId: this.facts.modelId, sequence: seat.sequence, length: seat.kept })
      seat.cached = seat.kept
    }
    const rows = parts.flatMap(({ seat, piece }) =>
      Array.from({ length: piece.count }, (_, i) => ({ sequence: seat.sequence, position: piece.position + i, token: seat.tokens[piece.position + i] })),
    )
    const wants: RowWant[] = parts.flatMap(({ seat, piece }) => Array.from({ length: piece.count }, (_, i) => seat.wantOf(piece.position + i)))
    this.job = { id: ctx.jobNumber(), parts, since: ctx.now }
    ctx.act({ kind: 'compute', job: this.job.id, modelId: this.facts.modelId, rows, wants, boundary: joined(parts, this.facts.hidden) })
  }

  /** The job's parts with its time, when it is the one under way; null for any other number. */
  finish(job: number, now: number, share: number): { parts: Part[]; since: number; ms: number } | null {
    if (this.job?.id !== job) return null
    const { parts, since } = this.job
    const ms = now - since
    this.job = null
    const rows = parts.reduce((sum, part) => sum + part.piece.count, 0)
    this.cost.learn(rows, ms)
    this.rowsServed += rows
    this.together = this.together * 0.8 + parts.length * 0.2
    this.busyMs += ms
    this.restUntil = now + (ms * (100 - share)) / share
    return { parts, since, ms }
  }

  /** The engine is gone: nothing under way comes back. */
  drop(): void {
    this.job = null
    this.freed.length = 0
    this.spare.length = 0
    this.sequences = 0
  }

  measureLoad(now: number): void {
    const ms = now - this.busyFrom
    if (ms < 10_000) return
    this.load = this.busyFrom === 0 ? 0 : Math.min(1000, Math.round((this.busyMs / ms) * 1000))
    this.busyMs = 0
    this.busyFrom = now
  }

  wakeAt(now: number): number {
    if (this.job) return this.job.since + jobMsMax
    return this.restUntil > now && [...this.seats.values()].some((seat) => seat.queue.length > 0) ? this.restUntil : Infinity
  }
}

function joined(parts: Part[], hidden: number): Int32Array | null {
  if (parts[0].piece.boundary === null) return null
  if (parts.length === 1) return parts[0].piece.boundary
  const all = new Int32Array(parts.reduce((sum, part) => sum + part.piece.count * hidden, 0))
  let at = 0
  for (const { piece } of parts) {
    all.set(piece.boundary!, at)
    at += piece.boundary!.length
  }
  return all
}
