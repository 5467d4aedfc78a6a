// Connections: hello before anything else, round-trip times, and limits on what one peer may send. A connection counts as up when it is direct and both hellos agree.
import { MessageError } from '../codec.ts'
import { presenceNearMax } from '../limits.ts'
import type { Context } from './context.ts'
import type { PeerKey } from './machine.ts'
import { decodeMessage, type Message, type MessageOf, ringVersion, shortReason } from './messages.ts'
import { groupProof } from './presence.ts'

interface Link {
  /**
   * `apart`: of another group or version. Its connection is left alone, since one of the two may be a relay, but nothing is said over it.
   * `leaving`: it was told why, and the connection ends when that has been written.
   */
  state: 'dialling' | 'greeting' | 'up' | 'apart' | 'leaving'
  since: number
  /** Smoothed round trip, null before the first pong. */
  rttMs: number | null
  pingedAt: number
  /** When its last frame came. */
  heardAt: number
  nonce: number
  awaiting: boolean
  /** How long this ping may stay without any answer. */
  awaitMs: number
  /** Frames it may still send now (token bucket). */
  credit: number
  creditAt: number
  strikes: number
  telling: boolean
  /** Of its newest presence that was looked at; 0: none yet. */
  boot: number
  /** Frames of its table that are still welcome. */
  tells: number
}

/** A dial that has brought nothing by then is over. WebRTC through a relay takes 0.25 s (measured); slow networks several seconds. */
const dialMs = 10_000
const pingEveryMs = 15_000
/** Greetings to one that is up already: longer than any round trip, or two would greet each other for ever. */
const greetEveryMs = 3000
/** A ping that brings no sign of life for so long ends the connection: a crashed tab's would look well for a minute, and stand in the way of the tab that comes back. */
const silentMsMax = 10_000
/** The same for one that has failed already. */
const probeMsMax = 3000
/** Frames a second, and at once: a ring's round is two frames a peer, a replay some hundreds. */
const framesPerSecond = 1000
const framesBurst = 4000
const strikesMax = 8
/** A whole table in frames of at least sixteen records. */
const tellFramesMax = 256
/** For a last word to be written. */
const byeMs = 500
/** How long a peer that broke the rules stays unanswered. */
const banMs = 60_000
const banCountMax = 1024

export class Links {
  /** Who is needed now: the rings of this peer's sessions. Set by the peer. */
  isNeeded: (peer: PeerKey) => boolean = () => false
  private readonly links = new Map<PeerKey, Link>()
  private readonly banned = new Map<PeerKey, number>()
  private readonly ctx: Context

  constructor(ctx: Context) {
    this.ctx = ctx
  }

  isUp(peer: PeerKey): boolean {
    return peer === this.ctx.self || this.links.get(peer)?.state === 'up'
  }

  rttMs(peer: PeerKey): number | null {
    return peer === this.ctx.self ? 0 : (this.links.get(peer)?.rttMs ?? null)
  }

  /** Whether it keeps the table for others, as relays do. */
  isTelling(peer: PeerKey): boolean {
    return this.links.get(peer)?.telling ?? false
  }

  /** When this peer last said anything over its connection; −Infinity when there is none. */
  heardAt(peer: PeerKey): number {
    return this.links.get(peer)?.heardAt ?? -Infinity
  }

  /** Asks for a sign of life out of turn. */
  probe(peer: PeerKey): void {
    const link = this.links.get(peer)
    if (link?.state === 'up') this.ping(peer, link, probeMsMax)
  }

  /** This peer itself was asleep: what it was waiting for may lie in its inbox. */
  overslept(): void {
    for (const link of this.links.values()) link.pingedAt = Math.max(link.pingedAt, this.ctx.now - link.awaitMs / 2)
  }

  /** The nearest measured ones, for the presence. */
  near(): { peer: string; ms: number }[] {
    const measured = [...this.links].flatMap(([peer, { rttMs }]) =>
      rttMs === null ? [] : [{ peer: peer.slice(0, 16), ms: Math.min(60_000, Math.round(rttMs)) }],
    )
    return measured.sort((a, b) => a.ms - b.ms).slice(0, presenceNearMax)
  }

  up(): PeerKey[] {
    return [...this.links].flatMap(([peer, link]) => (link.state === 'up' ? [peer] : []))
  }

  get count(): number {
    return this.links.size
  }

  /** Dials unless it is connected or being dialled. Returns whether it is up already; one that has long said nothing is asked whether it still is. */
  want(peer: PeerKey, addresses: string[]): boolean {
    if (this.isUp(peer)) {
      const link = this.links.get(peer)
      if (link && !link.awaiting && this.ctx.now - link.heardAt > probeMsMax) this.ping(peer, link, probeMsMax)
      return true
    }
    if (!this.links.has(peer)) {
      this.makeRoom(peer)
      this.links.set(peer, this.fresh('dialling'))
      this.ctx.act({ kind: 'connect', peer, addresses })
    }
    return false
  }

  connected(peer: PeerKey, direct: boolean): void {
    if (this.isBanned(peer)) return this.ctx.act({ kind: 'disconnect', peer })
    // Bulk never goes through a relay: such a connection only helps to make a direct one.
    if (!direct) return
    const link = this.links.get(peer)
    if (link && link.state !== 'dialling') return
    const own = link !== undefined
    this.links.set(peer, this.fresh('greeting'))
    this.greet(peer, this.links.get(peer)!)
    // Who is dialled has been given room; who comes may find none.
    if (!own && !this.makeRoom(peer)) this.bid(peer, `this peer keeps ${this.ctx.linksMax} connections, and all of them are in use`)
  }

  /** Lets go of who is needed least, when there are too many beside `peer`. False: all are needed. */
  private makeRoom(peer: PeerKey): boolean {
    let count = 1
    let least: PeerKey | null = null
    for (const [other, { state, telling, heardAt }] of this.links) {
      if (other === peer || telling || state === 'apart' || state === 'leaving') continue
      count++
      if (state !== 'up' || this.isNeeded(other)) continue
      if (least === null || heardAt < this.links.get(least)!.heardAt) least = other
    }
    if (count <= this.ctx.linksMax) return true
    if (least === null) return false
    this.bid(least, 'this peer needs its place for another one')
    return true
  }

  private bid(peer: PeerKey, why: string): void {
    const link = this.links.get(peer)!
    this.ctx.send(peer, { kind: 'bye', why: shortReason(why) })
    link.state = 'leaving'
    link.since = this.ctx.now
  }

  /** Returns whether it had been up or wanted. */
  disconnected(peer: PeerKey): boolean {
    return this.links.delete(peer)
  }

  /** A dial that brought nothing; the other side's may have. Returns whether it had been wanted. */
  failed(peer: PeerKey): boolean {
    return this.links.get(peer)?.state === 'dialling' && this.links.delete(peer)
  }

  /** Whether this peer was asked for its table and may go on telling. */
  mayTell(peer: PeerKey): boolean {
    const link = this.links.get(peer)
    return link !== undefined && link.tells-- > 0
  }

  /** Decodes a frame and answers what concerns the connection itself. Null: nothing for host or requester. 'up', 'apart': the peer has just become usable, or never will. */
  frame(peer: PeerKey, bytes: Uint8Array): Message | 'up' | 'apart' | null {
    // Frames come only over direct connections: one that is here before the word of its connection brings it along.
    if ((this.links.get(peer)?.state ?? 'dialling') === 'dialling') this.connected(peer, true)
    const link = this.links.get(peer)
    if (!link || link.state === 'apart' || link.state === 'leaving') return null
    link.heardAt = this.ctx.now
    if (!this.spend(link)) return this.strike(peer, 'sends more frames than anyone may')
    let message: Message
    try {
      message = decodeMessage(bytes)
    } catch (error) {
      return this.strike(peer, error instanceof MessageError ? error.message : 'sends what cannot be read')
    }
    if (message.kind === 'hello') return this.hello(peer, link, message)
    if (message.kind === 'bye') {
      this.links.delete(peer)
      this.ctx.act({ kind: 'disconnect', peer })
      return message
    }
    if (link.state !== 'up') return this.strike(peer, `sends ${message.kind} before its hello`)
    if (message.kind === 'ping') this.ctx.send(peer, { kind: 'pong', nonce: message.nonce })
    else if (message.kind === 'pong') this.pong(link, message.nonce)
    else return message
    return null
  }

  /** One breach of the rules; several end the connection. */
  strike(peer: PeerKey, why: string, weight = 1): null {
    this.ctx.notice({ of: 'mesh', what: 'misbehaved', peer, why })
    const link = this.links.get(peer)
    if (!link) return null
    link.strikes += weight
    if (link.strikes >= strikesMax) this.ban(peer)
    return null
  }

  tick(): PeerKey[] {
    const { now } = this.ctx
    const failed: PeerKey[] = []
    for (const [peer, link] of this.links) {
      if (link.state === 'apart') continue
      if (link.state === 'leaving') {
        if (now - link.since < byeMs) continue
        this.links.delete(peer)
        this.ctx.act({ kind: 'disconnect', peer })
      } else if (link.state !== 'up') {
        if (now - link.since < dialMs) continue
        this.links.delete(peer)
        failed.push(peer)
      } else if (link.awaiting && link.heardAt < link.pingedAt && now - link.pingedAt >= link.awaitMs) {
        this.links.delete(peer)
        this.ctx.act({ kind: 'disconnect', peer })
        failed.push(peer)
      } else if (this.hasRestarted(peer, link)) this.ping(peer, link, probeMsMax)
      else if (now - link.pingedAt >= pingEveryMs) this.ping(peer, link)
    }
    for (const [peer, until] of this.banned) if (until <= now) this.banned.delete(peer)
    return failed
  }

  /** Once for each start: whether this peer has begun anew since the connection stood. The connection may then be one to a tab that is gone, and must show that it is not. */
  private hasRestarted(peer: PeerKey, link: Link): boolean {
    const boot = this.ctx.table.get(peer)?.boot ?? link.boot
    const known = link.boot
    link.boot = Math.max(known, boot)
    return known > 0 && boot > known
  }

  wakeAt(): number {
    let at = Infinity
    for (const link of this.links.values()) {
      if (link.state === 'apart') continue
      if (link.state === 'leaving') {
        at = Math.min(at, link.since + byeMs)
        continue
      }
      const silent = link.awaiting && link.heardAt < link.pingedAt
      at = Math.min(at, link.state === 'up' ? link.pingedAt + (silent ? link.awaitMs : pingEveryMs) : link.since + dialMs)
    }
    return at
  }

  private hello(peer: PeerKey, link: Link, message: MessageOf<'hello'>): 'up' | 'apart' | null {
    const { invitation, self } = this.ctx
    if (link.state === 'up') {
      // It has connected anew (a tab opened again, whose old connection nobody here saw break), or lost our greeting. Greeting back now and then ends the matter.
      if (this.ctx.now - link.since >= greetEveryMs) this.greet(peer, link)
      return null
    }
    const expected = invitation && groupProof(invitation, peer, self)
    if (message.version !== ringVersion || message.group !== expected) {
      link.state = 'apart'
      const why = `it speaks version ${message.version} of the ring, this peer ${ringVersion}`
      if (message.version !== ringVersion) this.ctx.notice({ of: 'mesh', what: 'misbehaved', peer, why })
      return 'apart'
    }
    link.state = 'up'
    this.ping(peer, link)
    link.telling = message.tells
    if (message.tells) {
      link.tells = tellFramesMax
      this.ctx.send(peer, { kind: 'askPresence' })
    }
    return 'up'
  }

  private greet(peer: PeerKey, link: Link): void {
    const { invitation, self, tells, now } = this.ctx
    link.since = now
    this.ctx.send(peer, { kind: 'hello', version: ringVersion, group: invitation && groupProof(invitation, self, peer), tells })
  }

  private ban(peer: PeerKey): void {
    this.banned.delete(peer)
    this.banned.set(peer, this.ctx.now + banMs)
    if (this.banned.size > banCountMax) this.banned.delete(this.banned.keys().next().value!)
    this.ctx.act({ kind: 'disconnect', peer })
  }

  isBanned(peer: PeerKey): boolean {
    return (this.banned.get(peer) ?? 0) > this.ctx.now
  }

  private ping(peer: PeerKey, link: Link, awaitMs = silentMsMax): void {
    link.pingedAt = this.ctx.now
    link.awaitMs = awaitMs
    link.nonce = this.ctx.draw(4294967296)
    link.awaiting = true
    this.ctx.send(peer, { kind: 'ping', nonce: link.nonce })
  }

  private pong(link: Link, nonce: number): void {
    if (!link.awaiting || nonce !== link.nonce) return
    link.awaiting = false
    const ms = this.ctx.now - link.pingedAt
    // Weight 0.2, as Petals does.
    link.rttMs = link.rttMs === null ? ms : link.rttMs * 0.8 + ms * 0.2
  }

  private spend(link: Link): boolean {
    const { now } = this.ctx
    link.credit = Math.min(framesBurst, link.credit + ((now - link.creditAt) / 1000) * framesPerSecond)
    link.creditAt = now
    if (link.credit < 1) return false
    link.credit--
    return true
  }

  private fresh(state: 'dialling' | 'greeting'): Link {
    const { now } = this.ctx
    return {
      state,
      since: now,
      rttMs: null,
      pingedAt: now,
      heardAt: -Infinity,
      nonce: 0,
      awaiting: false,
      awaitMs: silentMsMax,
      credit: framesBurst,
      creditAt: now,
      strikes: 0,
      tells: 0,
      telling: false,
      boot: 0,
    }
  }
}
