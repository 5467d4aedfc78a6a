// Bytes of paid sessions beside those that the ledger itself sees: what an open carries, a voucher on its way, and what a host keeps until it is paid.
import { equalBytes } from '../protocol/hash.ts'
import { amount, bytesUpTo, decodeAs, encodeAs, flag, hash, integer, list, type Of, signature, struct, u8, u32 } from './codec.ts'
import { LedgerError } from './errors.ts'
import type { PaidSession, SignedVoucher } from './pay.ts'
import { sessionTerms, termsHash } from './transaction.ts'

/** Proofs under one header: of the channel, and that the ledger has not seen this session yet. */
export const evidence = struct({
  /** encodeSigned of block.ts. */
  header: bytesUpTo(1024),
  /** Record of the channel, and its proof. */
  channel: bytesUpTo(128),
  channelProof: bytesUpTo(3072),
  absence: bytesUpTo(3072),
})
export type Evidence = Of<typeof evidence>

const opening = struct({
  owner: hash,
  channel: u32,
  session: u32,
  terms: sessionTerms,
  /** A voucher over nothing: that these are the owner's terms. */
  signature,
  evidence,
})
/** The `terms` of an open of the mesh. */
export type SessionOpening = Of<typeof opening>
export const encodeOpeningTerms = (one: SessionOpening): Uint8Array => encodeAs(opening, one)
/** Throws LedgerError. */
export const decodeOpeningTerms = (data: Uint8Array): SessionOpening => decodeAs(opening, data, 'terms')

const voucher = struct({ amount, last: flag, receipt: hash, signature })
export const encodeVoucher = (one: SignedVoucher): Uint8Array => encodeAs(voucher, one)
/** Throws LedgerError. */
export const decodeVoucher = (data: Uint8Array): SignedVoucher => decodeAs(voucher, data, 'voucher')

const kept = {
  version: u8,
  /** Genesis hash. */
  chain: hash,
  owner: hash,
  channel: u32,
  session: u32,
  terms: sessionTerms,
  /** Index of the host that keeps it. */
  host: integer(0, 31),
  voucher,
} as const
const keptCodec = struct(kept)
/** Version 2: with every host's word that the session ends with that voucher, in ring order. */
const keptEnded = struct({ ...kept, ends: list(signature, 32) })

/** What is needed to be paid: a session, one's own place in it (of a requester: 0), the last voucher, and every host's word that it is the last one, or nothing. */
export interface KeptSession {
  session: PaidSession
  host: number
  voucher: SignedVoucher
  ends: readonly Uint8Array[]
}

export const encodeKept = ({ session, host, voucher: held, ends }: KeptSession): Uint8Array => {
  const { chain, owner, channel, session: number, terms } = session
  const fields = { chain, owner, channel, session: number, terms, host, voucher: held }
  return ends.length === 0 ? encodeAs(keptCodec, { version: 1, ...fields }) : encodeAs(keptEnded, { version: 2, ...fields, ends: [...ends] })
}

/**
 * What stays of two records of one session: the better voucher, and everybody's word once it is there. Throws LedgerError (stale) when a voucher would be the last one beside
 * another: an account never says two ends, not even after a crash or from two tabs.
 */
export function betterKept(before: Uint8Array | null, next: Uint8Array): Uint8Array {
  if (!before) return next
  const [had, got] = [decodeKept(before), decodeKept(next)]
  if (equalBytes(had.voucher.signature, got.voucher.signature)) return got.ends.length >= had.ends.length ? next : before
  const isLess = got.voucher.amount <= had.voucher.amount
  if (had.voucher.last || (isLess && got.voucher.last) || !equalBytes(termsHash(had.session.terms), termsHash(got.session.terms)))
    throw new LedgerError('stale', 'another voucher of this session is kept already')
  return isLess ? before : next
}

/** Throws LedgerError. */
export function decodeKept(data: Uint8Array): KeptSession {
  // The version stands behind the head of the list.
  const isEnded = data[1] === 2
  const { version, chain, owner, channel, session, terms, host, voucher: held, ...rest } = decodeAs(isEnded ? keptEnded : keptCodec, data, 'kept session')
  if (version !== (isEnded ? 2 : 1)) throw new LedgerError('encoding', `a kept session has version ${version}, this program knows 1 and 2`)
  return { session: { chain, owner, channel, session, terms }, host, voucher: held, ends: 'ends' in rest ? (rest.ends as Uint8Array[]) : [] }
}
