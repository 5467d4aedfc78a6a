// One question: picks a ring, opens it, feeds it, takes the tokens, repairs it, and ends with a receipt. The tokens this requester holds are the session:
// caches, routes and guesses at the hosts can all be made again from them, which is why any host may die at any moment.
import type { Stop } from '../engine/generate.ts'
import { checkSampler } from '../engine/sampler.ts'
import { hex } from '../hash.ts'
import { chunkRowsMax } from '../limits.ts'
import type { Context } from './context.ts'
import type { Health } from './health.ts'
import type { Links } from './links.ts'
import type { ChainLink, FailReason, ModelFacts, PeerKey, Question } from './machine.ts'
import { type MessageOf, signOpen } from './messages.ts'
import { type AnswerReceipt, chainStart, type HostReceipt, inputHashOf, isSignedStatement, outputHashOf, termsOf } from './receipt.ts'
import { type Kept, planReplay } from './replay.ts'
import { bestPaths, choosePath, delays, type Holder, holdersFor } from './routing.ts'
import { stopOf } from './seat.ts'
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
const backoffMs = 250
const backoffMsMax = 5000
const restMs = 30_000
/** Rings tried for one question. */
const epochsMax = 300

export interface Plan {
  readonly ask: number
  readonly question: Question
  readonly facts: ModelFacts
  readonly draft: boolean
  readonly session: string
}

export class Asking {
  readonly plan: Plan
  state: 'waiting' | 'opening' | 'running' | 'closing' | 'done' = 'waiting'
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
  private readonly complaints = new Map<PeerKey, number>()
  private stop: Stop | null = null
  private readonly ctx: Context
  private readonly links: Links
  private readonly health: Health

  constructor(plan: Plan, ctx: Context, links: Links, health: Health) {
    this.plan = plan
    this.ctx = ctx
    this.links = links
    this.health = health
    this.tokens = plan.question.prompt.slice()
    const fault = faultOf(plan)
    if (fault) this.fail('input', fault)
  }

  // Events.

  up(peer: PeerKey): void {
    if (this.state === 'opening' && this.chain.some((one) => one.peer === peer)) this.sendOpen(peer)
  }

  down(peer: PeerKey, why: string): void {
    this.seated.delete(peer)
    if (this.state === 'closing') this.settle()
    else if (this.isActive && this.chain.some((one) => one.peer === peer)) this.replace([peer], why)
  }

  opened(peer: PeerKey, message: MessageOf<'opened'>): void {
    if (this.state !== 'opening' || message.epoch !== this.epoch || !this.asked.has(peer)) return
    this.seated.add(peer)
    this.replies.set(peer, { kept: message.kept, logFrom: message.logFrom })
    if (this.replies.size === this.chain.length) return this.begin()
    if (this.standing) this.deadline = Math.min(this.deadline, this.ctx.now + laggardMs)
  }

  refused(peer: PeerKey, message: MessageOf<'refused'>): void {
    if (!this.isActive || message.epoch !== this.epoch || !this.asked.has(peer)) return
    const { why, waitMs } = message
    this.refusals++
    if (why === 'unreachable' && message.peer) {
      this.health.cut(peer, message.peer)
      // Nobody can tell from here which end is to blame, unless the other is gone for us too.
      return this.replace([this.links.isUp(message.peer) ? peer : message.peer], message.message, true)
    }
    this.seated.delete(peer)
    if (why === 'full' || why === 'limit') {
      this.health.rest(peer, Math.min(5000, Math.max(200, waitMs)))
      this.ctx.notice({ of: 'ask', what: 'queued', ask: this.plan.ask, place: message.place, waitMs })
    } else if (why === 'notHeld' || why === 'input') this.health.failed(peer)
    else this.health.rest(peer, restMs)
    this.replace([peer], message.message, true)
  }

  trouble(peer: PeerKey, message: MessageOf<'trouble'>): void {
    if (!this.isActive || message.epoch !== this.epoch || !this.chain.some((one) => one.peer === peer)) return
    const { why } = message
    if (why === 'lost' || why === 'leaving') this.seated.delete(peer)
    if (why === 'leaving') {
      this.health.rest(peer, restMs)
      return this.replace([peer], message.message, true)
    }
    if (why === 'unreachable' && message.peer) {
      this.health.cut(peer, message.peer)
      return this.replace([this.links.isUp(message.peer) ? peer : message.peer], message.message, this.links.isUp(message.peer))
    }
    if (why === 'differs' && !message.peer) return this.fail('differs', message.message)
    if (why === 'gap') return this.replace([], message.message)
    if (why === 'lost') return this.replace([peer], message.message)
    // One of two is wrong about what was sent. The sender is replaced first; who complains again about another one is replaced itself.
    const again = (this.complaints.get(peer) ?? 0) + 1
    this.complaints.set(peer, again)
    const named = this.chain.find((one) => one.peer === message.peer && one.peer !== peer)
    this.replace([named && again === 1 ? named.peer : peer], message.message)
  }

  progress(peer: PeerKey, message: MessageOf<'progress'>): void {
    if (this.state !== 'running' || message.epoch !== this.epoch || !this.chain.some((one) => one.peer === peer)) return
    this.deadline = Math.min(this.patience, this.ctx.now + this.workMs())
    if (this.stop === null && this.tokens.length === this.plan.question.prompt.length && peer === this.chain[0].peer)
      this.ctx.notice({ of: 'ask', what: 'prefill', ask: this.plan.ask, done: Math.min(message.position, this.tokens.length), total: this.tokens.length })
  }

  nack(peer: PeerKey, message: MessageOf<'nack'>): void {
    if (this.state !== 'running' || message.epoch !== this.epoch || peer !== this.chain[0].peer || message.position >= this.tokens.length) return
    this.feed(message.position, message.generation)
  }

  took(peer: PeerKey, message: MessageOf<'tokens'>): void {
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
      this.tokens.push(token)
      this.ctx.notice({ of: 'ask', what: 'token', ask: this.plan.ask, token, position: this.tokens.length - 1 })
      const { question, facts } = this.plan
      const stop = stopOf({ ...question, promptLength: question.prompt.length }, facts.context, token, this.tokens.length)
      if (stop) return this.finish(stop)
    }
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
    if (this.state === 'opening' && now >= this.deadline) {
      const silent = this.chain.filter((one) => !this.replies.has(one.peer)).map((one) => one.peer)
      this.replace(silent, 'no answer to the open')
    }
    if (this.state === 'running' && now >= this.deadline) this.replace([], 'no token came')
    if (this.isActive && now - this.aliveAt >= aliveEveryMs) {
      this.aliveAt = now
      for (const peer of this.seated) if (this.links.isUp(peer)) this.ctx.send(peer, { kind: 'alive', session: this.plan.session, epoch: this.epoch })
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
    return Math.min(this.state === 'waiting' ? this.retryAt : this.deadline, alive)
  }

  // Choosing a ring.

  private get isActive(): boolean {
    return this.state === 'opening' || this.state === 'running'
  }

  /** A new ring from nothing, or word that there is none now. */
  private route(): void {
    const { facts } = this.plan
    const presences = this.ctx.table.all()
    const holders = holdersFor(facts, presences, this.health)
    const paths = bestPaths({ from: 0, to: facts.layers, before: null, after: null }, holders, delays(presences, this.health), this.health, (n) =>
      this.ctx.draw(n),
    )
    const path = choosePath(paths, (n) => this.ctx.draw(n))
    if (!path) return this.wait(holders.length > 0)
    this.nobodySince = null
    this.open(path.hosts, path.ms)
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
    const chain = this.filled(new Set(lost))
    if (chain) return this.open(chain, this.turnMs)
    this.route()
  }

  /** The chain with each run of lost hosts replaced by the best way through its gap; null when a gap cannot be filled. */
  private filled(lost: ReadonlySet<PeerKey>): Holder[] | null {
    const presences = this.ctx.table.all()
    const staying = this.chain.filter((one) => !lost.has(one.peer))
    if (staying.length === 0) return null
    const free = holdersFor(this.plan.facts, presences, this.health).filter((h) => !lost.has(h.peer) && !staying.some((one) => one.peer === h.peer))
    const delay = delays(presences, this.health)
    const out: Holder[] = []
    for (let i = 0; i < this.chain.length; ) {
      if (!lost.has(this.chain[i].peer)) {
        out.push(this.chain[i++])
        continue
      }
      let end = i
      while (end < this.chain.length && lost.has(this.chain[end].peer)) end++
      const span = {
        from: this.chain[i].from,
        to: this.chain[end - 1].to,
        before: out.at(-1)?.peer ?? this.chain.at(-1)!.peer,
        after: this.chain[end]?.peer ?? this.chain[0].peer,
      }
      const [path] = bestPaths(span, free, delay, this.health, (n) => this.ctx.draw(n))
      if (!path) return null
      out.push(...path.hosts)
      for (const host of path.hosts) free.splice(free.indexOf(host), 1)
      i = end
    }
    return out
  }

  // Running it.

  private open(chain: Holder[], turnMs: number): void {
    this.epoch++
    if (this.epoch > epochsMax) return this.fail(this.refusals > 0 ? 'busy' : 'lost', `${epochsMax} rings were tried`)
    this.standing = chain.every((one) => this.seated.has(one.peer))
    this.chain = chain
    this.turnMs = turnMs
    this.state = 'opening'
    this.release(chain.map((one) => one.peer))
    this.asked.clear()
    this.replies.clear()
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
    const { question, session, draft } = this.plan
    const { modelId, prompt, sampler, seed, maxTokens, stopIds } = question
    const chain = this.chain.map(({ peer: host, from, to, addresses }) => ({ peer: host, from, to, addresses }))
    const input = hex(inputHashOf(question))
    const body = {
      session,
      epoch: this.epoch,
      requester: this.ctx.self,
      modelId,
      chain,
      input,
      sampler,
      seed,
      maxTokens,
      stopIds,
      promptLength: prompt.length,
      draft,
    }
    this.ctx.send(peer, signOpen(this.ctx.secret, body))
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
    this.tokenAt = now
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
    for (let at = position; at < this.tokens.length; at += chunkRowsMax) {
      const tokens = this.tokens.slice(at, at + chunkRowsMax)
      // The first host hashes tokens itself; this field binds nobody here.
      const chain = hex(chainStart(this.plan.session, 0))
      const { session } = this.plan
      this.ctx.send(this.chain[0].peer, {
        kind: 'rows',
        session,
        epoch: this.epoch,
        generation,
        position: at,
        layer: 0,
        tokens,
        boundary: null,
        chain,
        times: [],
      })
    }
  }

  private workMs(): number {
    return this.roundMs === null ? Math.max(firstWorkMsLeast, this.turnMs * 4) : Math.max(workMsLeast, this.roundMs * 4)
  }

  private noteRound(message: MessageOf<'tokens'>, accepted: number): void {
    const { now } = this.ctx
    const roundMs = now - this.tokenAt
    this.tokenAt = now
    this.suspect = null
    this.refusals = 0
    this.patience = now + patienceMs
    const first = this.tokens.length === this.plan.question.prompt.length
    if (!first) this.roundMs = this.roundMs === null ? roundMs : this.roundMs * 0.8 + roundMs * 0.2
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
    this.deadline = this.ctx.now + receiptMs
    const { session, ask, question } = this.plan
    this.ctx.notice({ of: 'ask', what: 'stop', ask, stop, tokens: this.tokens.slice(question.prompt.length) })
    for (const { peer } of this.chain) this.ctx.send(peer, { kind: 'close', session, epoch: this.epoch, committed: this.tokens.length, receipt: true })
  }

  /** Every host that is still there has signed. */
  private settle(): void {
    if (this.chain.every((one) => this.receipts.has(one.peer) || !this.links.isUp(one.peer))) this.conclude()
  }

  private conclude(): void {
    this.state = 'done'
    const { question, session, ask } = this.plan
    const tokens = this.tokens.slice(question.prompt.length)
    const receipt: AnswerReceipt = {
      version: 1,
      session,
      requester: this.ctx.self,
      question,
      inputHash: hex(inputHashOf(question)),
      tokens,
      stop: this.stop!,
      outputHash: outputHashOf(question, tokens, this.stop!),
      hosts: this.chain.flatMap((one) => this.receipts.get(one.peer) ?? []),
    }
    this.ctx.notice({ of: 'ask', what: 'receipt', ask, receipt })
  }

  private fail(reason: FailReason, message: string): void {
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
      if (this.links.isUp(peer)) this.ctx.send(peer, { kind: 'close', session, epoch: Math.max(1, this.epoch), committed: 0, receipt: false })
    }
  }
}

function faultOf({ question, facts }: Plan): string | null {
  const { prompt, maxTokens, sampler, stopIds } = question
  if (prompt.length === 0) return 'the prompt holds no tokens'
  if (prompt.length >= facts.context) return `the prompt has ${prompt.length} tokens, the context holds ${facts.context}`
  if ([...prompt, ...stopIds].some((id) => !(Number.isInteger(id) && id >= 0 && id < facts.vocab))) return `a token outside the vocabulary of ${facts.vocab}`
  if (!(Number.isInteger(maxTokens) && maxTokens >= 1)) return `maxTokens is ${maxTokens}, must be a positive integer`
  try {
    checkSampler(sampler)
    return null
  } catch (error) {
    return (error as Error).message
  }
}
