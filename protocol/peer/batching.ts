// What one engine runs next: rows of several sessions together. Exactness makes it invisible; fairness makes it bearable (swarm.md d).
// Decode rows of every ready session first, then one chunk of a prompt or replay, so that a long prompt costs the others at most one step.
import type { PeerKey } from './machine.ts'
import type { Piece, Seat } from './seat.ts'

/** A step is kept this short, so that nobody waits long behind anybody. */
export const stepMsMax = 150
/** Prompts and replays get at least a tenth of a step, however many decode. */
const bulkShare = 0.1

/** What a batch costs, learned from batches: one row, and each further one. Milliseconds. */
export class Cost {
  stepMs: number | null = null
  rowMs: number | null = null

  learn(rows: number, ms: number): void {
    const ema = (old: number | null, value: number): number => (old === null ? value : old * 0.8 + value * 0.2)
    if (rows === 1) this.stepMs = ema(this.stepMs, ms)
    else if (this.stepMs !== null) this.rowMs = ema(this.rowMs, Math.max(0, ms - this.stepMs) / (rows - 1))
    else this.rowMs = ema(this.rowMs, ms / rows)
  }

  /** Unknown costs: 20 ms a row, until the first batch tells. */
  rowsIn(ms: number): number {
    const row = this.rowMs ?? this.stepMs ?? 20
    return Math.max(1, Math.floor((ms - (this.stepMs ?? 0)) / Math.max(row, 0.01)))
  }
}

/**
 * Fair shares by a virtual counter of each requester (VTC, arXiv 2401.00588): who has used least goes first. One who comes back after a pause starts with
 * the least of the active ones: idleness is not saved up.
 */
export class Shares {
  private readonly used = new Map<PeerKey, number>()

  enter(requester: PeerKey): void {
    const least = Math.min(...this.used.values())
    const own = this.used.get(requester)
    if (own === undefined) this.used.set(requester, this.used.size > 0 ? least : 0)
  }

  leave(requester: PeerKey): void {
    this.used.delete(requester)
  }

  charge(requester: PeerKey, rows: number): void {
    const used = this.used.get(requester)
    if (used !== undefined) this.used.set(requester, used + rows)
  }

  of(requester: PeerKey): number {
    return this.used.get(requester) ?? 0
  }
}

export interface Part {
  seat: Seat
  piece: Piece
}

/** Takes the rows of the next batch out of the seats' queues. Seats of friends go before all others. */
export function nextBatch(seats: Seat[], rowsMax: number, cost: Cost, shares: Shares, isFriend: (peer: PeerKey) => boolean): Part[] {
  const waiting = seats.filter((seat) => seat.resumed && seat.queue.length > 0 && seat.computing === 0 && seat.mayRun)
  const taken = new Map<PeerKey, number>()
  /** Friends first, then who pays, then whoever has used least, this batch included, then whoever waits longest. */
  const order = (a: Seat, b: Seat): number =>
    Number(isFriend(b.requester)) - Number(isFriend(a.requester)) ||
    Number(b.earning !== null) - Number(a.earning !== null) ||
    shares.of(a.requester) + (taken.get(a.requester) ?? 0) - shares.of(b.requester) - (taken.get(b.requester) ?? 0) ||
    a.queue[0].since - b.queue[0].since ||
    a.sequence - b.sequence
  const parts: Part[] = []
  let room = rowsMax
  const isBulk = (seat: Seat): boolean => !seat.isLive(seat.queue[0].position)
  const bulk = waiting.filter(isBulk).sort(order)[0]
  const live = waiting.filter((seat) => !isBulk(seat))
  while (live.length > 0) {
    const seat = live.sort(order).shift()!
    const { count } = seat.queue[0]
    // One row is kept free for the prompt that is next, or it would starve behind a full house.
    if (count > room - (bulk ? 1 : 0)) continue
    room -= count
    taken.set(seat.requester, (taken.get(seat.requester) ?? 0) + count)
    parts.push({ seat, piece: seat.take(count) })
  }
  if (bulk) {
    const budget = cost.rowsIn(stepMsMax)
    const rows = Math.max(1, Math.ceil(budget * bulkShare), budget - (rowsMax - room))
    const { position, count } = bulk.queue[0]
    const upTo = bulk.committed - 1 - position
    const chosen = Math.min(count, room, rows, upTo)
    if (chosen > 0) parts.push({ seat: bulk, piece: bulk.take(chosen) })
  }
  for (const { seat, piece } of parts) shares.charge(seat.requester, piece.count)
  return parts
}
