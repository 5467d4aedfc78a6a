// The end of a session at a host: its word to the successor, its receipt to the requester. The receipt waits a little for the predecessor's word, so that
// a later quarrel about what was sent can be settled from the receipts alone.
import { hex } from '../hash.ts'
import type { Context } from './context.ts'
import type { PeerKey } from './machine.ts'
import type { MessageOf } from './messages.ts'
import { isSignedStatement, type Statement, signStatement, type Terms } from './receipt.ts'
import type { Seat } from './seat.ts'

/** The predecessor got its close at the same time; two seconds are many round trips. */
const waitMsMax = 2000
/** Statements that came before the requester's close. */
const earlyMax = 256

interface Farewell {
  requester: PeerKey
  previous: PeerKey
  terms: Terms
  own: Statement
  until: number
}

export class Farewells {
  private readonly waiting = new Map<string, Farewell>()
  private readonly early = new Map<string, Statement>()
  private readonly ctx: Context

  constructor(ctx: Context) {
    this.ctx = ctx
  }

  /** The requester has the whole answer of `committed` tokens: all but the last one are rows that every host ran. */
  begin(seat: Seat, committed: number): void {
    const count = committed - 1
    const outChain = seat.last ? seat.outChain[committed - seat.open.promptLength] : seat.outChain[count]
    const inChain = seat.inChain[count]
    if (!inChain || !outChain) return
    const { session, epoch, from, to, requester, previous, open } = seat
    const own = signStatement(this.ctx.secret, session, open, { peer: this.ctx.self, from, to, count, inChain: hex(inChain), outChain: hex(outChain) })
    const { peer: _, ...said } = own
    if (!seat.last) this.ctx.send(seat.next, { kind: 'statement', session, epoch, ...said })
    const farewell = { requester, previous, terms: open, own, until: this.ctx.now + waitMsMax }
    if (seat.first) return this.tell(session, farewell, null)
    this.waiting.set(session, farewell)
    const link = this.early.get(session)
    if (link) this.settle(session, farewell, link)
  }

  /** `seat`: of that session, when it is still open. */
  statement(peer: PeerKey, message: MessageOf<'statement'>, seat: Seat | undefined): void {
    const { kind: _, session, epoch: __, ...said } = message
    const link = { peer, ...said }
    const farewell = this.waiting.get(session)
    if (farewell) return this.settle(session, farewell, link)
    if (!seat || seat.first || seat.previous !== peer) return
    this.early.set(session, link)
    if (this.early.size > earlyMax) this.early.delete(this.early.keys().next().value!)
  }

  tick(): void {
    for (const [session, farewell] of this.waiting) if (farewell.until <= this.ctx.now) this.tell(session, farewell, null)
  }

  wakeAt(): number {
    let at = Infinity
    for (const { until } of this.waiting.values()) at = Math.min(at, until)
    return at
  }

  /** A word that does not fit, or is not signed, is none; one that says other than what came is kept: it is evidence. */
  private settle(session: string, farewell: Farewell, link: Statement): void {
    if (link.peer !== farewell.previous || link.to !== farewell.own.from || link.count !== farewell.own.count) return
    if (isSignedStatement(session, farewell.terms, link)) this.tell(session, farewell, link)
  }

  private tell(session: string, { requester, own }: Farewell, link: Statement | null): void {
    this.waiting.delete(session)
    this.early.delete(session)
    const { peer: _, ...said } = own
    this.ctx.send(requester, { kind: 'receipt', session, ...said, link })
  }
}
