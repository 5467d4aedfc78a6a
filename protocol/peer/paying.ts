// The paying half of a question: sessions of the ledger (legs) as the ring changes, vouchers while tokens come, claims and the last voucher at the end.
// A token is owed in the leg that was running when it came, and in no other, so a repair costs a settlement and never a token twice.
import { hex } from '../hash.ts'
import { draftMax } from '../limits.ts'
import type { Context } from './context.ts'
import type { Links } from './links.ts'
import type { ChainLink, PeerKey } from './machine.ts'
import type { MessageOf } from './messages.ts'
import { type ClaimedAnswer, type PaidLeg, type Payer, type PayingLeg, PaymentError, type SignedClaim, tokenKeyOf } from './payment.ts'
import type { Presence } from './presence.ts'

/** A voucher is worth sending for this many tokens: each is a signature here and a write at every host. */
const tokensPerVoucher = 8
/** Signing waits this long, so that the token that caused it is shown first. */
const afterMs = 1 / 64

interface Leg {
  leg: PayingLeg
  hosts: ChainLink[]
  /** Tokens of the answer when it began; null until all its hosts have opened. */
  start: number | null
  /** Tokens of the leg that vouchers pay for, µ of the newest, and its bytes. */
  tokens: number
  amount: number
  voucher: Uint8Array | null
  last: boolean
  /** Tokens that a host says its kept voucher pays for. */
  kept: Map<PeerKey, number>
  /** The least that a host computes ahead. */
  credit: number
  claims: Map<PeerKey, { signed: SignedClaim; records: Uint8Array }>
  /** What hosts have signed: that it ends with the last voucher. */
  ends: Map<PeerKey, Uint8Array>
}

export class Paying {
  private readonly begun: Leg[] = []
  /** Of the ring that is being opened, or runs. */
  private current: Leg | null = null
  private readonly accounts = new Map<PeerKey, PeerKey>()
  private dueAt = Infinity
  private readonly ctx: Context
  private readonly links: Links
  private readonly payer: Payer
  private readonly session: string
  private readonly modelId: string

  constructor(ctx: Context, links: Links, payer: Payer, session: string, modelId: string) {
    this.ctx = ctx
    this.links = links
    this.payer = payer
    this.session = session
    this.modelId = modelId
  }

  get limit(): number {
    return this.payer.limit
  }

  /** Hosts that can be paid on this chain. */
  among(presences: readonly Presence[]): Presence[] {
    return presences.filter((one) => one.pay?.chain === this.payer.chain)
  }

  /**
   * Terms for a ring, from the token number `answered` on; `most`: tokens that may still come. The same ring keeps its terms. Null when all of it is one's own.
   * Throws PaymentError when nothing is left to promise, or a host of the ring takes no payment.
   */
  terms(chain: readonly ChainLink[], answered: number, most: number): Uint8Array | null {
    const { current } = this
    const same =
      current?.hosts.length === chain.length &&
      current.hosts.every((one, i) => one.peer === chain[i].peer && one.from === chain[i].from && one.to === chain[i].to)
    if (current && same && !current.last) return current.leg.terms
    this.close(answered)
    const hosts = chain.map(({ peer, from, to }) => ({ account: this.accountOf(peer), from, to }))
    if (hosts.every((one) => one.account === this.payer.account)) return null
    const leg = this.payer.begin({ modelId: this.modelId, hosts, tokens: most })
    const links = chain.map(({ peer, from, to }) => ({ peer, from, to }))
    this.current = {
      leg,
      hosts: links,
      start: null,
      tokens: 0,
      amount: 0,
      voucher: null,
      last: false,
      kept: new Map(),
      credit: 65535,
      claims: new Map(),
      ends: new Map(),
    }
    return leg.terms
  }

  private accountOf(peer: PeerKey): PeerKey {
    const pay = this.ctx.table.get(peer)?.pay
    if (pay?.chain === this.payer.chain) this.accounts.set(peer, pay.account)
    const account = this.accounts.get(peer)
    if (account === undefined) throw new PaymentError('a host of the ring takes no payment')
    return account
  }

  opened(credit: number): void {
    if (this.current && credit > 0) this.current.credit = Math.min(this.current.credit, credit)
  }

  /** All hosts have opened; those that were asleep hear again what is owed. */
  began(answered: number): void {
    const { current } = this
    if (!current) return
    if (current.start === null) {
      current.start = answered
      this.begun.push(current)
    } else this.send(current)
  }

  /** The answer has so many tokens now. */
  owe(answered: number): void {
    const { current } = this
    if (!current || current.start === null) return
    const every = Math.max(1, Math.min(tokensPerVoucher, (current.credit - draftMax) >> 1))
    if (answered - current.start - current.tokens >= every) this.dueAt = Math.min(this.dueAt, this.ctx.now + afterMs)
  }

  tick(answered: number): void {
    if (this.ctx.now < this.dueAt) return
    this.dueAt = Infinity
    // One token is kept back: the last voucher must bring more than the one before, or nobody would take it.
    if (this.current) this.pay(this.current, answered - 1, false, null)
  }

  wakeAt(): number {
    return this.dueAt
  }

  /** Vouchers that nobody has confirmed are said again: the network may have lost them. */
  remind(): void {
    if (this.current) this.send(this.current)
  }

  vouched(peer: PeerKey, message: MessageOf<'vouched'>): void {
    const leg = this.begun.find((one) => one.leg.session === message.leg)
    if (leg?.hosts.some((one) => one.peer === peer)) leg.kept.set(peer, Math.max(leg.kept.get(peer) ?? 0, Math.min(message.tokens, leg.tokens)))
  }

  /** A host's word that a leg ends with the last voucher; false when it is not. When all have said it, each hears it of all: the rest of the limit returns with the settlement. */
  end(peer: PeerKey, message: MessageOf<'end'>): boolean {
    const leg = this.begun.find((one) => one.leg.session === message.leg)
    const host = leg?.hosts.findIndex((one) => one.peer === peer) ?? -1
    if (!leg || host < 0 || leg.ends.has(peer)) return true
    if (!leg.leg.isEnd(host, message.end)) return false
    leg.ends.set(peer, message.end)
    if (leg.ends.size < leg.hosts.length) return true
    const ends = leg.hosts.map((one) => leg.ends.get(one.peer)!)
    leg.leg.ended(ends)
    if (leg.hosts.length > 1)
      for (const one of leg.hosts) if (this.links.isUp(one.peer)) this.ctx.send(one.peer, { kind: 'ended', session: this.session, leg: leg.leg.session, ends })
    return true
  }

  /** Nothing more is to be heard of what was paid: all hosts have said that it ends, or there is nothing to end. */
  get isOver(): boolean {
    return this.begun.every((one) => !one.last || one.hosts.every(({ peer }) => one.ends.has(peer) || !this.links.isUp(peer)))
  }

  /** A host's claim about the whole answer; false when it is about anything else, or not signed by its account. */
  claim(peer: PeerKey, message: MessageOf<'claim'>, answer: ClaimedAnswer): boolean {
    const { current } = this
    const host = current?.hosts.findIndex((one) => one.peer === peer) ?? -1
    if (!current || host < 0 || message.leg !== current.leg.session) return true
    const signed = { claim: message.claim, signature: message.signature }
    if (!current.leg.isClaim(host, signed, answer)) return false
    current.claims.set(peer, { signed, records: message.records })
    return true
  }

  /** Whether a host has said all that a receipt of the current ring needs of it. */
  hasClaim(peer: PeerKey): boolean {
    return !this.current || this.current.claims.has(peer)
  }

  /** The end: the last voucher, with the claims' root when the answer is whole. */
  finish(answered: number, whole: boolean): void {
    this.dueAt = Infinity
    const { current } = this
    if (!current) return
    if (current.start === null) return this.close(answered)
    const claims = whole ? current.hosts.map((one) => current.claims.get(one.peer)?.signed ?? null) : null
    this.pay(current, answered, true, claims)
  }

  /** Every host that is still there has the last voucher where a crash cannot reach it. */
  get isKept(): boolean {
    const { current } = this
    return !current || current.tokens === 0 || current.hosts.every((one) => (current.kept.get(one.peer) ?? 0) >= current.tokens || !this.links.isUp(one.peer))
  }

  /** µ of all vouchers. */
  get paid(): number {
    return this.begun.reduce((sum, one) => sum + one.amount, 0)
  }

  summary(): PaidLeg[] {
    return this.begun
      .filter((one) => one.tokens > 0)
      .map((one) => {
        const paid = one.leg.summary()
        return {
          ...paid,
          tokenKey: hex(tokenKeyOf(this.session, this.ctx.self)),
          claims: paid.claims.map((claim, i) => ({ ...claim, records: hexOf(one.claims.get(one.hosts[i].peer)?.records) })),
        }
      })
  }

  /** The current leg is over: what came in it is paid, what comes from now on belongs to another. */
  private close(answered: number): void {
    const { current } = this
    this.current = null
    this.dueAt = Infinity
    if (!current) return
    if (current.start === null || answered === current.start) return current.leg.abandon()
    this.pay(current, answered, true, null)
  }

  private pay(leg: Leg, answered: number, last: boolean, claims: readonly (SignedClaim | null)[] | null): void {
    const tokens = Math.min(answered - leg.start!, leg.leg.tokensMax)
    if (leg.last || tokens <= leg.tokens) return
    const { voucher, amount } = leg.leg.pay(tokens, last, claims)
    Object.assign(leg, { voucher, amount, tokens, last })
    this.send(leg)
  }

  private send(leg: Leg): void {
    if (!leg.voucher) return
    for (const { peer } of leg.hosts) {
      if (this.links.isUp(peer) && (leg.kept.get(peer) ?? 0) < leg.tokens)
        this.ctx.send(peer, { kind: 'voucher', session: this.session, leg: leg.leg.session, voucher: leg.voucher })
    }
  }
}

const hexOf = (bytes: Uint8Array | undefined): string => (bytes ? hex(bytes) : '')
