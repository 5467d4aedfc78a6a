// A block's header: what was ordered, when, and what the state became. Signed by its producer; tabs check headers and Merkle proofs against them.
import { equalBytes, hashTagged, join } from '../protocol/hash.ts'
import { publicKeyOf, sign } from '../protocol/keys.ts'
import { treeTop } from '../protocol/model/merkle.ts'
import { decodeAs, encodeAs, hash, type Of, struct, time, u8, u32 } from './codec.ts'
import type { Verify } from './context.ts'
import { LedgerError } from './errors.ts'

const headerCodec = struct({
  version: u8,
  chain: u32,
  height: time,
  timeMs: time,
  /** Hash of the header before; zeros for block 1. */
  previous: hash,
  /** Root of the state after this block. */
  stateRoot: hash,
  /** H over the ids of its transactions (transactionRoot). */
  transactionRoot: hash,
  transactions: u32,
  producer: hash,
})
export type Header = Of<typeof headerCodec>

export interface SignedHeader {
  header: Header
  signature: Uint8Array
}

export const encodeHeader = (header: Header): Uint8Array => encodeAs(headerCodec, header)
export const decodeHeader = (data: Uint8Array): Header => decodeAs(headerCodec, data, 'header')

/** H("block", dag-cbor of the header). */
export const headerHash = (header: Header): Uint8Array => hashTagged('block', encodeHeader(header))

/** Over all transaction ids in order: protocol/model/merkle.ts's tree; its count stands in the header. */
export const transactionRoot = (ids: readonly Uint8Array[]): Uint8Array => treeTop(ids)

/** Dag-cbor of the header ‖ 64 bytes: Ed25519 over H("header", genesis hash ‖ dag-cbor). */
export const encodeSigned = (one: SignedHeader): Uint8Array => join([encodeHeader(one.header), one.signature])

/** Throws LedgerError (encoding). The signature is checked by verifyHeader. */
export function decodeSigned(data: Uint8Array): SignedHeader {
  if (data.length < 65) throw new LedgerError('encoding', 'the header is too short')
  return { header: decodeHeader(data.subarray(0, data.length - 64)), signature: data.subarray(data.length - 64) }
}

export function signHeader(secret: Uint8Array, chain: Uint8Array, header: Header): SignedHeader {
  if (!equalBytes(publicKeyOf(secret), header.producer)) throw new Error('a header is signed by its producer')
  return { header, signature: sign(secret, 'header', join([chain, encodeHeader(header)])) }
}

export const verifyHeader = (verify: Verify, chain: Uint8Array, one: SignedHeader): boolean =>
  verify(one.header.producer, 'header', join([chain, encodeHeader(one.header)]), one.signature)

/** What the next block's beacon is made of: nobody but the producer can know its signature beforehand. */
export const entropyOf = (one: SignedHeader): Uint8Array => hashTagged('entropy', headerHash(one.header), one.signature)
