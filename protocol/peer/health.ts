// What a requester remembers of hosts: how fast they were, who failed, who is to be left alone for a while. Local: nobody is accused before others.
import type { Context } from './context.ts'
import type { Links } from './links.ts'
import type { PeerKey } from './machine.ts'
import type { Knowledge } from './routing.ts'

/** Away for 15 s, doubled with each failure in a row, ten minutes at most. */
const coolMs = 15_000
const coolMsMax = 600_000
/** The same for one that has said something since it failed, when there is nobody else: it may have been a short fault, or a tab that was opened again. */
const backMs = 1000
const backMsMax = 60_000
/** A failure counts half after five minutes. */
const fadeMs = 300_000
const peersMax = 4096
const ownRestMs = 2000

/**
 * Whom a route may use. `well`: nobody who failed lately, nor anyone who has been silent since it failed, however long ago. Where these make no ring, `back`: also those
 * that have been heard since. And then `any`: everyone whose time away is over, since nobody else is left to try.
 */
export const trusts = ['well', 'back', 'any'] as const
export type Trust = (typeof trusts)[number]

interface Record {
  /** No fault of its own: not now. */
  restUntil: number
  /** Of its newest presence record then: who has begun anew since is not who was to be left alone. */
  restBoot: number
  outUntil: number
  inRow: number
  failures: number
  failedAt: number
  /** The newest presence record when it failed: a newer one is a sign of life. */
  failedBoot: number
  failedSequence: number
  /** Time of one row by model. */
  seen: Map<string, number>
}

export class Health {
  private readonly records = new Map<PeerKey, Record>()
  private readonly cuts = new Map<string, number>()
  private readonly ctx: Context
  private readonly links: Links

  constructor(ctx: Context, links: Links) {
    this.ctx = ctx
    this.links = links
  }

  seenMs(peer: PeerKey, modelId: string): number | null {
    return this.records.get(peer)?.seen.get(modelId) ?? null
  }

  failures(peer: PeerKey): number {
    const one = this.records.get(peer)
    return one ? one.failures / (1 + (this.ctx.now - one.failedAt) / fadeMs) : 0
  }

  isOut(peer: PeerKey, trust: Trust): boolean {
    if (this.links.isBanned(peer)) return true
    const one = this.records.get(peer)
    const { now } = this.ctx
    if (!one) return false
    if (one.restUntil > now && (this.ctx.table.get(peer)?.boot ?? 0) <= one.restBoot) return true
    if (one.inRow === 0) return false
    const heard = this.isHeard(peer, one)
    if (trust === 'back' && heard) return one.failedAt + Math.min(backMsMax, backMs * 2 ** (one.inRow - 1)) > now
    return one.outUntil > now || (trust !== 'any' && !heard)
  }

  /** What routing asks, for one kind of route. Of ledgers only who pays knows (rings.ts). */
  trusting(trust: Trust): Knowledge {
    return {
      rttMs: (peer) => this.links.rttMs(peer),
      seenMs: (peer, modelId) => this.seenMs(peer, modelId),
      failures: (peer) => this.failures(peer),
      score: () => 0,
      isOut: (peer) => this.isOut(peer, trust),
      isCut: (from, to) => this.isCut(from, to),
    }
  }

  /** Whether it has said anything, to this peer or to all, since it failed. */
  private isHeard(peer: PeerKey, one: Record): boolean {
    if (this.links.heardAt(peer) > one.failedAt) return true
    const said = this.ctx.table.get(peer)
    return said !== undefined && (said.boot > one.failedBoot || (said.boot === one.failedBoot && said.sequence > one.failedSequence))
  }

  isCut(from: PeerKey, to: PeerKey): boolean {
    return (this.cuts.get(`${from} ${to}`) ?? 0) > this.ctx.now
  }

  /** It served a round: `ms` for one row, null when nothing was measured. */
  worked(peer: PeerKey, modelId: string, ms: number | null): void {
    const one = this.of(peer)
    one.inRow = 0
    if (ms === null) return
    const before = one.seen.get(modelId)
    one.seen.set(modelId, before === undefined ? ms : before * 0.8 + ms * 0.2)
  }

  failed(peer: PeerKey): void {
    // The own host is not shunned, only left alone until its presence is true again.
    if (peer === this.ctx.self) return this.rest(peer, ownRestMs)
    const one = this.of(peer)
    const said = this.ctx.table.get(peer)
    one.failures = this.failures(peer) + 1
    one.failedAt = this.ctx.now
    one.failedBoot = said?.boot ?? 0
    one.failedSequence = said?.sequence ?? 0
    one.outUntil = this.ctx.now + Math.min(coolMsMax, coolMs * 2 ** one.inRow++)
    // Silence proves little until it was asked.
    this.links.probe(peer)
  }

  /** No fault of its own (full, draining): only not now. */
  rest(peer: PeerKey, ms: number): void {
    const one = this.of(peer)
    one.restUntil = Math.max(one.restUntil, this.ctx.now + ms)
    one.restBoot = Math.max(one.restBoot, this.ctx.table.get(peer)?.boot ?? this.ctx.table.passedBoot(peer))
  }

  cut(from: PeerKey, to: PeerKey): void {
    this.cuts.set(`${from} ${to}`, this.ctx.now + coolMs * 2)
    if (this.cuts.size > peersMax) this.cuts.delete(this.cuts.keys().next().value!)
  }

  private of(peer: PeerKey): Record {
    let one = this.records.get(peer)
    if (!one) {
      one = { restUntil: 0, restBoot: 0, outUntil: 0, inRow: 0, failures: 0, failedAt: 0, failedBoot: 0, failedSequence: 0, seen: new Map() }
      this.records.set(peer, one)
      if (this.records.size > peersMax) this.records.delete(this.records.keys().next().value!)
    }
    return one
  }
}
