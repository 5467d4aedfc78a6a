// The sessions of a host: open, resume, rows in, batches through the engine, rows or tokens out, receipts at the end. What the host holds is lender.ts's business.

import { Door, type House, Line, openFault, positionsFirst, type Refused } from './admission.ts'
import type { Part } from './batching.ts'
import { Shares } from './batching.ts'
import type { Context } from './context.ts'
import { DraftPace, draftOf } from './draft.ts'
import { Earnings, unpaidMsMax } from './earning.ts'
import { Farewells } from './farewell.ts'
import { Feeds } from './feeds.ts'
import type { Links } from './links.ts'
import type { Lending, PeerKey } from './machine.ts'
import { type MessageOf, shortReason, type troubles } from './messages.ts'
import { Seat, stopOf } from './seat.ts'
import type { Served } from './served.ts'

/** A requester says something at least every two seconds; one that is silent for five such times has gone. */
export const aliveEveryMs = 2000
const silentMsMax = 10_000
/** A requester whose connection broke may come back; its seat waits this long. */
const returnMs = 3000
/** A seat that was opened and never resumed. */
const leaseMs = 10_000
const progressEveryMs = 1000
/** Logged boundaries of all sessions together: the oldest go first, and replay then begins further back. */
const logBytesMax = 256 << 20
/** Messages of rows kept for a resume that is on its way: two chunks from another host, from the requester a prompt of the longest context. */
const earlyMax = 4
const earlyTokensMax = 128
/** Cache is asked for in steps, like the engines' pages. */
const pageRows = 64

export interface Holding {
  lending: Lending | null
  accepting: boolean
  paused: boolean
  throttled: boolean
  readonly models: ReadonlyMap<string, Served>
  isFriend(peer: PeerKey): boolean
}

export class Serving {
  readonly seats = new Map<string, Seat>()
  private readonly paces = new Map<string, DraftPace>()
  /** Opens that wait for the way to their successor. */
  private readonly reaching = new Map<string, { open: MessageOf<'open'>; until: number }>()
  /** Requesters without connection, and until when their seats wait. */
  private readonly away = new Map<PeerKey, number>()
  private readonly door = new Door()
  private readonly line = new Line()
  private readonly shares = new Shares()
  private readonly farewells: Farewells
  private readonly feeds: Feeds
  readonly earnings: Earnings
  private readonly ctx: Context
  private readonly links: Links
  private readonly holding: Holding

  constructor(ctx: Context, links: Links, holding: Holding) {
    this.ctx = ctx
    this.links = links
    this.holding = holding
    this.farewells = new Farewells(ctx)
    this.feeds = new Feeds(ctx, links)
    this.earnings = new Earnings(ctx, links)
  }

  // What comes in.

  open(peer: PeerKey, open: MessageOf<'open'>): void {
    if (!this.door.mayKnock(peer, this.ctx.now)) return this.refuse(peer, open, { why: 'limit', message: 'too many opens', waitMs: 1000 })
    const known = this.seats.get(open.session)
    if (known && (known.requester !== peer || known.epoch > open.epoch)) return
    if (known && known.epoch === open.epoch) return known.resumed ? undefined : this.sayOpened(known)
    const served = this.holding.models.get(open.modelId)
    const house: House = {
      self: this.ctx.self,
      lending: this.holding.lending,
      accepting: this.holding.accepting || known !== undefined,
      paused: this.holding.paused,
      throttled: this.holding.throttled,
      served,
      seats: this.seats,
      isFriend: (one) => this.holding.isFriend(one),
    }
    const fault = openFault(house, peer, open)
    if (fault) return this.refuse(peer, open, fault)
    const paidOnly = (house.lending?.paidOnly ?? false) && !house.isFriend(peer)
    const pay = this.earnings.check(open, known, served!.facts.layers, paidOnly)
    const refused = 'refused' in pay ? pay.refused : known ? null : this.line.admit(house, peer, open, this.ctx.now)
    if (refused || 'refused' in pay) return this.refuse(peer, open, refused!)
    const index = open.chain.findIndex((one) => one.peer === this.ctx.self)
    const seat = known ?? new Seat(served!.facts, served!.takeSequence(), open)
    seat.reopen(open, index)
    this.feeds.end(open.session)
    this.earnings.enter(seat, pay.earning)
    seat.aliveAt = this.ctx.now
    if (!known) {
      seat.reserved = positionsFirst(open, served!.facts.context)
      this.seats.set(open.session, seat)
      served!.seats.set(open.session, seat)
      this.shares.enter(peer)
      this.ctx.notice({ of: 'host', what: 'opened', session: open.session, peer, modelId: open.modelId })
    }
    // The ring must be closed before anything runs: every host dials its successor; of two hosts, only the first dials.
    const next = open.chain[(index + 1) % open.chain.length]
    const awaited = open.chain.length === 2 && index === 1
    if (awaited ? this.links.isUp(next.peer) : this.links.want(next.peer, next.addresses)) return this.sayOpened(seat)
    this.reaching.set(open.session, { open, until: this.ctx.now + leaseMs })
  }

  resume(peer: PeerKey, message: MessageOf<'resume'>): void {
    const seat = this.seatFor(peer, message)
    if (!seat || seat.resumed) return
    seat.resume(message.keep, message.replayFrom, message.committed)
    this.pump(seat)
    const early = seat.early.splice(0)
    // Who feeds a second holder (feeds.ts) may have been here before the open: nothing of that was kept.
    if (!seat.first && early.length === 0) this.ctx.send(seat.previous, { kind: 'taken', session: seat.session, epoch: seat.epoch, position: seat.kept })
    for (const rows of early) this.rows(seat.previous, rows)
  }

  rows(peer: PeerKey, message: MessageOf<'rows'>): void {
    const seat = this.seats.get(message.session)
    if (!seat || seat.epoch !== message.epoch || seat.previous !== peer) return
    if (peer === seat.requester) seat.aliveAt = this.ctx.now
    // The predecessor may have heard the requester's word to go on sooner than we.
    if (!seat.resumed && seat.early.length < (seat.first ? earlyTokensMax : earlyMax)) return void seat.early.push(message)
    const got = seat.receive(message, this.ctx.now)
    if (typeof got === 'object' && 'wrong' in got) {
      this.links.strike(peer, got.wrong)
      return this.trouble(seat, 'input', peer, got.wrong)
    }
    if (got === 'differs') return this.trouble(seat, 'differs', peer, 'rows do not hash to what their sender says')
    if (got === 'double') {
      if (seat.answer && !seat.queue.length && !seat.computing) this.sayTokens(seat, seat.answer)
      return
    }
    if (typeof got === 'object') {
      const { session, epoch, generation } = seat
      return this.ctx.send(peer, { kind: 'nack', session, epoch, generation, position: got.nack })
    }
    if (got === 'queued' && !this.grow(seat)) this.evict(seat, 'lost', 'no room is left for a longer text')
  }

  /** The first host learns what the last one chose, and goes on. */
  tokens(peer: PeerKey, message: MessageOf<'tokens'>): void {
    const seat = this.seatOf(message)
    if (!seat?.first || !seat.resumed || seat.open.chain.at(-1)!.peer !== peer) return
    if (message.position !== seat.committed || message.generation < seat.generation) return
    const { tokens } = message
    if (tokens.some((token) => token >= seat.facts.vocab)) return void this.links.strike(peer, 'says a token outside the vocabulary')
    const all = seat.tokens.slice(0, seat.committed).concat(tokens)
    if (seat.roundAt > 0) this.paceOf(seat).learn(message.rows - 1, tokens.length - 1, this.ctx.now - seat.roundAt)
    seat.generation = message.generation
    seat.committed = all.length
    seat.cut(all.length - 1)
    if (message.stop) return
    seat.go([all[all.length - 1], ...this.guesses(seat, all)], this.ctx.now)
    seat.roundAt = this.ctx.now
    if (!this.grow(seat)) this.evict(seat, 'lost', 'no room is left for a longer text')
  }

  nack(peer: PeerKey, message: MessageOf<'nack'>): void {
    const seat = this.seatOf(message)
    if (!seat || seat.last || seat.next !== peer || message.generation !== seat.generation || message.position >= seat.sent) return
    if (message.position < seat.logFrom) return this.trouble(seat, 'gap', peer, `rows from ${message.position} on are not kept any more`)
    seat.sent = message.position
    seat.taken = Math.min(seat.taken, seat.sent)
    this.pump(seat)
  }

  taken(peer: PeerKey, message: MessageOf<'taken'>): void {
    if (this.feeds.taken(peer, message)) return
    const seat = this.seatOf(message)
    if (!seat || seat.last || seat.next !== peer) return
    seat.taken = Math.max(seat.taken, Math.min(message.position, seat.sent))
    this.pump(seat)
  }

  probe(peer: PeerKey, message: MessageOf<'probe'>): void {
    const seat = this.seatFor(peer, message)
    if (seat) this.ctx.send(peer, { kind: 'probed', session: seat.session, epoch: seat.epoch, position: seat.kept })
  }

  feed(peer: PeerKey, message: MessageOf<'feed'>): void {
    const seat = this.seatFor(peer, message)
    if (seat?.resumed) this.feeds.begin(seat, message)
  }

  alive(peer: PeerKey, message: MessageOf<'alive'>): void {
    this.seatFor(peer, message)
  }

  close(peer: PeerKey, message: MessageOf<'close'>): void {
    const seat = this.seats.get(message.session)
    if (!seat || seat.requester !== peer || message.epoch < seat.epoch) return
    if (message.receipt) this.farewells.begin(seat, message.committed)
    this.earnings.claim(seat, message.committed, message.ending)
    // The last voucher is on its way, also of an answer that was cut short.
    this.earnings.leave(seat, true)
    this.end(seat, 'answered')
  }

  statement(peer: PeerKey, message: MessageOf<'statement'>): void {
    this.farewells.statement(peer, message, this.seats.get(message.session))
  }

  /** Whether a session here has this peer as its requester or next to it in the ring. */
  needs(peer: PeerKey): boolean {
    for (const seat of this.seats.values()) if (seat.requester === peer || seat.previous === peer || seat.next === peer) return true
    return false
  }

  up(peer: PeerKey): void {
    this.away.delete(peer)
    this.feeds.up(peer)
    for (const [session, { open }] of this.reaching) {
      const seat = this.seats.get(session)
      if (seat?.next === peer && seat.epoch === open.epoch) this.sayOpened(seat)
    }
  }

  down(peer: PeerKey): void {
    for (const seat of this.seats.values()) {
      if (seat.requester === peer) this.away.set(peer, this.ctx.now + returnMs)
      if (seat.open.chain.length === 1 || seat.next !== peer) continue
      if (this.reaching.has(seat.session)) this.unreachable(seat)
      else this.trouble(seat, 'unreachable', peer, 'the connection to the next host broke')
    }
  }

  computed(job: number, boundary: Int32Array | null, tokens: (number | null)[]): void {
    for (const served of this.holding.models.values()) {
      const done = served.finish(job, this.ctx.now, this.holding.lending?.share ?? 100)
      if (!done) continue
      const sessions = done.parts.length
      const rows = done.parts.reduce((sum, part) => sum + part.piece.count, 0)
      this.ctx.notice({ of: 'host', what: 'computed', modelId: served.facts.modelId, rows, sessions, ms: done.ms })
      let at = 0
      for (const part of done.parts) {
        const { count } = part.piece
        const own = boundary?.subarray(at * served.facts.hidden, (at + count) * served.facts.hidden) ?? null
        this.finishPart(part, own, tokens.slice(at, at + count), done.since, Math.round(done.ms))
        at += count
      }
    }
  }

  /** The engine failed: the sessions of that job move elsewhere; with the engine, all of the model. Returns which model. */
  computeFailed(job: number, message: string, lost: boolean): string | null {
    for (const served of this.holding.models.values()) {
      const done = served.finish(job, this.ctx.now, 100)
      if (!done) continue
      const seats = lost ? [...served.seats.values()] : done.parts.map((part) => part.seat).filter((seat) => this.seats.get(seat.session) === seat)
      for (const seat of seats) this.evict(seat, 'lost', message)
      if (lost) served.drop()
      return served.facts.modelId
    }
    return null
  }

  /** All sessions of a model, or all there are, go elsewhere. */
  sendAway(why: string, modelId?: string): void {
    for (const seat of [...this.seats.values()]) if (modelId === undefined || seat.open.modelId === modelId) this.evict(seat, 'leaving', why)
  }

  /** After every event: starts what can run, and says what is due. */
  tick(): void {
    const { now } = this.ctx
    for (const seat of [...this.seats.values()]) {
      if (now - seat.aliveAt > silentMsMax) this.end(seat, 'its requester is silent')
      else if ((this.away.get(seat.requester) ?? Infinity) <= now) this.end(seat, 'its requester has gone')
      else if (!seat.resumed && !this.reaching.has(seat.session) && now - seat.aliveAt > leaseMs) this.end(seat, 'it was opened and never used')
      else if (this.starves(seat)) this.evict(seat, 'unpaid', 'no voucher came for what was computed')
      else if ((seat.queue.length > 0 || seat.computing > 0) && now - seat.progressAt >= progressEveryMs) this.sayProgress(seat)
    }
    for (const [session, { until }] of this.reaching) {
      const seat = this.seats.get(session)
      if (!seat) this.reaching.delete(session)
      else if (until <= now) this.unreachable(seat)
    }
    for (const [peer, until] of this.away) if (until <= now) this.away.delete(peer)
    this.farewells.tick()
    this.earnings.tick()
    this.trimLogs()
    if (this.holding.paused) return
    for (const served of this.holding.models.values()) {
      served.measureLoad(now)
      served.run(this.ctx, this.shares, (peer) => this.holding.isFriend(peer))
    }
  }

  wakeAt(): number {
    const { now } = this.ctx
    let at = Math.min(this.farewells.wakeAt(), this.earnings.wakeAt(this.seats.values()))
    for (const seat of this.seats.values()) {
      at = Math.min(at, seat.aliveAt + silentMsMax + 1, this.away.get(seat.requester) ?? Infinity)
      if (seat.queue.length > 0 || seat.computing > 0) at = Math.min(at, Math.max(now, seat.progressAt) + progressEveryMs)
      if (seat.unpaidSince !== null) at = Math.min(at, seat.unpaidSince + unpaidMsMax)
    }
    for (const { until } of this.reaching.values()) at = Math.min(at, until)
    for (const served of this.holding.models.values()) at = Math.min(at, served.wakeAt(now))
    return at
  }

  // What goes out.

  private finishPart({ seat, piece }: Part, boundary: Int32Array | null, chosen: (number | null)[], since: number, computeMs: number): void {
    if (this.seats.get(seat.session) !== seat) return
    const time = { waitMs: Math.max(0, Math.round(since - piece.since)), computeMs }
    const valid = seat.computed(piece.position, piece.count, boundary, time, piece.times)
    if (valid === 0) return
    const bulk = !seat.isLive(piece.position)
    if (bulk && !seat.first) this.ctx.send(seat.previous, { kind: 'taken', session: seat.session, epoch: seat.epoch, position: seat.kept })
    if (seat.last) this.judge(seat, piece.position, chosen.slice(0, valid), [...piece.times.slice(0, seat.index), time])
    else this.pump(seat)
    // Who races against a late host waits for this word.
    if (bulk && seat.epoch > 1 && seat.queue.length === 0) this.sayProgress(seat)
  }

  /** The last host: each row's own choice against what stands there already; guesses count only as long as they are right. */
  private judge(seat: Seat, position: number, chosen: (number | null)[], times: MessageOf<'tokens'>['times']): void {
    const fresh: number[] = []
    let stop: MessageOf<'tokens'>['stop'] = null
    for (const [i, token] of chosen.entries()) {
      const index = position + i + 1
      const written = seat.tokens[index]
      if (token === null) continue
      seat.chose(position + i, token)
      if (index < seat.committed) {
        // Nothing that stands on it may be computed, and no running hash goes on from here.
        if (written !== undefined && written !== token) return this.evict(seat, 'differs', `token ${index} is ${token} here and ${written} before`)
        continue
      }
      fresh.push(token)
      stop = stopOf(seat.open, seat.facts.context, token, index + 1)
      if (!stop && written === token) continue
      if (written !== undefined) {
        seat.generation++
        seat.cut(index)
      }
      break
    }
    if (fresh.length === 0) return
    seat.answer = {
      kind: 'tokens',
      session: seat.session,
      epoch: seat.epoch,
      generation: seat.generation,
      position: seat.committed,
      tokens: fresh,
      stop,
      rows: Math.min(chosen.length, position + chosen.length + 1 - seat.committed),
      times: times.slice(0, seat.open.chain.length),
    }
    this.sayTokens(seat, seat.answer)
    // A whole-model host hears itself, as first host, and goes on from there.
    if (!seat.first) seat.committed += fresh.length
  }

  private sayTokens(seat: Seat, message: MessageOf<'tokens'>): void {
    this.ctx.send(seat.requester, message)
    // Requester and first host may be one peer: it gives the message to both.
    if (seat.requester !== seat.next) this.ctx.send(seat.next, message)
  }

  private sayOpened(seat: Seat): void {
    this.reaching.delete(seat.session)
    this.ctx.send(seat.requester, {
      kind: 'opened',
      session: seat.session,
      epoch: seat.epoch,
      kept: seat.kept,
      logFrom: seat.logFrom,
      credit: seat.earning?.credit ?? 0,
    })
  }

  private sayProgress(seat: Seat): void {
    seat.progressAt = this.ctx.now
    const waitMs = Math.max(0, Math.round(this.ctx.now - (seat.queue[0]?.since ?? this.ctx.now)))
    this.ctx.send(seat.requester, { kind: 'progress', session: seat.session, epoch: seat.epoch, position: seat.kept, waitMs })
  }

  private pump(seat: Seat): void {
    for (let rows = seat.nextRows(); rows; rows = seat.nextRows()) this.ctx.send(seat.next, rows)
  }

  private guesses(seat: Seat, tokens: number[]): number[] {
    const { maxTokens, promptLength, chain, draft } = seat.open
    if (!draft) return []
    const room = Math.min(promptLength + maxTokens, seat.facts.context) - tokens.length - 1
    const { cost, rowsMax, together } = this.holding.models.get(seat.open.modelId)!
    const count = Math.min(room, rowsMax - 1, this.paceOf(seat).count(chain.length, cost.rowMs ?? 1, together))
    return count > 0 ? draftOf(tokens, count) : []
  }

  private paceOf(seat: Seat): DraftPace {
    let pace = this.paces.get(seat.session)
    if (!pace) {
      pace = new DraftPace()
      this.paces.set(seat.session, pace)
    }
    return pace
  }

  private grow(seat: Seat): boolean {
    if (seat.end <= seat.reserved) return true
    const served = this.holding.models.get(seat.open.modelId)!
    const more = Math.min(served.facts.context, Math.ceil(seat.end / pageRows) * pageRows) - seat.reserved
    if (more > served.positionsFree) return false
    seat.reserved += more
    return true
  }

  private refuse(peer: PeerKey, open: MessageOf<'open'>, { why, message, place = 0, waitMs = 0 }: Refused): void {
    this.ctx.notice({ of: 'host', what: 'refused', peer, why: message })
    this.ctx.send(peer, { kind: 'refused', session: open.session, epoch: open.epoch, why, peer: null, place, waitMs, message })
  }

  private unreachable(seat: Seat): void {
    const { session, epoch, requester, next } = seat
    this.reaching.delete(session)
    const message = 'the next host cannot be reached from here'
    this.ctx.send(requester, { kind: 'refused', session, epoch, why: 'unreachable', peer: next, place: 0, waitMs: 0, message })
  }

  private trouble(seat: Seat, why: (typeof troubles)[number], peer: PeerKey | null, message: string): void {
    this.ctx.send(seat.requester, { kind: 'trouble', session: seat.session, epoch: seat.epoch, why, peer, message: shortReason(message) })
  }

  /** Tells the requester and forgets the session. */
  private evict(seat: Seat, why: (typeof troubles)[number], message: string): void {
    this.trouble(seat, why, null, message)
    this.end(seat, message)
  }

  private end(seat: Seat, why: string): void {
    this.seats.delete(seat.session)
    if (seat.earning?.until === null) this.earnings.leave(seat, false)
    this.paces.delete(seat.session)
    this.feeds.end(seat.session)
    this.reaching.delete(seat.session)
    this.holding.models.get(seat.open.modelId)?.release(seat)
    if (![...this.seats.values()].some((other) => other.requester === seat.requester)) this.shares.leave(seat.requester)
    this.ctx.notice({ of: 'host', what: 'closed', session: seat.session, peer: seat.requester, modelId: seat.open.modelId, rows: seat.rowsDone, why })
  }

  /** Whether its rows have waited for a voucher for too long. */
  private starves(seat: Seat): boolean {
    if (seat.mayRun || seat.computing > 0) seat.unpaidSince = null
    else seat.unpaidSince ??= this.ctx.now
    return seat.unpaidSince !== null && this.ctx.now - seat.unpaidSince >= unpaidMsMax
  }

  private seatOf(message: { session: string; epoch: number }): Seat | undefined {
    const seat = this.seats.get(message.session)
    return seat?.epoch === message.epoch ? seat : undefined
  }

  /** The seat when the message is its requester's, who is thereby alive. */
  private seatFor(peer: PeerKey, message: { session: string; epoch: number }): Seat | undefined {
    const seat = this.seatOf(message)
    if (!seat || seat.requester !== peer) return undefined
    seat.aliveAt = this.ctx.now
    return seat
  }

  private trimLogs(): void {
    this.earnings.trim(this.seats.values())
    let sum = 0
    for (const seat of this.seats.values()) sum += seat.logBytes
    for (const seat of this.seats.values()) {
      while (sum > logBytesMax) {
        const freed = seat.trimLog()
        if (freed === 0) break
        sum -= freed
      }
    }
  }
}
