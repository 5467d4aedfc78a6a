// Tells the mesh what this peer lends: at once when it changed (at most once a second) and soon again, else every 30 s give or take half, so that records neither bunch nor run out.
import { addressBytesMax, presenceAddressesMax } from '../limits.ts'
import type { Context } from './context.ts'
import type { PeerKey } from './machine.ts'
import { encodePresence, type Presence } from './presence.ts'

export const ttlMs = 90_000
const renewMs = 30_000
/** Of a private group no relay can tell a newcomer who is there: its few members say it more often. */
const groupRenewMs = 5_000
const gapMs = 1000
/** What changed is said again after this, then after twice as long, until the usual time is reached: gossip drops what is published before its own streams stand. */
const againMs = 2000
/** Load, free places and speed change all the time: worth a record every five seconds. */
const loadGapMs = 5000

export type Announced = Pick<Presence, 'state' | 'throttled' | 'held' | 'pay'>

export class Announcer {
  private sequence = 0
  private toldAt = -Infinity
  private renewAt = Infinity
  private told = ''
  private toldLoad = ''
  private addresses: string[] = []
  private newest: Uint8Array | null = null
  private periodMs = againMs
  private readonly ctx: Context
  private readonly near: () => Presence['near']
  private readonly neighbours: () => PeerKey[]

  constructor(ctx: Context, near: () => Presence['near'], neighbours: () => PeerKey[]) {
    this.ctx = ctx
    this.near = near
    this.neighbours = neighbours
  }

  /** The first few that are short enough: others would refuse a record with more. */
  reach(addresses: string[]): void {
    this.addresses = addresses.filter((one) => one.length <= addressBytesMax).slice(0, presenceAddressesMax)
  }

  /** Publishes when something is to be said. Null: this peer lends nothing and says so once, if it had said otherwise. */
  tick(announced: Announced | null): void {
    const { now } = this.ctx
    if (!announced) {
      if (this.told !== '') this.goodbye()
      return
    }
    const facts = JSON.stringify([
      announced.state,
      announced.throttled,
      this.addresses,
      announced.pay,
      announced.held.map((h) => [h.modelId, h.from, h.to, h.ready, h.sessionsMax]),
    ])
    const load = JSON.stringify(
      announced.held.map((h) => [h.sessions, h.freePositions >> 8, Math.round(h.load / 200), Math.round(h.stepUs / (1000 + h.stepUs / 4))]),
    )
    const due = now >= this.renewAt || (facts !== this.told && now - this.toldAt >= gapMs) || (load !== this.toldLoad && now - this.toldAt >= loadGapMs)
    if (!due) {
      const changed = Math.min(facts !== this.told ? this.toldAt + gapMs : Infinity, load !== this.toldLoad ? this.toldAt + loadGapMs : Infinity)
      this.nextAt = Math.min(this.renewAt, changed)
      return
    }
    const usual = this.ctx.invitation ? groupRenewMs : renewMs
    this.periodMs = facts === this.told ? Math.min(usual, 2 * this.periodMs) : Math.min(usual, againMs)
    this.told = facts
    this.toldLoad = load
    this.publish(announced)
    this.renewAt = now + this.periodMs / 2 + this.ctx.draw(this.periodMs)
    this.nextAt = this.renewAt
  }

  /**
   * The last record: forget me now. Said to every neighbour too, and those pass it on: gossip's own stream to a relay may be one that broke and stands again only in part,
   * and a page that closes has no second try.
   */
  goodbye(): void {
    if (this.told === '') return
    this.told = ''
    this.publish({ state: 'gone', throttled: false, held: [], pay: null })
    for (const peer of this.neighbours()) this.tellOwn(peer)
    this.renewAt = Infinity
    this.nextAt = Infinity
  }

  /** The newest record, to one peer: who keeps the table for others should have it at once. */
  tellOwn(peer: PeerKey): void {
    if (this.newest) this.ctx.send(peer, { kind: 'presences', records: [{ ageMs: 0, bytes: this.newest }] })
  }

  nextAt = Infinity

  private publish({ state, throttled, held, pay }: Announced): void {
    const { ctx } = this
    this.toldAt = ctx.now
    const presence: Presence = {
      version: 1,
      network: ctx.table.network,
      peer: ctx.self,
      boot: ctx.boot,
      sequence: ++this.sequence,
      state,
      throttled,
      ttlMs,
      addresses: this.addresses,
      held,
      near: this.near(),
      pay,
    }
    const bytes = encodePresence(ctx.secret, presence)
    this.newest = bytes
    ctx.table.offer(bytes, ctx.now)
    ctx.act({ kind: 'publish', bytes })
  }
}
