// Whom a host lets in: checks of an open in order of their cost, room, limits per requester, and a line for those who must wait.
import type { Lending, PeerKey } from './machine.ts'
import { chainFault, isSignedOpen, type MessageOf, type Refusal } from './messages.ts'
import type { Seat } from './seat.ts'
import type { Served } from './served.ts'

export const sessionsMaxDefault = 16
/** One stranger may hold half of a host's places, four at least: a relay's door asks for many people under one key. */
const ownSessionsLeast = 4
/** Set aside at first; a session that grows beyond asks for more as it goes, so that a generous maxTokens locks nobody out. */
export const answerPositionsFirst = 256
/** Cache is given to new sessions up to here, the rest is for those that grow (Helix: 0.85–0.9). */
const fillMax = 0.85
/** Who has not come back by then has left the line. */
const lineMs = 20_000
const lineMax = 256

export interface Refused {
  why: Refusal
  message: string
  place?: number
  waitMs?: number
}

export interface House {
  self: PeerKey
  lending: Lending | null
  accepting: boolean
  paused: boolean
  throttled: boolean
  served: Served | undefined
  seats: ReadonlyMap<string, Seat>
  isFriend(peer: PeerKey): boolean
}

/** What is wrong with an open regardless of room; null when nothing is. The signature is checked last: it costs a thousand times the rest. */
export function openFault(house: House, peer: PeerKey, open: MessageOf<'open'>): Refused | null {
  const no = (why: Refusal, message: string): Refused => ({ why, message })
  const { served, lending } = house
  if (open.requester !== peer) return no('input', 'an open must come from its requester')
  if (house.paused) return no('paused', 'this host is paused')
  if (!house.accepting || !lending) return no('draining', 'this host takes no new sessions')
  const index = open.chain.findIndex((one) => one.peer === house.self)
  if (index < 0) return no('input', 'this host is not in the chain')
  const { from, to } = open.chain[index]
  if (served?.state !== 'ready' || served.segment.from !== from || served.segment.to !== to)
    return no('notHeld', `layers ${from} to ${to} of that model are not held here`)
  const { layers, context, vocab } = served.facts
  const fault = chainFault(open.chain, layers)
  if (fault) return no('input', fault)
  if (open.promptLength >= context) return no('input', `the prompt has ${open.promptLength} tokens, the context holds ${context}`)
  if (open.stopIds.some((id) => id >= vocab)) return no('input', 'a stop id outside the vocabulary')
  if (lending.friendsOnly && !house.isFriend(peer)) return no('friends', 'this host serves only its friends')
  return isSignedOpen(open) ? null : no('input', 'the signature is not of the requester')
}

/** Positions that a session takes to begin with. */
export const positionsFirst = (open: MessageOf<'open'>, context: number): number =>
  Math.min(context, open.promptLength + Math.min(open.maxTokens, answerPositionsFirst))

/** Opens that one peer may send: each costs a check of its signature. A repair is one open, a new question another. */
const opensPerSecond = 4
const opensBurst = 40
const doorMax = 4096

/** Counts opens per peer before they are looked at. */
export class Door {
  private readonly peers = new Map<PeerKey, { credit: number; at: number }>()

  mayKnock(peer: PeerKey, now: number): boolean {
    const one = this.peers.get(peer) ?? { credit: opensBurst, at: now }
    one.credit = Math.min(opensBurst, one.credit + ((now - one.at) / 1000) * opensPerSecond)
    one.at = now
    this.peers.set(peer, one)
    if (this.peers.size > doorMax) this.peers.delete(this.peers.keys().next().value!)
    if (one.credit < 1) return false
    one.credit--
    return true
  }
}

export class Line {
  /** In order of coming; when they were seen last. */
  private readonly waiting = new Map<PeerKey, number>()

  /** Whether there is room for this one now, ahead of whom it may not go. Friends wait for nobody. */
  admit(house: House, peer: PeerKey, open: MessageOf<'open'>, now: number): Refused | null {
    const served = house.served!
    const friend = house.isFriend(peer)
    for (const [other, at] of this.waiting) if (now - at > lineMs) this.waiting.delete(other)
    const own = [...house.seats.values()].filter((seat) => seat.requester === peer).length
    const sessionsMax = Math.max(1, Math.floor((house.lending?.sessionsMax ?? sessionsMaxDefault) / (house.throttled ? 2 : 1)))
    const ownMax = Math.max(ownSessionsLeast, sessionsMax >> 1)
    if (!friend && own >= ownMax) return { why: 'limit', message: `one requester may hold ${ownMax} sessions here`, waitMs: 1000 }
    const need = positionsFirst(open, served.facts.context)
    if (need > served.positionsMax) return { why: 'input', message: `${need} positions are asked for, this host has ${served.positionsMax}` }
    const sessionsFree = sessionsMax - house.seats.size
    const positionsFree = (friend || served.seats.size === 0 ? 1 : fillMax) * served.positionsMax - served.positionsReserved
    const place = this.placeOf(peer)
    if (sessionsFree > (friend ? -1 : place) && positionsFree >= need) {
      this.waiting.delete(peer)
      return null
    }
    this.waiting.set(peer, now)
    if (this.waiting.size > lineMax) this.waiting.delete(this.waiting.keys().next().value!)
    return { why: 'full', message: 'all places are taken', place: this.placeOf(peer) + 1, waitMs: waitOf(house, this.placeOf(peer)) }
  }

  /** How many stand before this one (all, when it does not stand here). */
  private placeOf(peer: PeerKey): number {
    let place = 0
    for (const other of this.waiting.keys()) {
      if (other === peer) return place
      place++
    }
    return place
  }
}

/** When a place may come free: the sessions' remaining tokens at the pace of a full batch, at least a quarter second. */
function waitOf(house: House, place: number): number {
  const served = house.served!
  const remaining = [...house.seats.values()]
    .map((seat) => Math.max(1, Math.min(answerPositionsFirst, seat.open.promptLength + seat.open.maxTokens - seat.end)))
    .sort((a, b) => a - b)
  const tokens = remaining[Math.min(place, remaining.length - 1)] ?? 1
  return Math.min(60_000, Math.max(250, Math.round(tokens * (served.cost.stepMs ?? 20))))
}
