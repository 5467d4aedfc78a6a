// Payment as the machines see it: ports behind which a ledger stands. Terms, vouchers and claims are bytes here, and nothing in this folder knows a currency, a chain or
// how a signature is checked; whoever owns a peer gives it a Payer for a question, or a Payee for what it lends. Both answer at once: what takes time (proofs, numbers of
// sessions, disks) has been prepared, or is an action of the machine.
import { boolean, hexBytes, hexText, integer, list, MessageError, map, nullable, type Shape } from '../codec.ts'
import type { Stop } from '../engine/generate.ts'
import type { Sampler } from '../engine/sampler.ts'
import { fromHex, hashTagged } from '../hash.ts'
import { chainMax, claimBytesMax, contextMax, layersMax, recordBytes, termsBytesMax } from '../limits.ts'
import type { PeerKey } from './machine.ts'

/** Why terms, a voucher or a claim are not taken: one sentence. `stale`: nothing new, and nobody's fault. */
export class PaymentError extends Error {
  override name = 'PaymentError'
  readonly stale: boolean
  constructor(message: string, stale = false) {
    super(message)
    this.stale = stale
  }
}

/** What a host says of money in its presence: on which chain it is paid, into which account, and whether it serves who pays nothing. Null: it takes none and serves for free. */
export const payShape = nullable(
  map({
    /** First four bytes of the genesis hash, little-endian. */
    chain: integer(0, 2 ** 32 - 1),
    account: hexBytes(32),
    only: boolean,
  }),
)

export interface PayingHost {
  account: PeerKey
  from: number
  to: number
}

/** A host's word about the whole answer, as the ledger wants it, and its signature. */
export interface SignedClaim {
  claim: Uint8Array
  signature: Uint8Array
}

/** Question and answer, as claims name them. */
export interface ClaimedAnswer {
  sampler: Sampler
  seed: number
  maxTokens: number
  stopIds: readonly number[]
  prompt: readonly number[]
  tokens: readonly number[]
  stop: Stop
  /** 32 bytes that salt both token lists: known to requester and hosts only, see tokenKeyOf. */
  tokenKey: Uint8Array
}

/** All that a host needs to defend its claim with its own layers alone. */
export interface Retained extends SignedClaim {
  modelId: string
  from: number
  to: number
  answer: ClaimedAnswer
  /** As in EarningLeg.sign. */
  records: Uint8Array
  /** Rows that entered, end to end; null where tokens entered, or there was no room to keep them. */
  entering: Int32Array | null
}

/** One paid session of the ledger, at the requester: a ring of hosts from one token of the answer to another. Amounts are µ. */
export interface PayingLeg {
  /** The ledger's name of it, 64 hexadecimal digits. */
  readonly session: string
  /** For the open. */
  readonly terms: Uint8Array
  readonly limit: number
  /** Tokens that the limit pays for. */
  readonly tokensMax: number
  /** A voucher for the first `tokens` tokens of the leg; amounts never go down. `claims` with the last one of a whole answer: what hosts signed, null for those that did not. */
  pay(tokens: number, last: boolean, claims: readonly (SignedClaim | null)[] | null): { voucher: Uint8Array; amount: number }
  /** Whether what host number `host` signed is about this very answer. */
  isClaim(host: number, signed: SignedClaim, answer: ClaimedAnswer): boolean
  /** Whether host number `host` has signed that the session ends with the last voucher. */
  isEnd(host: number, end: Uint8Array): boolean
  /** All have, in ring order: who settles takes it along, and what was not used returns at once. */
  ended(ends: readonly Uint8Array[]): void
  /** Nothing was paid and nothing will be: what was set aside is free again. */
  abandon(): void
  /** For the receipt; whoever calls it adds tokenKey and records. */
  summary(): PaidLeg
}

/** What a ledger knows of an account that hosts. */
export interface Standing {
  /** 0 to 10,000: work that became final, audits, age, stake. */
  score: number
  /** Its claims that fell in disputes. */
  lost: number
}

/** Pays for one question. */
export interface Payer {
  readonly chain: number
  readonly account: PeerKey
  /** µ that the whole question may cost. */
  readonly limit: number
  /** Null: the ledger knows nothing of the account, or was not asked. */
  standing(account: PeerKey): Standing | null
  /** Throws PaymentError when there is nothing left to promise. */
  begin(ring: { modelId: string; hosts: readonly PayingHost[]; tokens: number }): PayingLeg
}

/** The same session at a host. */
export interface EarningLeg {
  readonly session: string
  /** The account that pays. */
  readonly owner: PeerKey
  /** How many are paid in it. */
  readonly hosts: number
  /** Takes a voucher: how many tokens of the leg are paid now. Throws PaymentError. */
  accept(voucher: Uint8Array): { tokens: number; last: boolean }
  /** All that is needed to be paid after a crash: to be kept before a voucher counts. */
  record(): Uint8Array
  /** Its word that the session ends with the last voucher; null before that has come. No voucher is taken after it. */
  end(): Uint8Array | null
  /** Every host's word, in ring order: part of the record from now on. False when one of them is not. */
  ended(ends: readonly Uint8Array[]): boolean
  /** `records`: inRoot ‖ outRoot of each row, zeros where the host has no such edge. */
  sign(answer: ClaimedAnswer, records: Uint8Array): SignedClaim
}

export interface Payee {
  readonly chain: number
  readonly account: PeerKey
  /** Tokens that are computed ahead of the last voucher, at most. */
  readonly creditTokens: number
  /** Checks the terms of an open. Throws PaymentError saying what is missing. */
  begin(terms: Uint8Array, place: { modelId: string; layers: number; chain: readonly { from: number; to: number }[]; index: number }): EarningLeg
}

/** A paid session in a receipt: JSON as it is. Bytes are hexadecimal digits. */
export interface PaidLeg {
  /** Genesis hash. */
  chain: string
  owner: PeerKey
  channel: number
  number: number
  /** The ledger's name of the session. */
  session: string
  /** dag-cbor of the session's terms. */
  terms: string
  tokens: number
  /** µ of the last voucher, of the limit. */
  amount: number
  limit: number
  last: boolean
  /** Root over the claims, zeros when there are none. */
  receipt: string
  tokenKey: string
  /** In ring order; `claim` is empty when that host did not sign. `records` as in EarningLeg.sign. */
  claims: { account: PeerKey; from: number; to: number; claim: string; signature: string; records: string }[]
}

/** Digits of up to `bytesMax` bytes, in JSON. */
const hexUpTo = (bytesMax: number): Shape<string> => ({
  read(value, name) {
    if (typeof value !== 'string' || value.length > bytesMax * 2 || !/^([0-9a-f]{2})*$/.test(value))
      throw new MessageError(`${name} is not at most ${bytesMax} bytes in digits`)
    return value
  },
  write: (value) => value,
})

const count = integer(0, 2 ** 32 - 1)
const microCredits = integer(0, Number.MAX_SAFE_INTEGER)
const layer = integer(0, layersMax)

/** A receipt's payments: what a file may say. One for every ring that an answer may have had. */
export const paidLegsShape: Shape<PaidLeg[]> = list(
  map({
    chain: hexText(32),
    owner: hexText(32),
    channel: count,
    number: count,
    session: hexText(32),
    terms: hexUpTo(termsBytesMax),
    tokens: integer(0, contextMax),
    amount: microCredits,
    limit: microCredits,
    last: boolean,
    receipt: hexText(32),
    tokenKey: hexText(32),
    claims: list(
      map({
        account: hexText(32),
        from: layer,
        to: layer,
        claim: hexUpTo(claimBytesMax),
        signature: hexUpTo(64),
        records: hexUpTo(contextMax * recordBytes),
      }),
      chainMax,
    ),
  }),
  300,
)

/** H("token-key", session, requester): the name of a session is 16 random bytes that only its ring knows, so nobody else can guess a token behind its salted hash. */
export const tokenKeyOf = (session: string, requester: PeerKey): Uint8Array => hashTagged('token-key', fromHex(session), fromHex(requester))
