// What a tab or a command does with an answer of a relay: checks the header's signature, then the Merkle proof. A relay that makes things up is found out.
import { equalBytes } from '../protocol/hash.ts'
import { decodeSigned, type SignedHeader, verifyHeader } from './block.ts'
import type { Verify } from './context.ts'
import { LedgerError } from './errors.ts'
import { decodeRecord, type Key, type RecordKind, type RecordOf } from './records.ts'
import { verify as verifyProof } from './tree.ts'

/** Whom to believe: the chain by the hash of its genesis, and who may sign its headers (embedded mode: the operator named in genesis). */
export interface Trust {
  chain: Uint8Array
  producers: readonly Uint8Array[]
  /** Height seen before: an older header is refused. */
  heightMin?: number
}

/** A header that a producer of this chain signed. Throws LedgerError (proof). */
export function checkHeader(trust: Trust, signed: Uint8Array, verify: Verify): SignedHeader {
  const one = decodeSigned(signed)
  const refuse = (message: string): LedgerError => new LedgerError('proof', message)
  if (!trust.producers.some((producer) => equalBytes(producer, one.header.producer))) throw refuse('the header is by nobody who orders this chain')
  if (one.header.height < (trust.heightMin ?? 0)) throw refuse(`the header is of block ${one.header.height}, ${trust.heightMin} was seen before`)
  if (!verifyHeader(verify, trust.chain, one)) throw refuse('the header is not signed by its producer')
  return one
}

/** The record under `key` in a checked header, null when it is proven absent. Throws LedgerError (proof). */
export function checkRecord<K extends RecordKind>(header: SignedHeader, key: Key<K>, value: Uint8Array | null, proof: Uint8Array): RecordOf<K> | null {
  if (!verifyProof(header.header.stateRoot, key, value, proof)) throw new LedgerError('proof', `the proof of ${key} does not hold`)
  return value && decodeRecord(key, value)
}

/** One of several records that were checked together, by its key; null when it is proven absent. Throws LedgerError when it was not asked for. */
export function decodeRecordAt<K extends RecordKind>(
  proven: { entries: readonly { key: string; value: Uint8Array | null }[] },
  key: Key<K>,
): RecordOf<K> | null {
  const found = proven.entries.find((one) => one.key === key)
  if (!found) throw new LedgerError('missing', `${key} was not asked for`)
  return found.value && decodeRecord(key, found.value)
}
