// The earning side of protocol/peer/payment.ts on this ledger: a host checks terms against what it knows of the chain and what the requester proves, takes vouchers,
// and signs claims. No clock and no network: both stand behind `view`.
import { fromHex, hex } from '../protocol/hash.ts'
import { type ClaimedAnswer, type EarningLeg, type Payee, PaymentError } from '../protocol/peer/payment.ts'
import { claimOf, recordsOf } from './claims.ts'
import type { Verify } from './context.ts'
import { LedgerError } from './errors.ts'
import { chainNumber, type Parameters } from './genesis.ts'
import { checkHeader, checkRecord } from './light.ts'
import { sessionIdOf } from './names.ts'
import { acceptVoucher, checkTerms, endWith, isEnd, type PaidSession, priceOf, type SignedVoucher } from './pay.ts'
import { encodeReceiptClaim, signReceiptClaim } from './receipt.ts'
import { keyOf, type ModelRecord } from './records.ts'
import { decodeOpeningTerms, decodeVoucher, encodeKept, type SessionOpening } from './session.ts'
import { termsHash, voucherBytes } from './transaction.ts'

/** What a host knows of the chain, renewed by whoever follows it. */
export interface ChainView {
  /** Genesis hash. */
  readonly chain: Uint8Array
  /** Whose headers are believed. */
  readonly producers: readonly Uint8Array[]
  readonly parameters: Parameters
  /** The newest block that was seen. */
  readonly head: { height: number; timeMs: number }
  model(id: string): ModelRecord | null
  /** ms since 1970. */
  nowMs(): number
}

/** A channel may have changed since the block that a requester proves it under: this old may that block be, compared with the newest that the host knows. */
const evidenceMsMax = 60_000
/** Tokens ahead of the last voucher: two rounds of vouchers at 100 tokens/s and a round trip of 100 ms. What a host risks by default: 32 tokens' price. */
export const creditTokensDefault = 32

export interface PayeeOptions {
  /** The account's, not the peer's: one account may stand behind many peers. */
  secret: Uint8Array
  account: Uint8Array
  view: ChainView
  verify: Verify
  creditTokens?: number
}

export function createPayee({ secret, account, view, verify, creditTokens = creditTokensDefault }: PayeeOptions): Payee {
  return {
    chain: chainNumber(view.chain),
    account: hex(account),
    creditTokens,
    begin(bytes, { modelId, layers, chain, index }) {
      return sentence(() => {
        const opening = decodeOpeningTerms(bytes)
        const { terms } = opening
        const refuse = (message: string): LedgerError => new LedgerError('range', message)
        if (hex(terms.model) !== modelId) throw refuse('the terms are for another model')
        if (terms.hosts.length !== chain.length || terms.hosts.some((one, i) => one.from !== chain[i].from || one.to !== chain[i].to))
          throw refuse('the terms are for other hosts than the ring has')
        if (hex(terms.hosts[index].account) !== hex(account)) throw refuse('the terms pay this host into an account that is not its own')
        const model = view.model(modelId)
        if (!model) throw new LedgerError('missing', 'this host has not seen the model on the ledger')
        if (model.layers !== layers) throw refuse('the ledger knows the model with another number of layers')
        checkTerms(view.parameters, provenChannel(view, opening, verify), model, terms, view.nowMs())
        checkOwner(view.chain, opening, verify)
        const session: PaidSession = { chain: view.chain, owner: opening.owner, channel: opening.channel, session: opening.session, terms }
        return new Leg(session, index, model, view.parameters, secret, verify)
      })
    },
  }
}

/** The channel under a header that is new enough, in which the session has not begun. */
function provenChannel(view: ChainView, { owner, channel, session, evidence }: SessionOpening, verify: Verify) {
  const { chain, producers, head } = view
  const header = checkHeader({ chain, producers }, evidence.header, verify)
  const { height, timeMs } = header.header
  if (height < head.height && timeMs < head.timeMs - evidenceMsMax)
    throw new LedgerError('proof', `the channel is proven in block ${height}, too long before ${head.height}`)
  const found = checkRecord(header, keyOf.channel(owner, channel), evidence.channel, evidence.channelProof)
  const id = sessionIdOf(chain, owner, channel, session)
  checkRecord(header, keyOf.session(id), null, evidence.absence)
  return found
}

/** That whoever pays has said these terms: a voucher over nothing. */
function checkOwner(chain: Uint8Array, { owner, channel, session, terms, signature }: SessionOpening, verify: Verify): void {
  const bytes = voucherBytes(chain, { owner, channel, session, terms: termsHash(terms), amount: 0n, last: false, receipt: new Uint8Array(32) })
  if (!verify(owner, 'voucher', bytes, signature)) throw new LedgerError('signature', 'the terms are not signed by the owner of the channel')
}

class Leg implements EarningLeg {
  readonly session: string
  readonly owner: string
  readonly hosts: number
  private held: SignedVoucher | null = null
  private ends: readonly Uint8Array[] = []
  private readonly paid: PaidSession
  private readonly index: number
  private readonly model: ModelRecord
  private readonly fee: bigint
  private readonly secret: Uint8Array
  private readonly verify: Verify

  constructor(paid: PaidSession, index: number, model: ModelRecord, parameters: Parameters, secret: Uint8Array, verify: Verify) {
    this.paid = paid
    this.index = index
    this.model = model
    this.fee = priceOf(parameters, model, paid.terms.hosts.length, 0)
    this.secret = secret
    this.verify = verify
    this.session = hex(sessionIdOf(paid.chain, paid.owner, paid.channel, paid.session))
    this.owner = hex(paid.owner)
    this.hosts = paid.terms.hosts.length
  }

  accept(bytes: Uint8Array): { tokens: number; last: boolean } {
    return sentence(() => {
      this.held = acceptVoucher(this.paid, this.held, decodeVoucher(bytes), this.verify)
      const { amount, last } = this.held
      return { tokens: amount > this.fee ? Number((amount - this.fee) / this.model.price) : 0, last }
    })
  }

  record(): Uint8Array {
    return encodeKept({ session: this.paid, host: this.index, voucher: this.held!, ends: this.ends })
  }

  end(): Uint8Array | null {
    return this.held?.last ? endWith(this.secret, this.paid, this.held) : null
  }

  ended(ends: readonly Uint8Array[]): boolean {
    const { held, paid, verify } = this
    const { hosts } = paid.terms
    if (!held || ends.length !== hosts.length || !hosts.every(({ account }, i) => isEnd(paid, held, account, ends[i]!, verify))) return false
    this.ends = ends
    return true
  }

  sign(answer: ClaimedAnswer, records: Uint8Array): { claim: Uint8Array; signature: Uint8Array } {
    const id = fromHex(this.session)
    const isLast = this.index === this.paid.terms.hosts.length - 1
    const { root } = recordsOf(id, this.index, records, answer.prompt.length, isLast ? answer.tokens : null)
    const claim = encodeReceiptClaim(claimOf(id, this.index, answer, root))
    return { claim, signature: signReceiptClaim(this.secret, this.paid.chain, claim) }
  }
}

/** A refusal of the ledger's in the words of the mesh. */
function sentence<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof LedgerError) throw new PaymentError(error.message, error.code === 'stale')
    throw error
  }
}
