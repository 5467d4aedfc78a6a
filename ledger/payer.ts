// The paying side of protocol/peer/payment.ts on this ledger: one question's budget, cut into a session for each ring that answers a part of it. What takes time (numbers
// that no other process uses, proofs of the channel) has been prepared and waits in `stock`.
import { fromHex, hex } from '../protocol/hash.ts'
import { type ClaimedAnswer, type PaidLeg, type Payer, type PayingLeg, PaymentError, type SignedClaim } from '../protocol/peer/payment.ts'
import { least } from './amount.ts'
import { isClaimOf } from './claims.ts'
import { encodeAs } from './codec.ts'
import type { Verify } from './context.ts'
import { LedgerError } from './errors.ts'
import { chainNumber, type Parameters } from './genesis.ts'
import { sessionIdOf } from './names.ts'
import { isEnd, type PaidSession, payFor, priceOf, type SignedVoucher } from './pay.ts'
import { receiptBytes, receiptsRoot } from './receipt.ts'
import type { ModelRecord } from './records.ts'
import { type Evidence, encodeKept, encodeOpeningTerms, encodeVoucher } from './session.ts'
import { sessionTerms, signVoucher, termsHash } from './transaction.ts'

/** Numbers of sessions that are this question's alone, each with proofs that the ledger does not know it yet. */
export interface Stock {
  /** The next one, or null when all are used: more is being prepared. */
  take(): { number: number; evidence: Evidence } | null
  /** One that nobody can be paid from. */
  giveBack(number: number): void
  /** Signed now: `amount` µ of `limit` at most go there. `untilMs`: vouchers are worth nothing from then on. */
  promised(number: number, limit: bigint, amount: bigint, untilMs: number): void
  /** Every host has signed that it ends with `amount` µ. `kept`: encodeKept, for the owner to end it when no host does. */
  ended(number: number, limit: bigint, amount: bigint, untilMs: number, kept: Uint8Array): void
}

export interface PayerOptions {
  secret: Uint8Array
  account: Uint8Array
  /** Genesis hash. */
  chain: Uint8Array
  parameters: Parameters
  /** Of the model that is asked. */
  model: ModelRecord
  channel: number
  /** µ that the question may cost. */
  limit: bigint
  stock: Stock
  standing: Payer['standing']
  nowMs: () => number
  verify: Verify
}

/** Vouchers are good for a day: a host that crashed comes back within it, and what was promised to one that does not is free again after it. */
const sessionMs = 86_400_000
const none = new Uint8Array(32)
const nothing = new Uint8Array(0)

export function createPayer(options: PayerOptions): Payer {
  const { chain, account, limit, model, parameters, channel, stock, nowMs } = options
  const legs: Leg[] = []
  return {
    chain: chainNumber(chain),
    account: hex(account),
    limit: Number(limit),
    standing: options.standing,
    begin({ modelId, hosts, tokens }) {
      const spent = legs.reduce((sum, leg) => sum + leg.amount, 0n)
      const most = least(limit - spent, priceOf(parameters, model, hosts.length, tokens))
      if (model.price === 0n || most < priceOf(parameters, model, hosts.length, 1)) throw new PaymentError('what was set aside for this answer is used up')
      const taken = stock.take()
      if (!taken) throw new PaymentError('no further session has been prepared yet')
      const untilMs = nowMs() + Math.min(sessionMs, parameters.sessionMsMax)
      const terms = { model: fromHex(modelId), hosts: hosts.map((one) => ({ ...one, account: fromHex(one.account) })), limit: most, untilMs }
      const leg = new Leg(options, { chain, owner: account, channel, session: taken.number, terms }, taken.evidence)
      legs.push(leg)
      return leg
    },
  }
}

class Leg implements PayingLeg {
  readonly session: string
  readonly terms: Uint8Array
  readonly limit: number
  readonly tokensMax: number
  amount = 0n
  private tokens = 0
  private last: SignedVoucher | null = null
  private claims: readonly (SignedClaim | null)[] = []
  private readonly options: PayerOptions
  private readonly paid: PaidSession

  constructor(options: PayerOptions, paid: PaidSession, evidence: Evidence) {
    const { secret, chain, parameters, model } = options
    const { owner, channel, session, terms } = paid
    this.options = options
    this.paid = paid
    this.session = hex(sessionIdOf(chain, owner, channel, session))
    this.limit = Number(terms.limit)
    this.tokensMax = Number((terms.limit - priceOf(parameters, model, terms.hosts.length, 0)) / model.price)
    const zero = { owner, channel, session, terms: termsHash(terms), amount: 0n, last: false, receipt: none }
    this.terms = encodeOpeningTerms({ owner, channel, session, terms, signature: signVoucher(secret, chain, zero), evidence })
  }

  pay(tokens: number, last: boolean, claims: readonly (SignedClaim | null)[] | null): { voucher: Uint8Array; amount: number } {
    const { secret, parameters, model, stock } = this.options
    const { terms, session } = this.paid
    const amount = priceOf(parameters, model, terms.hosts.length, tokens)
    this.claims = claims ?? []
    const receipt = claims ? receiptsRoot(claims.map((one) => one?.claim ?? nothing)) : none
    // Before it is signed: what is promised must never be more than what the disk knows of.
    stock.promised(session, terms.limit, amount, terms.untilMs)
    this.last = payFor(secret, this.paid, amount, last, receipt)
    this.amount = amount
    this.tokens = tokens
    return { voucher: encodeVoucher(this.last), amount: Number(amount) }
  }

  isClaim(host: number, { claim, signature }: SignedClaim, answer: ClaimedAnswer): boolean {
    const { account } = this.paid.terms.hosts[host]
    try {
      return isClaimOf(claim, fromHex(this.session), host, answer) && this.options.verify(account, 'receipt', receiptBytes(this.paid.chain, claim), signature)
    } catch (error) {
      if (error instanceof LedgerError) return false
      throw error
    }
  }

  isEnd(host: number, end: Uint8Array): boolean {
    const { account } = this.paid.terms.hosts[host]!
    return this.last !== null && isEnd(this.paid, this.last, account, end, this.options.verify)
  }

  ended(ends: readonly Uint8Array[]): void {
    const { session, terms } = this.paid
    const kept = encodeKept({ session: this.paid, host: 0, voucher: this.last!, ends })
    this.options.stock.ended(session, terms.limit, this.amount, terms.untilMs, kept)
  }

  abandon(): void {
    if (this.amount === 0n) this.options.stock.giveBack(this.paid.session)
  }

  summary(): PaidLeg {
    const { chain, owner, channel, session, terms } = this.paid
    return {
      chain: hex(chain),
      owner: hex(owner),
      channel,
      number: session,
      session: this.session,
      terms: hex(encodeAs(sessionTerms, terms)),
      tokens: this.tokens,
      amount: Number(this.amount),
      limit: this.limit,
      last: this.last?.last ?? false,
      receipt: hex(this.last?.receipt ?? none),
      tokenKey: '',
      claims: terms.hosts.map(({ account, from, to }, i) => ({
        account: hex(account),
        from,
        to,
        claim: hex(this.claims[i]?.claim ?? nothing),
        signature: hex(this.claims[i]?.signature ?? nothing),
        records: '',
      })),
    }
  }
}
