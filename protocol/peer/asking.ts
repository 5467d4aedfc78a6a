// One question: picks a ring, opens it, feeds it, takes the tokens, repairs it, and ends with a receipt. The tokens this requester holds are the session:
// caches, routes and guesses at the hosts can all be made again from them, which is why any host may die at any moment.
import type { Stop } from '../engine/generate.ts'
import type { Context } from './context.ts'
import type { Health } from './health.ts'
import { Hedge, type Racing } from './hedge.ts'
import type { Links } from './links.ts'
import type { ChainLink, FailReason, PeerKey } from './machine.ts'
import type { MessageOf } from './messages.ts'
import { Paying } from './paying.ts'
import { PaymentError } from './payment.ts'
import { claimedAnswerOf, endOf, faultOf, openOf, type Plan, receiptOf, rowsOf } from './plan.ts'
import type { Presence } from './presence.ts'
import { type HostReceipt, isSignedStatement, termsOf } from './receipt.ts'
import { type Kept, planReplay } from './replay.ts'
import { Rings } from './rings.ts'
import type { Holder } from './routing.ts'
import { aliveEveryMs } from './serving.ts'

/** Hosts answer an open within this, dialling their successor included. */
const openMs = 6000
/** The same when every connection stood already: only the host itself can be slow. */
const reopenMs = 2500
/** Of a ring that stood, once one host has answered: the others are that far away too, and who still says nothing is replaced. */
const laggardMs = 600
/** A round may take this long before anybody is asked what is the matter, or four usual rounds. */
const workMsLeast = 1000
const firstWorkMsLeast = 3000
/** Progress is not endless patience: a minute without a token moves the session. */
const patienceMs = 60_000
/** How long to wait for hosts when there are none, and for a place when all are taken (who asked may cancel). */
const nobodyMs = 8000
const busyMs = 600_000
const receiptMs = 3500
/** For hosts to keep the last voucher: a round trip and a write. */
const keepMs = 1500
const backoffMs = 250
const backoffMsMax = 5000
const restMs = 30_000
/** Rings tried for one question. */
const epochsMax = 300

export class Asking {
  readonly plan: Plan
  state: 'waiting' | 'opening' | 'running' | 'closing' | 'paying' | 'done' = 'waiting'
  private readonly tokens: number[]
  private epoch = 0
  private chain: Holder[] = []
  private turnMs = 0
  /** All hosts of the chain had opened before: nobody needs to dial. */
  private standing = false
  private readonly asked = new Set<PeerKey>()
  private readonly replies = new Map<PeerKey, Kept>()
  /** Hosts that hold a seat of this session and are to be told when it is over. */
  private readonly seated = new Set<PeerKey>()
  private readonly receipts = new Map<PeerKey, HostReceipt>()
  private deadline = Infinity
  private patience = Infinity
  private retryAt = 0
  private refusals = 0
  private nobodySince: number | null = null
  private aliveAt = 0
  private tokenAt = 0
  /** Usual time of a round, null before the first. */
  private roundMs: number | null = null
  /** What is being repaired, from the moment it was noticed. */
  private repair: { reason: string; lost: Set<PeerKey>; since: number } | null = null
  private suspect: PeerKey | null = null
  /** A host that cannot reach its successor, as long as it is open which of the two is to blame. */
  private doubt: { peer: PeerKey; successor: PeerKey; reason: string } | null = null
  private readonly hedge: Hedge
  /** The last host of the ring that lost a race, while the new one opens. */
  private outrun: { peer: PeerKey; epoch: number } | null = null
  private readonly complaints = new Map<PeerKey, number>()
  private stop: Stop | null = null
  /** Null from the moment on at which nothing is paid any more. */
  private paying: Paying | null
  private terms: Uint8Array | null = null
  /** Hosts that want other terms than this question has. */
  private readonly declined = new Set<PeerKey>()
  /** What was paid before. */
  private settled: Paying | null = null
  private readonly ctx: Context
  private readonly links: Links
  private readonly health: Health
  private readonly rings: Rings

  constructor(plan: Plan, ctx: Context, links: Links, health: Health) {
    this.plan = plan
    this.ctx = ctx
    this.links = links
    this.health = health
    this.tokens = plan.question.prompt.slice()
    this.rings = new Rings(plan.facts, ctx, health, plan.payer, () => this.hosts())
    this.hedge = new Hedge(plan.session, ctx, links)
    this.paying = plan.payer && new Paying(ctx, links, plan.payer, plan.session, plan.question.modelId)
    const fault = faultOf(plan)
    if (fault) this.fail('input', fault)
  }

  needs(peer: PeerKey): boolean {
    return this.chain.some((one) => one.peer === peer) || this.hedge.needs(peer)
  }

  // Events.

  up(peer: PeerKey): void {
    if (this.state === 'opening' && this.chain.some((one) => one.peer === peer)) this.sendOpen(peer)
    if (this.state === 'running') this.hedge.up(peer, this.racing())
  }

  down(peer: PeerKey, why: string): void {
    this.seated.delete(peer)
    this.hedge.down(peer)
    if (this.state === 'closing') this.settle()
    else if (this.state === 'paying') this.concludePaid()
    else if (this.isActive && this.chain.some((one) => one.peer === peer)) this.replace([peer], why)
  }

  opened(peer: PeerKey, message: MessageOf<'opened'>): void {
    if (this.hedge.opened(peer, message)) return
    if (this.state !== 'opening' || message.epoch !== this.epoch || !this.asked.has(peer)) return
    this.seated.add(peer)
    this.replies.set(peer, { kept: message.kept, logFrom: message.logFrom })
    this.paying?.opened(message.credit)
    if (this.doubt?.successor === peer) return this.replace([this.doubt.peer], this.doubt.reason, true)
    if (this.replies.size === this.chain.length) return this.begin()
    if (this.standing) this.deadline = Math.min(this.deadline, this.ctx.now + laggardMs)
  }

  refused(peer: PeerKey, message: MessageOf<'refused'>): void {
    if (this.hedge.dropped(peer, message)) return
    if (!this.isActive || message.epoch !== this.epoch || !this.asked.has(peer)) return
    const { why, waitMs } = message
    this.refusals++
    if (why === 'unreachable' && message.peer) return this.unreachable(peer, message.peer, message.message)
    this.seated.delete(peer)
    if (why === 'full' || why === 'limit') {
      this.health.rest(peer, Math.min(5000, Math.max(200, waitMs)))
      this.ctx.notice({ of: 'ask', what: 'queued', ask: this.plan.ask, place: message.place, waitMs })
    } else if (why === 'terms' || why === 'unpaid') this.declined.add(peer)
    else if (why === 'notHeld' || why === 'input') this.health.failed(peer)
    else this.health.rest(peer, restMs)
    this.replace([peer], message.message, true)
  }

  trouble(peer: PeerKey, message: MessageOf<'trouble'>): void {
    if (this.hedge.dropped(peer, message)) return
    if (!this.isActive || message.epoch !== this.epoch || !this.chain.some((one) => one.peer === peer)) return
    const { why } = message
    if (why === 'lost' || why === 'leaving' || why === 'unpaid') this.seated.delete(peer)
    if (why === 'leaving') {
      this.health.rest(peer, restMs)
      return this.replace([peer], message.message, true)
    }
    if (why === 'unreachable' && message.peer) {
      if (!this.links.isUp(message.peer)) return this.replace([message.peer], message.message)
      // All are asked again: who is dead does not answer, and who is cut off from its neighbour says so. Once; then the way is bad.
      const pair = `${peer} ${message.peer}`
      const again = (this.complaints.get(pair) ?? 0) + 1
      this.complaints.set(pair, again)
      if (again === 1) return this.replace([], message.message)
      this.health.cut(peer, message.peer)
      return this.replace([peer], message.message, true)
    }
    if (why === 'differs' && !message.peer) return this.fail('differs', message.message)
    if (why === 'gap') return this.replace([], message.message)
    if (why === 'lost' || why === 'unpaid') return this.replace([peer], message.message, why === 'unpaid')
    // One of two is wrong about what was sent. The sender is replaced first; who complains again about another one is replaced itself.
    const again = (this.complaints.get(peer) ?? 0) + 1
    this.complaints.set(peer, again)
    const named = this.chain.find((one) => one.peer === message.peer && one.peer !== peer)
    this.replace([named && again === 1 ? named.peer : peer], message.message)
  }

  probed(peer: PeerKey, message: MessageOf<'probed'>): void {
    if (this.state === 'running') this.hedge.probed(peer, message, this.racing())
  }

  progress(peer: PeerKey, message: MessageOf<'progress'>): void {
    if (this.hedge.progress(peer, message)) return
    if (this.state !== 'running' || message.epoch !== this.epoch || !this.chain.some((one) => one.peer === peer)) return
    this.deadline = Math.min(this.patience, this.ctx.now + this.workMs())
    if (this.stop === null && this.answered === 0 && peer === this.chain[0].peer)
      this.ctx.notice({ of: 'ask', what: 'prefill', ask: this.plan.ask, done: Math.min(message.position, this.tokens.length), total: this.tokens.length })
  }

  nack(peer: PeerKey, message: MessageOf<'nack'>): void {
    if (this.state !== 'running' || message.epoch !== this.epoch || peer !== this.chain[0].peer || message.position >= this.tokens.length) return
    this.feed(message.position, message.generation)
  }

  took(peer: PeerKey, message: MessageOf<'tokens'>): void {
    if (this.state === 'opening' && this.outrun?.epoch === message.epoch && this.outrun.peer === peer) return this.tookLate(message)
    if (this.state !== 'running' || message.epoch !== this.epoch || peer !== this.chain.at(-1)!.peer) return
    const { position, tokens } = message
    if (position > this.tokens.length) return this.replace([], 'some tokens were lost on the way')
    for (const [i, token] of tokens.entries()) {
      const written = this.tokens[position + i]
      if (written === undefined) continue
      if (written !== token) return this.fail('differs', `token ${position + i} came as ${written} and as ${token}`)
    }
    const fresh = tokens.slice(this.tokens.length - position)
    if (fresh.length === 0) return
    if (fresh.some((token) => token >= this.plan.facts.vocab)) return this.replace([peer], 'a token outside the vocabulary')
    this.noteRound(message, fresh.length)
    for (const token of fresh) {
      this.write(token)
      const stop = endOf(this.plan, token, this.tokens.length)
      if (stop) return this.finish(stop)
    }
    this.paying?.owe(this.answered)
  }

  /** The ring that was given up a moment ago has answered after all: its word counts as it would have then. The end of an answer is left to a ring that can sign for it. */
  private tookLate({ position, tokens }: MessageOf<'tokens'>): void {
    if (position !== this.tokens.length || tokens.some((token) => token >= this.plan.facts.vocab)) return
    if (tokens.some((token, i) => endOf(this.plan, token, position + i + 1))) return
    for (const token of tokens) this.write(token)
  }

  private write(token: number): void {
    this.tokens.push(token)
    this.ctx.notice({ of: 'ask', what: 'token', ask: this.plan.ask, token, position: this.tokens.length - 1 })
  }

  /** Tokens of the answer so far. */
  private get words(): number[] {
    return this.tokens.slice(this.plan.question.prompt.length)
  }

  private get answered(): number {
    return this.tokens.length - this.plan.question.prompt.length
  }

  vouched(peer: PeerKey, message: MessageOf<'vouched'>): void {
    this.paying?.vouched(peer, message)
    if (this.state === 'paying') this.concludePaid()
  }

  /** What was or is paid, whatever became of the answer. */
  get purse(): Paying | null {
    return this.paying ?? this.settled
  }

  claim(peer: PeerKey, message: MessageOf<'claim'>): void {
    if (this.state !== 'closing' || !this.paying) return
    if (!this.paying.claim(peer, message, claimedAnswerOf(this.plan, this.ctx.self, this.words, this.stop!)))
      return void this.links.strike(peer, 'claims another answer than was given')
    this.settle()
  }

  receipt(peer: PeerKey, message: MessageOf<'receipt'>): void {
    if (this.state !== 'closing') return
    const place = this.chain.find((one) => one.peer === peer)
    if (!place || place.from !== message.from || place.to !== message.to || message.count !== this.tokens.length - 1) return
    const { kind: _, session, ...rest } = message
    const receipt: HostReceipt = { peer, ...rest }
    if (!isSignedStatement(session, termsOf(this.plan.question), receipt)) return void this.links.strike(peer, 'signs a receipt wrongly')
    this.receipts.set(peer, receipt)
    this.seated.delete(peer)
    this.settle()
  }

  cancel(): void {
    if (this.state !== 'done') this.fail('cancelled', 'cancelled')
  }

  tick(): void {
    const { now } = this.ctx
    if (this.state === 'waiting' && now >= this.retryAt) this.route()
    if (this.state === 'closing' && now >= this.deadline) this.conclude()
    if (this.state === 'paying' && now >= this.deadline) this.done()
    if (this.state === 'running') this.paying?.tick(this.answered)
    if (this.state === 'opening' && now >= this.deadline) {
      // Who complained of its successor has answered.
      const silent = this.chain.map((one) => one.peer).filter((peer) => !this.replies.has(peer) && peer !== this.doubt?.peer)
      this.replace(silent, this.doubt?.reason ?? 'no answer to the open')
    }
    if (this.state === 'running') this.race(now >= this.deadline)
    if (this.isActive && now - this.aliveAt >= aliveEveryMs) {
      this.aliveAt = now
      for (const peer of this.seated) if (this.links.isUp(peer)) this.ctx.send(peer, { kind: 'alive', session: this.plan.session, epoch: this.epoch })
      if (this.state === 'running') this.paying?.remind()
    }
  }

  /** A ring whose token does not come: others may be quicker, and at the deadline something must happen. */
  private race(due: boolean): void {
    // A second holder of a paid session would have to be paid from its first row on.
    const winner = (this.paying ? null : this.hedge.tick(this.racing())) ?? (due ? this.hedge.won() : null)
    const { hopeUntil } = this.hedge
    if (!winner && due && hopeUntil > this.ctx.now) {
      this.deadline = hopeUntil
      return
    }
    if (!winner) return due ? this.replace([], 'no token came') : undefined
    this.repair ??= { reason: 'another one was quicker', lost: new Set(), since: this.tokenAt }
    this.repair.lost.add(winner.late)
    this.health.failed(winner.late)
    const outrun = { peer: this.chain.at(-1)!.peer, epoch: this.epoch }
    this.open(winner.chain, this.turnMs)
    this.outrun = outrun
  }

  private racing(): Racing {
    const { chain, epoch, tokenAt, roundMs, answered } = this
    return {
      chain,
      epoch,
      tokenAt,
      roundMs,
      answered,
      known: this.tokens.length,
      second: (index) => this.rings.second(chain, index),
      sayOpen: (peer, hosts, at) => this.ctx.send(peer, openOf(this.plan, this.ctx, hosts, at, null)),
      sayTokens: (peer, at, upto) => this.sayTokens(peer, at, 0, 0, upto),
    }
  }

  /** This peer itself was asleep: nobody is to blame for what did not come meanwhile. */
  overslept(): void {
    if (this.state === 'running') this.deadline = this.ctx.now + this.workMs() * 2
    if (this.state === 'opening') this.deadline = this.ctx.now + openMs
  }

  wakeAt(): number {
    if (this.state === 'done') return Infinity
    const alive = this.isActive ? this.aliveAt + aliveEveryMs : Infinity
    const pay = this.state !== 'running' ? Infinity : this.paying ? this.paying.wakeAt() : this.hedge.wakeAt(this.racing())
    return Math.min(this.state === 'waiting' ? this.retryAt : this.deadline, alive, pay)
  }

  // Choosing a ring.

  private get isActive(): boolean {
    return this.state === 'opening' || this.state === 'running'
  }

  /** A new ring from nothing, or word that there is none now. */
  private route(): void {
    const path = this.rings.fresh()
    if (path) return this.open(path.hosts, path.ms)
    if (this.stopPaying('no hosts that take this payment cover the model now')) return this.route()
    // Words that were begun are worth more patience than a question.
    this.wait(this.rings.anybody || this.answered > 0)
  }

  /** Whom it may ask. */
  private hosts(): Presence[] {
    const all = this.ctx.table.all().filter((one) => !this.declined.has(one.peer))
    return this.paying ? this.paying.among(all) : all
  }

  /** Goes on without payment, when hosts for that are known: returns false when there is nobody who serves for nothing, or nothing was paid anyway. */
  private stopPaying(message: string, always = false): boolean {
    if (!this.paying) return false
    if (!always && !this.rings.isRing(this.ctx.table.all().filter((one) => !one.pay?.only))) return false
    this.paying.finish(this.answered, false)
    this.settled = this.paying
    this.paying = null
    this.declined.clear()
    this.ctx.notice({ of: 'ask', what: 'unpaid', ask: this.plan.ask, message })
    return true
  }

  /** Nothing can be opened now. `some`: there are hosts, only no ring of them. */
  private wait(some: boolean): void {
    const { now } = this.ctx
    this.nobodySince ??= now
    const waited = now - this.nobodySince
    if (this.refusals > 0 ? waited >= busyMs : waited >= (some ? patienceMs : nobodyMs))
      return this.refusals > 0 ? this.fail('busy', 'all hosts are busy') : this.fail('nobody', 'no hosts cover this model now')
    this.release([])
    this.state = 'waiting'
    this.chain = []
    const most = Math.min(backoffMsMax, backoffMs * 2 ** Math.min(5, this.refusals))
    this.retryAt = now + most / 2 + this.ctx.draw(most / 2)
  }

  /** The same ring without `lost`, others in their place; with nobody lost, the same hosts are only woken. `blameless`: they did nothing wrong. */
  private replace(lost: PeerKey[], reason: string, blameless = false): void {
    this.repair ??= { reason, lost: new Set(), since: this.ctx.now }
    for (const peer of lost) {
      this.repair.lost.add(peer)
      if (!blameless) this.health.failed(peer)
    }
    const path = this.rings.without(this.chain, lost, this.turnMs)
    if (path) return this.open(path.hosts, path.ms)
    this.route()
  }

  /**
   * A host cannot reach its successor: the way between the two is broken, or the successor is dead, however well connected it looks from here (a tab that crashed does for
   * many seconds). Whether it answers the open tells.
   */
  private unreachable(peer: PeerKey, successor: PeerKey, reason: string): void {
    this.health.cut(peer, successor)
    if (this.replies.has(successor)) return this.replace([peer], reason, true)
    this.doubt = { peer, successor, reason }
    this.deadline = Math.min(this.deadline, this.ctx.now + (this.links.isUp(successor) ? laggardMs : reopenMs))
  }

  // Running it.

  private open(chain: Holder[], turnMs: number): void {
    this.epoch = Math.max(this.epoch, this.hedge.epoch) + 1
    const warm = this.hedge.end(chain.map((one) => one.peer))
    if (warm) this.seated.add(warm)
    try {
      this.terms = this.paying?.terms(chain, this.answered, this.plan.question.maxTokens - this.answered) ?? null
    } catch (error) {
      if (!(error instanceof PaymentError)) throw error
      this.stopPaying(error.message, true)
      this.terms = null
    }
    if (this.epoch > epochsMax) return this.fail(this.refusals > 0 ? 'busy' : 'lost', `${epochsMax} rings were tried`)
    this.standing = chain.every((one) => this.seated.has(one.peer))
    this.chain = chain
    this.turnMs = turnMs
    this.state = 'opening'
    this.release(chain.map((one) => one.peer))
    this.asked.clear()
    this.replies.clear()
    this.doubt = null
    this.outrun = null
    this.nobodySince = null
    this.deadline = this.ctx.now + (this.standing ? reopenMs : openMs)
    this.aliveAt = this.ctx.now
    const { ask } = this.plan
    const links: ChainLink[] = chain.map(({ peer, from, to }) => ({ peer, from, to }))
    this.ctx.notice({ of: 'ask', what: 'route', ask, epoch: this.epoch, chain: links, tokenMs: turnMs })
    for (const { peer, addresses } of chain) if (this.links.want(peer, addresses)) this.sendOpen(peer)
  }

  private sendOpen(peer: PeerKey): void {
    if (this.asked.has(peer)) return
    this.asked.add(peer)
    this.ctx.send(peer, openOf(this.plan, this.ctx, this.chain, this.epoch, this.terms))
  }

  /** All have opened: who lacks what is told, and rows flow. */
  private begin(): void {
    const { now } = this.ctx
    const kept = this.chain.map((one) => this.replies.get(one.peer)!)
    const slow = this.stuckHost(kept)
    if (slow) return this.replace([slow], 'it does not get on')
    const committed = this.tokens.length
    const replay = planReplay(kept, committed)
    for (const [i, { peer }] of this.chain.entries())
      this.ctx.send(peer, { kind: 'resume', session: this.plan.session, epoch: this.epoch, ...replay[i], committed })
    this.state = 'running'
    this.paying?.began(this.answered)
    this.tokenAt = now
    this.hedge.began()
    this.patience = now + patienceMs
    this.deadline = now + this.workMs()
    if (this.repair) {
      const { lost, reason, since } = this.repair
      this.ctx.notice({ of: 'ask', what: 'repaired', ask: this.plan.ask, lost: [...lost], reason, stallMs: now - since })
      this.repair = null
    }
    this.feed(replay[0].keep, 0)
  }

  /** Twice in a row the same host was the first to lag behind its predecessor: its link is well, its engine is not. */
  private stuckHost(kept: Kept[]): PeerKey | null {
    if (!this.repair || this.repair.lost.size > 0 || this.repair.reason !== 'no token came') {
      this.suspect = null
      return null
    }
    const lags = kept.findIndex((one, i) => one.kept < (i === 0 ? this.tokens.length : kept[i - 1].kept))
    const suspect = this.chain[lags < 0 ? this.chain.length - 1 : lags].peer
    if (this.suspect === suspect) {
      this.suspect = null
      return suspect
    }
    this.suspect = suspect
    return null
  }

  /** Tokens from `position` on go to the first host. */
  private feed(position: number, generation: number): void {
    this.sayTokens(this.chain[0].peer, this.epoch, generation, position, this.tokens.length)
  }

  private sayTokens(peer: PeerKey, epoch: number, generation: number, from: number, upto: number): void {
    for (const rows of rowsOf(this.plan, this.tokens, epoch, generation, from, upto)) this.ctx.send(peer, rows)
  }

  private workMs(): number {
    return this.roundMs === null ? Math.max(firstWorkMsLeast, this.turnMs * 4) : Math.max(workMsLeast, this.roundMs * 4)
  }

  private noteRound(message: MessageOf<'tokens'>, accepted: number): void {
    const { now } = this.ctx
    const roundMs = now - this.tokenAt
    this.tokenAt = now
    this.hedge.round(roundMs, this.roundMs)
    this.suspect = null
    this.refusals = 0
    this.patience = now + patienceMs
    if (this.answered > 0) this.roundMs = this.roundMs === null ? roundMs : this.roundMs * 0.8 + roundMs * 0.2
    this.deadline = now + this.workMs()
    this.ctx.notice({ of: 'ask', what: 'round', ask: this.plan.ask, rows: message.rows, accepted, roundMs, hops: message.times })
    for (const [i, { computeMs }] of message.times.entries()) {
      const host = this.chain[i]
      if (host && message.times.length === this.chain.length) this.health.worked(host.peer, this.plan.facts.modelId, message.rows === 1 ? computeMs : null)
    }
  }

  // Ending.

  private finish(stop: Stop): void {
    this.stop = stop
    this.state = 'closing'
    this.hedge.end([])
    this.deadline = this.ctx.now + receiptMs
    const { session, ask } = this.plan
    this.ctx.notice({ of: 'ask', what: 'stop', ask, stop, tokens: this.words })
    const ending = this.terms && { token: this.tokens.at(-1)!, stop }
    for (const { peer } of this.chain) this.ctx.send(peer, { kind: 'close', session, epoch: this.epoch, committed: this.tokens.length, receipt: true, ending })
  }

  /** Every host that is still there has signed. */
  private settle(): void {
    const has = (peer: PeerKey): boolean => this.receipts.has(peer) && (this.paying?.hasClaim(peer) ?? true)
    if (this.chain.every((one) => has(one.peer) || !this.links.isUp(one.peer))) this.conclude()
  }

  /** The last voucher goes out; the answer's end waits a moment until hosts have kept it. */
  private conclude(): void {
    if (!this.paying) return this.done()
    this.paying.finish(this.answered, true)
    this.state = 'paying'
    this.deadline = this.ctx.now + keepMs
    this.concludePaid()
  }

  private concludePaid(): void {
    if (this.paying?.isKept) this.done()
  }

  private done(): void {
    this.state = 'done'
    const { purse: paying } = this
    const payments = paying?.summary() ?? []
    if (paying && payments.length > 0)
      this.ctx.notice({ of: 'ask', what: 'paid', ask: this.plan.ask, paid: paying.paid, limit: paying.limit, tokens: this.answered, legs: payments })
    const hosts = this.chain.flatMap((one) => this.receipts.get(one.peer) ?? [])
    this.ctx.notice({ of: 'ask', what: 'receipt', ask: this.plan.ask, receipt: receiptOf(this.plan, this.ctx.self, this.words, this.stop!, hosts, payments) })
  }

  private fail(reason: FailReason, message: string): void {
    this.hedge.end([])
    if (this.state === 'paying') return this.done()
    // What came is paid for, before the hosts forget the session.
    if (reason !== 'differs') this.paying?.finish(this.answered, false)
    this.release([])
    this.state = 'done'
    this.ctx.notice({ of: 'ask', what: 'failed', ask: this.plan.ask, reason, message })
  }

  /** Seats of hosts that are not in `staying` are given back. */
  private release(staying: readonly PeerKey[]): void {
    const { session } = this.plan
    for (const peer of [...this.seated, ...this.asked]) {
      if (staying.includes(peer)) continue
      this.seated.delete(peer)
      this.asked.delete(peer)
      if (this.links.isUp(peer)) this.ctx.send(peer, { kind: 'close', session, epoch: Math.max(1, this.epoch), committed: 0, receipt: false, ending: null })
    }
  }
}
