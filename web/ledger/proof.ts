// What a tab believes of a relay: nothing that it did not check. Records come with a Merkle proof, transactions with their place in a block, headers with a signature; each
// check says what it looked at, so that a page can say it too. Pure: JSON of a stranger in, facts or NotProven out.
import { encodeHeader, headerHash, type SignedHeader } from '../../ledger/block.ts'
import type { Verify } from '../../ledger/context.ts'
import { decodeGenesis, type Genesis, genesisHash } from '../../ledger/genesis.ts'
import { checkHeader, checkRecord } from '../../ledger/light.ts'
import type { Key, RecordKind, RecordOf } from '../../ledger/records.ts'
import { decodeTransaction, type Transaction } from '../../ledger/transaction.ts'
import { equalBytes, fromHex, hex, join } from '../../protocol/hash.ts'
import { foldProof } from '../../protocol/model/merkle.ts'

/** What the relay showed does not hold. What it said must not be shown as true. */
export class NotProven extends Error {
  override name = 'NotProven'
}

/** Whom this tab believes: the chain that the genesis bytes name, ordered by the operator whom they name. */
export interface Trust {
  genesis: Genesis
  /** Genesis hash. */
  chain: Uint8Array
  chainName: string
}

export function trustOf(genesisBytes: Uint8Array): Trust {
  const genesis = decodeGenesis(genesisBytes)
  const chain = genesisHash(genesis)
  return { genesis, chain, chainName: hex(chain) }
}

/** What was checked, for people. */
export interface Evidence {
  what: 'record' | 'absent' | 'transaction' | 'block'
  /** Block whose signed header it was checked against. */
  height: number
  timeMs: number
  /** Of the header, hex. */
  blockHash: string
  /** Hashes beside the way from the fact to the root. */
  siblings: number
  /** Bytes of fact and proof. */
  bytes: number
  ms: number
}

export interface Proven<T> {
  key: string
  /** Null: proven that there is none. */
  record: T | null
  evidence: Evidence
}

export interface ProvenTransaction {
  id: string
  seq: number
  height: number
  timeMs: number
  transaction: Transaction
  /** Null while its block is being built: then only its sender's signature is checked. */
  evidence: Evidence | null
}

const fields = (json: unknown): Record<string, unknown> => (typeof json === 'object' && json !== null ? (json as Record<string, unknown>) : {})

function bytesOf(value: unknown, name: string): Uint8Array {
  if (typeof value !== 'string' || value.length % 2 !== 0 || !/^[0-9a-f]*$/.test(value)) throw new NotProven(`the relay’s answer has no ${name}`)
  return fromHex(value)
}

function numberOf(value: unknown, name: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw new NotProven(`the relay’s answer has no ${name}`)
  return value as number
}

/** A LedgerError of the checks below is a proof that does not hold. */
function proving<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof NotProven) throw error
    throw new NotProven(error instanceof Error ? error.message : 'the answer cannot be read')
  }
}

/** Headers checked already: a page shows many facts of one block, and a signature takes a millisecond. */
const headersMax = 512

export class Checker {
  readonly trust: Trust
  /** Newest header that held. */
  heightSeen = 0
  private readonly verify: Verify
  private readonly now: () => number
  private readonly headers = new Map<string, SignedHeader>()

  constructor(trust: Trust, verify: Verify, now: () => number = () => performance.now()) {
    this.trust = trust
    this.verify = verify
    this.now = now
  }

  /** A header that the operator signed. `heightMin`: what was seen before the question was asked; older ones are refused. Throws NotProven. */
  header(json: unknown, heightMin = 0): SignedHeader {
    if (json === null) throw new NotProven('the ledger has no block yet, so nothing is signed')
    const known = typeof json === 'string' ? this.headers.get(json) : undefined
    const checked =
      known ?? proving(() => checkHeader({ chain: this.trust.chain, producers: [this.trust.genesis.operator] }, bytesOf(json, 'header'), this.verify))
    if (checked.header.height < heightMin) throw new NotProven(`the header is of block ${checked.header.height}, but block ${heightMin} was seen before`)
    if (!known) {
      if (this.headers.size >= headersMax) this.headers.delete(this.headers.keys().next().value!)
      this.headers.set(json as string, checked)
    }
    this.heightSeen = Math.max(this.heightSeen, checked.header.height)
    return checked
  }

  /** An answer of /state/{key}: {value, proof, header}. Throws NotProven. */
  record<K extends RecordKind>(key: Key<K>, json: unknown, heightMin = 0): Proven<RecordOf<K>> {
    const began = this.now()
    const { value, proof, header } = fields(json)
    const signed = this.header(header, heightMin)
    return this.recordUnder(signed, key, value === null ? null : bytesOf(value, 'value'), bytesOf(proof, 'proof'), began)
  }

  private recordUnder<K extends RecordKind>(
    signed: SignedHeader,
    key: Key<K>,
    value: Uint8Array | null,
    proof: Uint8Array,
    began: number,
  ): Proven<RecordOf<K>> {
    const record = proving(() => checkRecord(signed, key, value, proof))
    const evidence = this.evidence(record === null ? 'absent' : 'record', signed, siblingsOf(proof), (value?.length ?? 0) + proof.length, began)
    return { key, record, evidence }
  }

  /** An answer of /proofs/{kind}. One proof that does not hold refuses all: such a relay is not to be believed in parts. Throws NotProven. */
  records<K extends RecordKind>(kind: K, json: unknown, heightMin = 0): { list: Proven<RecordOf<K>>[]; next: string | null } {
    const { header, records, next } = fields(json)
    if (!Array.isArray(records)) throw new NotProven('the relay’s answer has no records')
    if (records.length === 0) return { list: [], next: null }
    const signed = this.header(header, heightMin)
    const list = records.map((one) => {
      const began = this.now()
      const { key, value, proof } = fields(one)
      if (typeof key !== 'string' || !key.startsWith(`${kind}/`)) throw new NotProven('the relay’s answer has a record of another kind')
      return this.recordUnder(signed, key as Key<K>, bytesOf(value, 'value'), bytesOf(proof, 'proof'), began)
    })
    return { list, next: typeof next === 'string' ? next : null }
  }

  /** A transaction with its place: bytes decode, the sender signed them, and they stand in the block. `id`: the one that was asked for. Throws NotProven. */
  transaction(json: unknown, id?: string): ProvenTransaction {
    const began = this.now()
    const { seq, height, timeMs, bytes, index, path, header } = fields(json)
    const data = bytesOf(bytes, 'bytes')
    const transaction = proving(() => decodeTransaction(data))
    const name = hex(transaction.id)
    if (id !== undefined && name !== id) throw new NotProven('the relay answered with another transaction')
    if (!this.verify(transaction.from, 'transaction', join([this.trust.chain, transaction.unsigned]), transaction.signature))
      throw new NotProven('the transaction is not signed by its sender')
    const place = { id: name, seq: numberOf(seq, 'place in the log'), height: numberOf(height, 'height'), transaction }
    if (header === null || header === undefined) return { ...place, timeMs: numberOf(timeMs, 'time'), evidence: null }
    const signed = this.header(header)
    const proof = bytesOf(path, 'path')
    const top = foldProof(transaction.id, numberOf(index, 'index'), signed.header.transactions, proof)
    if (!top || !equalBytes(top, signed.header.transactionRoot) || signed.header.height !== place.height)
      throw new NotProven(`the transaction is not part of block ${place.height}`)
    return { ...place, timeMs: signed.header.timeMs, evidence: this.evidence('transaction', signed, proof.length / 32, data.length + proof.length, began) }
  }

  transactions(json: unknown): { list: ProvenTransaction[]; next: number | null } {
    const { transactions, next } = fields(json)
    if (!Array.isArray(transactions)) throw new NotProven('the relay’s answer has no transactions')
    return { list: transactions.map((one) => this.transaction(one)), next: typeof next === 'number' ? next : null }
  }

  /** A signed header as a fact of its own. Throws NotProven. */
  block(signed: unknown, height?: number): { block: SignedHeader; hash: string; evidence: Evidence } {
    const began = this.now()
    const block = this.header(signed)
    if (height !== undefined && block.header.height !== height) throw new NotProven('the relay answered with another block')
    const evidence = this.evidence('block', block, 0, encodeHeader(block.header).length + 64, began)
    return { block, hash: evidence.blockHash, evidence }
  }

  private evidence(what: Evidence['what'], signed: SignedHeader, siblings: number, bytes: number, began: number): Evidence {
    const { height, timeMs } = signed.header
    return { what, height, timeMs, blockHash: hex(headerHash(signed.header)), siblings, bytes, ms: this.now() - began }
  }
}

/** Bits set in a state proof's mask (ledger/tree.ts). */
function siblingsOf(proof: Uint8Array): number {
  const depth = proof[1] + proof[2] * 256
  let count = 0
  for (let i = 0; i < depth; i++) count += (proof[3 + (i >> 3)] >> (7 - (i & 7))) & 1
  return count
}
