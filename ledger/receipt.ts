// What a host signs to make its receipt of a session a claim that anyone can dispute: the question, the whole answer, and the roots of its own records. Off the
// ledger until somebody objects; then `dispute.open` brings it, with the host's signature, as its opening.
import { hashTagged, join } from '../protocol/hash.ts'
import { sign } from '../protocol/keys.ts'
import { bytes, bytesUpTo, decodeAs, encodeAs, hash, integer, list, type Of, signature, struct, u32 } from './codec.ts'
import { positionsMax, tokensMax } from './transaction.ts'

const receiptClaim = struct({
  /** names.ts sessionIdOf. */
  session: hash,
  /** Index of the host in the session's terms. */
  host: integer(0, 31),
  promptRoot: hash,
  promptCount: integer(1, positionsMax),
  sampler: bytes(64),
  seed: hash,
  maxTokens: integer(1, tokensMax),
  stopIds: list(u32, 16),
  m: integer(1, tokensMax),
  stop: integer(1, 3),
  outRoot: hash,
  /** Root of its list of boundary records (protocol/engine/proof/tokens.ts). */
  recordsRoot: hash,
})
export type ReceiptClaim = Of<typeof receiptClaim>

export const encodeReceiptClaim = (claim: ReceiptClaim): Uint8Array => encodeAs(receiptClaim, claim)
export const decodeReceiptClaim = (data: Uint8Array): ReceiptClaim => decodeAs(receiptClaim, data, 'receipt')

/** Signed under domain "receipt": genesis hash ‖ dag-cbor of the claim. */
export const receiptBytes = (chain: Uint8Array, claim: Uint8Array): Uint8Array => join([chain, claim])
export const signReceiptClaim = (secret: Uint8Array, chain: Uint8Array, claim: Uint8Array): Uint8Array => sign(secret, 'receipt', receiptBytes(chain, claim))

/** What a voucher's `receipt` commits to: H("receipts", the hosts' claims in ring order, each behind its hash). */
export const receiptsRoot = (claims: readonly Uint8Array[]): Uint8Array => hashTagged('receipts', ...claims.map((one) => hashTagged('receipt-claim', one)))

const opening = struct({ claim: bytesUpTo(1024), signature, move: bytesUpTo(60_000) })
/** `dispute.open` of a receipt: what the host signed, and the first move of the game. */
export const encodeOpening = (claim: Uint8Array, hostSignature: Uint8Array, move: Uint8Array): Uint8Array =>
  encodeAs(opening, { claim, signature: hostSignature, move })
export const decodeOpening = (data: Uint8Array): Of<typeof opening> => decodeAs(opening, data, 'opening')
