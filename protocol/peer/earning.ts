// Paid sessions at a host: which terms are taken, how far a seat may compute ahead of its vouchers, what is kept where a crash cannot reach it, and the claim at the end.
// A voucher counts once it is kept; the last one may come after the seat is gone.
import { equalBytes } from '../hash.ts'
import { draftMax } from '../limits.ts'
import type { Refused } from './admission.ts'
import type { Context } from './context.ts'
import type { Links } from './links.ts'
import type { PeerKey } from './machine.ts'
import type { MessageOf } from './messages.ts'
import { type EarningLeg, PaymentError, tokenKeyOf } from './payment.ts'
import type { Seat } from './seat.ts'

/** The last voucher comes a round trip after the claims: what is held is settled when it has not come by then. */
const lastMsMax = 5000
/** Every host's word comes a round trip after the last voucher is kept everywhere. Without it this host settles alone, and what was not used returns later. */
const endMsMax = 2000
/** A seat whose rows wait for a voucher this long is given up. Twice a requester's own patience with a lost message. */
export const unpaidMsMax = 8000
/** Rows whose roots are made in one go: half a millisecond (measured, hidden 576), so that frames do not wait behind them. */
const rootsAtOnce = 64
/** Less would stop a ring that guesses: guesses ride on top of what is paid, and the requester keeps a token back for its last voucher. */
export const creditTokensMin = draftMax + 2
/** Owners of unpaid tokens that are remembered, and for how long: some of them only lost their connection. */
const debtorsMax = 4096
const debtMs = 3_600_000

/** One paid session of the ledger at this host. */
export class Earning {
  readonly leg: EarningLeg
  readonly terms: Uint8Array
  readonly requester: PeerKey
  readonly modelId: string
  /** The mesh's name of the session. */
  readonly session: string
  readonly credit: number
  /** Tokens of the answer that were there when it began. */
  start: number | null = null
  /** Tokens of the leg that kept vouchers pay for. */
  paid = 0
  /** The same of vouchers that are on their way to the disk. */
  taken = 0
  last = false
  /** Answer tokens that this host had computed when its seat ended, guesses left out. */
  computed = 0
  /** Every host's word that it ends is kept too, or there is nobody else. */
  ended = false
  /** When it is brought to the ledger whatever comes; null while its seat is served. */
  until: number | null = null

  constructor(leg: EarningLeg, open: MessageOf<'open'>, credit: number) {
    this.leg = leg
    this.terms = open.terms!
    this.requester = open.requester
    this.modelId = open.modelId
    this.session = open.session
    this.credit = credit
  }

  /** Tokens of the answer that may be computed: guesses ride on top, so that no more than `credit` are ever ahead. */
  get reach(): number {
    return (this.start ?? 0) + this.paid + this.credit - draftMax
  }

  /** Nothing more will be paid, and all of it is kept. */
  get isOver(): boolean {
    return this.last && this.paid === this.taken
  }

  get owed(): number {
    return Math.max(0, this.computed - (this.start ?? 0) - this.paid)
  }
}

export class Earnings {
  private readonly legs = new Map<string, Earning>()
  /** Tokens that accounts have left unpaid here. */
  private readonly debts = new Map<PeerKey, { tokens: number; at: number }>()
  private readonly ctx: Context
  private readonly links: Links

  constructor(ctx: Context, links: Links) {
    this.ctx = ctx
    this.links = links
  }

  /** Whether an open is worth serving as far as money goes. What it returns is to be given to `enter` when the rest is well too. */
  check(open: MessageOf<'open'>, seat: Seat | undefined, layers: number, paidOnly: boolean): { refused: Refused } | { earning: Earning | null } {
    const no = (why: 'terms' | 'unpaid', message: string): { refused: Refused } => ({ refused: { why, message } })
    if (!open.terms) return paidOnly ? no('unpaid', 'this host serves strangers only when they pay') : { earning: null }
    if (seat?.earning && equalBytes(seat.earning.terms, open.terms)) return { earning: seat.earning }
    const { payee } = this.ctx.earnings
    if (!payee) return no('terms', 'this host takes no payment')
    const index = open.chain.findIndex((one) => one.peer === this.ctx.self)
    const credit = Math.max(creditTokensMin, Math.min(65535, payee.creditTokens))
    try {
      const leg = payee.begin(open.terms, { modelId: open.modelId, layers, chain: open.chain, index })
      const known = this.legs.get(leg.session)
      if (known?.requester === open.requester && equalBytes(known.terms, open.terms)) return { earning: known }
      // A ring that nothing was paid in may be followed by another of the same number.
      if (known && known.taken > 0) return no('terms', 'this session has other terms here')
      if (this.debtOf(leg.owner) > credit) return no('terms', 'tokens of earlier answers are not paid yet')
      return { earning: new Earning(leg, open, credit) }
    } catch (error) {
      if (!(error instanceof PaymentError)) throw error
      return no('terms', error.message)
    }
  }

  /** The seat is served on these terms from now on. */
  enter(seat: Seat, earning: Earning | null): void {
    if (seat.earning && seat.earning !== earning) this.leave(seat, true)
    seat.keepsRows = (this.ctx.earnings.rowsBytesMax ?? 0) > 0
    seat.pay(earning)
    if (!earning) return
    earning.until = null
    this.legs.set(earning.leg.session, earning)
  }

  /** Rows that entered, kept for a defence: the longest answers let theirs go when they are too many together. */
  trim(seats: Iterable<Seat>): void {
    const most = this.ctx.earnings.rowsBytesMax ?? 0
    const all = [...seats].flatMap(({ boundaries }) => (boundaries && boundaries.keptBytes > 0 ? [boundaries] : []))
    let sum = all.reduce((bytes, one) => bytes + one.keptBytes, 0)
    for (const one of all.sort((a, b) => b.keptBytes - a.keptBytes)) {
      if (sum <= most) return
      sum -= one.keptBytes
      one.forget()
    }
  }

  voucher(peer: PeerKey, message: MessageOf<'voucher'>): void {
    const earning = this.legs.get(message.leg)
    if (!earning || earning.requester !== peer) return
    try {
      const { tokens, last } = earning.leg.accept(message.voucher)
      earning.taken = tokens
      earning.last = last
      this.ctx.act({ kind: 'keep', leg: message.leg, mark: tokens, record: earning.leg.record() })
    } catch (error) {
      if (!(error instanceof PaymentError)) throw error
      if (!error.stale) return void this.links.strike(peer, error.message)
      // It has come before: the answer was lost, or is on its way.
      if (earning.paid > 0 && earning.paid === earning.taken) this.tell(earning)
    }
  }

  /** A voucher for `mark` tokens is where a crash cannot reach it. */
  kept(leg: string, mark: number): void {
    const earning = this.legs.get(leg)
    if (!earning) return
    if (!earning.ended) {
      earning.paid = Math.max(earning.paid, mark)
      if (earning.isOver && earning.leg.hosts === 1) earning.ended = true
      this.tell(earning)
      const { session } = earning
      this.ctx.notice({ of: 'host', what: 'vouched', session, leg, modelId: earning.modelId, tokens: earning.paid })
    }
    this.windUp(earning)
  }

  /** Every host's word that a session ends: it goes along to the ledger. */
  ended(peer: PeerKey, message: MessageOf<'ended'>): void {
    const earning = this.legs.get(message.leg)
    if (!earning?.isOver || earning.ended || earning.requester !== peer) return
    if (!earning.leg.ended(message.ends)) return void this.links.strike(peer, 'shows ends that hosts have not signed')
    earning.ended = true
    this.ctx.act({ kind: 'keep', leg: message.leg, mark: earning.paid, record: earning.leg.record() })
  }

  /** Settles what is over: at once when all have said so, a moment later when they may still. */
  private windUp(earning: Earning): void {
    if (!earning.isOver || earning.until === null) return
    if (earning.ended) this.settle(earning)
    else earning.until = this.ctx.now + endMsMax
  }

  private tell(earning: Earning): void {
    const { session } = earning
    // Before the rest: who asked leaves when it has heard that all is kept.
    const end = earning.isOver ? earning.leg.end() : null
    if (end) this.ctx.send(earning.requester, { kind: 'end', session, leg: earning.leg.session, end })
    this.ctx.send(earning.requester, { kind: 'vouched', session, leg: earning.leg.session, tokens: earning.paid })
  }

  /** The whole answer is there: this host's claim about it. `ending` is the token that was no row, and why the answer ends. */
  claim(seat: Seat, committed: number, ending: MessageOf<'close'>['ending']): void {
    const { earning, open } = seat
    const rows = committed - 1
    if (!earning || !ending || seat.tokens.length < rows || rows < open.promptLength) return
    const tokens = [...seat.tokens.slice(0, rows), ending.token]
    // The last host answers for every token: it signs for none that it has not chosen.
    if (!seat.hasChosen(rows, ending.token)) return
    const records = seat.boundaries?.records(rows)
    if (!records) return
    const { sampler, seed, maxTokens, stopIds, promptLength } = open
    const answer = {
      sampler,
      seed,
      maxTokens,
      stopIds,
      prompt: tokens.slice(0, promptLength),
      tokens: tokens.slice(promptLength),
      stop: ending.stop,
      tokenKey: tokenKeyOf(seat.session, seat.requester),
    }
    const signed = earning.leg.sign(answer, records)
    // Before it is sent: who has it may ask for a defence.
    if (seat.keepsRows) {
      const entering = seat.boundaries!.keptRows(rows)
      const { from, to } = seat
      this.ctx.act({ kind: 'retain', leg: earning.leg.session, retained: { modelId: earning.modelId, from, to, answer, records, entering, ...signed } })
    }
    this.ctx.send(seat.requester, { kind: 'claim', session: seat.session, leg: earning.leg.session, ...signed, records })
  }

  /** The seat is gone, or on other terms; `answered`: the last voucher is still to come. */
  leave(seat: Seat, answered: boolean): void {
    const { earning, open } = seat
    if (!earning) return
    // Hosts in the middle do not hear which guesses were right.
    const known = seat.first || seat.last ? Math.min(seat.committed, seat.kept + 1) : seat.kept + 1 - draftMax
    earning.computed = Math.max(0, known - open.promptLength)
    earning.until = this.ctx.now + (answered ? lastMsMax : 0)
    if (earning.ended) earning.until = this.ctx.now
    else if (earning.isOver) earning.until = this.ctx.now + endMsMax
  }

  private debtOf(owner: PeerKey): number {
    const debt = this.debts.get(owner)
    return debt && this.ctx.now - debt.at < debtMs ? debt.tokens : 0
  }

  private settle(earning: Earning): void {
    const { owner, session } = earning.leg
    this.legs.delete(session)
    const tokens = this.debtOf(owner) + earning.owed
    this.debts.delete(owner)
    if (tokens > 0) this.debts.set(owner, { tokens, at: this.ctx.now })
    if (this.debts.size > debtorsMax) this.debts.delete(this.debts.keys().next().value!)
    if (earning.taken > 0) this.ctx.act({ kind: 'settle', leg: session })
  }

  tick(): void {
    for (const earning of this.legs.values())
      if (earning.until !== null && earning.until <= this.ctx.now && earning.paid === earning.taken) this.settle(earning)
  }

  /** When nothing is urgent: roots of rows. */
  idle(seats: Iterable<Seat>): void {
    for (const seat of seats) {
      if (!seat.boundaries?.waits) continue
      seat.boundaries.work(rootsAtOnce)
      return
    }
  }

  wakeAt(seats: Iterable<Seat>): number {
    for (const seat of seats) if (seat.boundaries?.waits) return this.ctx.now
    let at = Infinity
    for (const { until, paid, taken } of this.legs.values()) if (until !== null && paid === taken) at = Math.min(at, until)
    return at
  }
}
