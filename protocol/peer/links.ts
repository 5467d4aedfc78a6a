// Connections: hello before anything else, round-trip times, and limits on what one peer may send. A connection counts as up when it is direct and both hellos agree.
import { MessageError } from '../codec.ts'
import { presenceNearMax } from '../limits.ts'
import type { Context } from './context.ts'
import type { PeerKey } from './machine.ts'
import { decodeMessage, type Message, type MessageOf, ringVersion } from './messages.ts'
import { groupProof } from './presence.ts'

interface Link {
  /** `apart`: of another group or version. Its connection is left alone, since one of the two may be a relay, but nothing is said over it. */
  state: 'dialling' | 'greeting' | 'up' | 'apart'
  since: number
  /** Smoothed round trip, null before the first pong. */
  rttMs: number | null
  pingedAt: number
  nonce: number
  awaiting: boolean
  /** Frames it may still send now (token bucket). */
  credit: number
  creditAt: number
  strikes: number
  /** Frames of its table that are still welcome. */
  tells: number
}

/** A dial that has brought nothing by then is over. WebRTC through a relay takes 0.25 s (measured); slow networks several seconds. */
const dialMs = 10_000
const pingEveryMs = 15_000
/** Frames a second, and at once: a ring's round is two frames a peer, a replay some hundreds. */
const framesPerSecond = 1000
const framesBurst = 4000
const strikesMax = 8
/** A whole table in frames of at least sixteen records. */
const tellFramesMax = 256
/** How long a peer that broke the rules stays unanswered. */
const banMs = 60_000
const banCountMax = 1024

export class Links {
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

  /** Dials unless it is connected or being dialled. Returns whether it is up already. */
  want(peer: PeerKey, addresses: string[]): boolean {
    if (this.isUp(peer)) return true
    if (!this.links.has(peer)) {
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
    this.links.set(peer, this.fresh('greeting'))
    this.greet(peer, this.links.get(peer)!)
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
    if (!link || link.state === 'apart') return null
    if (!this.spend(link)) return this.strike(peer, 'sends more frames than anyone may')
    let message: Message
    try {
      message = decodeMessage(bytes)
    } catch (error) {
      return this.strike(peer, error instanceof MessageError ? error.message : 'sends what cannot be read')
    }
    if (message.kind === 'hello') return this.hello(peer, link, message)
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
      if (link.state !== 'up') {
        if (now - link.since < dialMs) continue
        this.links.delete(peer)
        failed.push(peer)
      } else if (now - link.pingedAt >= pingEveryMs) this.ping(peer, link)
    }
    for (const [peer, until] of this.banned) if (until <= now) this.banned.delete(peer)
    return failed
  }

  wakeAt(): number {
    let at = Infinity
    for (const link of this.links.values())
      if (link.state !== 'apart') at = Math.min(at, link.state === 'up' ? link.pingedAt + pingEveryMs : link.since + dialMs)
    return at
  }

  private hello(peer: PeerKey, link: Link, message: MessageOf<'hello'>): 'up' | 'apart' | null {
    const { invitation, self } = this.ctx
    if (link.state === 'up') {
      // It has connected anew, or lost our greeting: greeting back at most as often as pings go out ends the matter.
      if (this.ctx.now - link.since >= pingEveryMs) this.greet(peer, link)
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

  private ping(peer: PeerKey, link: Link): void {
    link.pingedAt = this.ctx.now
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
    return { state, since: now, rttMs: null, pingedAt: now, nonce: 0, awaiting: false, credit: framesBurst, creditAt: now, strikes: 0, tells: 0 }
  }
}
