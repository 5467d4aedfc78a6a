// Bytes of paid sessions beside those that the ledger itself sees: what an open carries, a voucher on its way, and what a host keeps until it is paid.
import { amount, bytesUpTo, decodeAs, encodeAs, flag, hash, integer, type Of, signature, struct, u8, u32 } from './codec.ts'
import { LedgerError } from './errors.ts'
import type { PaidSession, SignedVoucher } from './pay.ts'
import { sessionTerms } from './transaction.ts'

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

const kept = struct({
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
})

/** What a host needs to be paid: a session, its own place in it, and the last voucher. */
export interface KeptSession {
  session: PaidSession
  host: number
  voucher: SignedVoucher
}

export const encodeKept = ({ session, host, voucher: held }: KeptSession): Uint8Array => {
  const { chain, owner, channel, session: number, terms } = session
  return encodeAs(kept, { version: 1, chain, owner, channel, session: number, terms, host, voucher: held })
}

/** Throws LedgerError. */
export function decodeKept(data: Uint8Array): KeptSession {
  const { version, chain, owner, channel, session, terms, host, voucher: held } = decodeAs(kept, data, 'kept session')
  if (version !== 1) throw new LedgerError('encoding', `a kept session has version ${version}, this program knows 1`)
  return { session: { chain, owner, channel, session, terms }, host, voucher: held }
}
