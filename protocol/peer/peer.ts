// One peer of the mesh: connections, presence, a host and a requester behind one `step`. Whoever drives it (page, Node, simulator) turns actions into effects.
import { MessageError } from '../codec.ts'
import { presenceBatchMax } from '../limits.ts'
import { Context } from './context.ts'
import { Lender } from './lender.ts'
import { Links } from './links.ts'
import type { ModelFacts, PeerAction, PeerEvent, PeerKey, PeerMachine, PeerOptions } from './machine.ts'
import type { Message, MessageOf } from './messages.ts'
import { type PresenceTable, presencePeer } from './presence.ts'
import { Requester } from './requester.ts'
import { type Outlook, outlookOf } from './runnable.ts'
import { Serving } from './serving.ts'

/** A timer this late means that this peer was asleep (Lifeguard, arXiv 1707.00788): it accuses nobody then. */
const sleptMs = 500
/** Bytes of records in one answer, so that a frame stays small. */
const tellBytesMax = 512 << 10
/** The first table comes soon after hello: a sweep for dead records need not run more often than this. */
const sweepMs = 1000

export class Peer implements PeerMachine {
  readonly key: PeerKey
  readonly table: PresenceTable
  private readonly ctx: Context
  private readonly links: Links
  private readonly lender: Lender
  private readonly serving: Serving
  private readonly requester: Requester
  private sweptAt = 0
  private dueAt = Infinity
  private toldPeers = ''

  constructor(options: PeerOptions) {
    this.ctx = new Context(options)
    this.key = this.ctx.self
    this.table = this.ctx.table
    this.links = new Links(this.ctx)
    this.lender = new Lender(this.ctx, this.links)
    this.serving = new Serving(this.ctx, this.links, this.lender)
    this.lender.serving = this.serving
    this.requester = new Requester(this.ctx, this.links)
    this.links.isNeeded = (peer) => this.serving.needs(peer) || this.requester.needs(peer)
  }

  /** Peers that are connected and greeted. */
  get connected(): PeerKey[] {
    return this.links.up()
  }

  /** What this peer can say about running a model now, from presence and its own experience. */
  outlook(facts: ModelFacts, promptLength?: number): Outlook {
    return outlookOf(facts, this.table.all(), promptLength, this.requester.health.trusting('well'))
  }

  rttMs(peer: PeerKey): number | null {
    return this.links.rttMs(peer)
  }

  /**
   * For the network's validator of presence messages: takes the record into the table and says whether to pass it on ('accept'), drop it ('ignore': known already) or
   * hold it against its sender ('reject'). What it changes is acted upon at the next step.
   */
  judge(bytes: Uint8Array, now: number): 'accept' | 'ignore' | 'reject' {
    try {
      return this.table.offer(bytes, now) === 'new' ? 'accept' : 'ignore'
    } catch (error) {
      if (error instanceof MessageError) return 'reject'
      throw error
    }
  }

  step(event: PeerEvent, now: number): PeerAction[] {
    const { ctx } = this
    // Times are whole 1024ths of a millisecond: sums and differences of those are exact, so a wake-up that is due is never a hair too early.
    ctx.now = Math.floor(now * 1024) / 1024
    if (event.kind === 'timer' && ctx.now - this.dueAt > sleptMs) {
      this.links.overslept()
      this.requester.overslept()
    }
    this.handle(event)
    for (const peer of this.links.tick()) this.lost(peer, 'it does not answer')
    if (ctx.now - this.sweptAt >= sweepMs) {
      this.sweptAt = ctx.now
      this.table.expire(ctx.now)
    }
    // Host and requester may speak to each other within one peer: until nobody has anything to say. What was said is heard before anything new is computed,
    // so that all sessions of a batch are there for the next one.
    do {
      for (let own = ctx.takeOwn(); own; own = ctx.takeOwn()) this.message(ctx.self, own)
      this.serving.tick()
      this.lender.tick()
      this.requester.tick()
    } while (ctx.hasOwn)
    this.tellPeers()
    const at = Math.min(this.links.wakeAt(), this.serving.wakeAt(), this.lender.wakeAt(), this.requester.wakeAt())
    if (at !== this.dueAt || event.kind === 'timer') {
      this.dueAt = at
      if (at !== Infinity) ctx.act({ kind: 'wake', at: Math.max(ctx.now, Math.ceil(at * 1024) / 1024) })
    }
    return ctx.takeActions()
  }

  private handle(event: PeerEvent): void {
    const { lender, serving, requester, links } = this
    switch (event.kind) {
      case 'connected':
        return links.connected(event.peer, event.direct)
      case 'disconnected':
        if (links.disconnected(event.peer)) this.lost(event.peer, 'the connection broke')
        return
      case 'connectFailed':
        if (links.failed(event.peer)) this.lost(event.peer, event.reason)
        return
      case 'frame': {
        const message = links.frame(event.peer, event.bytes)
        if (message === 'up') {
          serving.up(event.peer)
          requester.up(event.peer)
          if (links.isTelling(event.peer)) lender.introduce(event.peer)
        } else if (message === 'apart') this.lost(event.peer, 'it is of another group or version')
        else if (message?.kind === 'bye') this.lost(event.peer, message.why)
        else if (message) this.message(event.peer, message)
        return
      }
      case 'gossip':
        this.judge(event.bytes, this.ctx.now)
        return
      case 'addresses':
        return lender.reach(event.addresses)
      case 'loading':
        return lender.loading(event.modelId, event.loaded, event.total)
      case 'loaded':
        return lender.loaded(event)
      case 'loadFailed':
        return lender.loadFailed(event.modelId, event.message)
      case 'computed':
        return serving.computed(event.job, event.boundary, event.tokens)
      case 'computeFailed': {
        const modelId = serving.computeFailed(event.job, event.message, event.lost)
        if (event.lost && modelId) lender.lost(modelId)
        return
      }
      case 'kept':
        return serving.earnings.kept(event.leg, event.mark)
      case 'lend':
        return lender.lend(event.lending)
      case 'pause':
        return lender.pause()
      case 'resume':
        return lender.resume()
      case 'drain':
        return lender.drain()
      case 'leave':
        return lender.leave()
      case 'throttled':
        lender.throttled = event.throttled
        return
      case 'ask':
        return requester.ask(event.ask, event.question, event.facts, event.draft ?? true, event.payer ?? null)
      case 'cancel':
        return requester.cancel(event.ask)
      case 'timer':
        // Whatever was urgent is on its way by now.
        return serving.earnings.idle(serving.seats.values())
    }
  }

  private message(peer: PeerKey, message: Message): void {
    const { serving } = this
    if (this.requester.message(peer, message)) return
    switch (message.kind) {
      case 'open':
        return serving.open(peer, message)
      case 'resume':
        return serving.resume(peer, message)
      case 'rows':
        return serving.rows(peer, message)
      case 'tokens':
        return serving.tokens(peer, message)
      case 'nack':
        return serving.nack(peer, message)
      case 'taken':
        return serving.taken(peer, message)
      case 'alive':
        return serving.alive(peer, message)
      case 'probe':
        return serving.probe(peer, message)
      case 'feed':
        return serving.feed(peer, message)
      case 'close':
        return serving.close(peer, message)
      case 'statement':
        return serving.statement(peer, message)
      case 'voucher':
        return serving.earnings.voucher(peer, message)
      case 'ended':
        return serving.earnings.ended(peer, message)
      case 'askPresence':
        return this.tell(peer)
      case 'presences':
        return this.hear(peer, message)
      default:
        return
    }
  }

  private lost(peer: PeerKey, why: string): void {
    this.serving.down(peer)
    this.requester.down(peer, why)
  }

  /** The whole table, in frames of a modest size. */
  private tell(peer: PeerKey): void {
    if (!this.ctx.tells) return
    let records: { ageMs: number; bytes: Uint8Array }[] = []
    let bytes = 0
    const send = (): void => {
      if (records.length > 0) this.ctx.send(peer, { kind: 'presences', records })
      records = []
      bytes = 0
    }
    for (const known of this.table.records()) {
      const ageMs = Math.max(0, Math.round(known.presence.ttlMs - (known.until - this.ctx.now)))
      records.push({ ageMs, bytes: known.bytes })
      bytes += known.bytes.length
      if (records.length === presenceBatchMax || bytes > tellBytesMax) send()
    }
    send()
  }

  private hear(peer: PeerKey, message: MessageOf<'presences'>): void {
    const isOwn = message.records.length === 1 && presencePeer(message.records[0].bytes) === peer
    if (!isOwn && !this.links.mayTell(peer)) return void this.links.strike(peer, 'tells presences that nobody asked for')
    for (const { ageMs, bytes } of message.records) {
      try {
        const found = this.table.offer(bytes, this.ctx.now, ageMs)
        // Who has gone can say it only once: its neighbours say it to the others.
        if (isOwn && found === 'new' && !this.table.get(peer)) this.ctx.act({ kind: 'publish', bytes })
      } catch (error) {
        if (!(error instanceof MessageError)) throw error
        this.links.strike(peer, error.message)
        return
      }
    }
  }

  private tellPeers(): void {
    const said = `${this.table.size} ${this.links.count}`
    if (said === this.toldPeers) return
    this.toldPeers = said
    this.ctx.notice({ of: 'mesh', what: 'peers', known: this.table.size, connected: this.links.up().length })
  }
}
