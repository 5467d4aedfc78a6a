// What stands behind the roots on the chain: tokens of open jobs and claims, receipts of sessions and their boundary records. Everything is checked against its root or
// its signature before it is kept, so that whoever watches gets the true bytes or none. Refuses what no record of the chain asks for: a fee was paid for each.
import { mkdirSync } from 'node:fs'
import { join as joinPath } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { LedgerError } from '../../ledger/errors.ts'
import { decodeReceiptClaim, type ReceiptClaim, receiptBytes } from '../../ledger/receipt.ts'
import { keyOf } from '../../ledger/records.ts'
import { positionsMax, privacyClasses } from '../../ledger/transaction.ts'
import { boundaryRecordBytes, boundaryRecordHash, recordListRoot, TokenList } from '../../protocol/engine/proof/tokens.ts'
import { Tree } from '../../protocol/engine/proof/tree.ts'
import { equalBytes, fromHex, hex, join, u32s } from '../../protocol/hash.ts'
import { verify } from '../../protocol/keys.ts'
import type { LedgerNode } from './node.ts'

/** tokenKey, kind, and as many tokens as an answer and its prompt may have. */
export const pinBytesMax = Math.max(33 + 4 * positionsMax, positionsMax * boundaryRecordBytes)
/** Receipts may be accused as long as stake unbonds: 14 days (ledger/README.md). */
const keepMs = 14 * 86_400_000

export interface PinnedTokens {
  tokenKey: Uint8Array
  /** 0 prompt, 1 answer. */
  kind: 0 | 1
  tokens: number[]
}

export const encodeTokens = ({ tokenKey, kind, tokens }: PinnedTokens): Uint8Array => join([tokenKey, Uint8Array.of(kind), u32s(tokens)])

/** Throws LedgerError. */
export function decodeTokens(bytes: Uint8Array): PinnedTokens {
  if (bytes.length < 37 || (bytes.length - 33) % 4 !== 0 || bytes[32] > 1) throw new LedgerError('encoding', 'these bytes are no list of tokens')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const tokens = Array.from({ length: (bytes.length - 33) / 4 }, (_, i) => view.getUint32(33 + i * 4, true))
  return { tokenKey: bytes.slice(0, 32), kind: bytes[32] as 0 | 1, tokens }
}

/** A receipt as it is pinned: what the host signed, behind its signature. Throws LedgerError. */
export function decodeReceiptPin(bytes: Uint8Array): { signature: Uint8Array; claim: Uint8Array; said: ReceiptClaim } {
  if (bytes.length < 65) throw new LedgerError('encoding', 'these bytes are no receipt')
  const claim = bytes.slice(64)
  return { signature: bytes.slice(0, 64), claim, said: decodeReceiptClaim(claim) }
}

/** Root of boundary records end to end. Throws LedgerError. */
export function recordsRootOf(bytes: Uint8Array): Uint8Array {
  if (bytes.length === 0 || bytes.length % boundaryRecordBytes !== 0) throw new LedgerError('encoding', `records have ${boundaryRecordBytes} bytes each`)
  const count = bytes.length / boundaryRecordBytes
  const leaves = Array.from({ length: count }, (_, i) => boundaryRecordHash(bytes.subarray(i * boundaryRecordBytes, (i + 1) * boundaryRecordBytes)))
  return recordListRoot(count, new Tree(leaves).top)
}

/** What a pin belongs to: a job's prompt, a claim's answer, or the receipt of one host of a session. */
export type PinContext = { job: string } | { claim: string } | { receipt: string }

const refuse = (code: 'missing' | 'proof' | 'role' | 'signature', message: string): LedgerError => new LedgerError(code, message)

export class Pins {
  private readonly database: DatabaseSync
  private readonly now: () => number

  /** `folder`: that of the ledger, or ':memory:'. */
  constructor(folder: string, now: () => number = () => Date.now()) {
    this.now = now
    if (folder !== ':memory:') mkdirSync(folder, { recursive: true })
    this.database = new DatabaseSync(folder === ':memory:' ? folder : joinPath(folder, 'pins.sqlite'))
    this.database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;')
    this.database.exec('CREATE TABLE IF NOT EXISTS pins (name TEXT PRIMARY KEY, bytes BLOB NOT NULL, atMs INTEGER NOT NULL) WITHOUT ROWID')
    this.database.prepare('DELETE FROM pins WHERE atMs < ?').run(now() - keepMs)
  }

  /** `tokens/<root>`, `records/<root>` or `receipts/<session>/<host>`; null when there is none. */
  get(name: string): Uint8Array | null {
    const row = this.database.prepare('SELECT bytes FROM pins WHERE name = ?').get(name) as { bytes: Uint8Array } | undefined
    return row ? new Uint8Array(row.bytes) : null
  }

  private put(name: string, bytes: Uint8Array): void {
    this.database.prepare('INSERT OR REPLACE INTO pins VALUES (?, ?, ?)').run(name, bytes, this.now())
  }

  /** Throws LedgerError. */
  putTokens(node: LedgerNode, root: string, bytes: Uint8Array, context: PinContext): void {
    const { kind, tokens, tokenKey } = decodeTokens(bytes)
    const wanted = this.rootOf(node, kind, context)
    if (hex(wanted.root) !== root) throw refuse('missing', 'nothing on the chain has this root')
    if (wanted.count !== tokens.length || !equalBytes(new TokenList(tokens, tokenKey, kind).root, wanted.root))
      throw refuse('proof', 'these are not the tokens of the root')
    this.put(`tokens/${root}`, bytes)
  }

  private rootOf(node: LedgerNode, kind: 0 | 1, context: PinContext): { root: Uint8Array; count: number } {
    if ('receipt' in context) {
      const { said } = this.receipt(context.receipt)
      return kind === 0 ? { root: said.promptRoot, count: said.promptCount } : { root: said.outRoot, count: said.m }
    }
    const claim = 'claim' in context ? node.get(keyOf.claim(fromHex(context.claim))) : undefined
    if ('claim' in context && !claim) throw refuse('missing', 'there is no such claim')
    const job = node.get(keyOf.job(claim ? claim.job : fromHex((context as { job: string }).job)))
    if (!job) throw refuse('missing', 'there is no such job')
    if (job.privacy !== privacyClasses.open) throw refuse('role', 'the tokens of this job are not open')
    if (kind === 0) return { root: job.promptRoot, count: job.promptCount }
    if (!claim) throw refuse('missing', 'an answer belongs to a claim')
    return { root: claim.outRoot, count: claim.m }
  }

  private receipt(name: string): ReturnType<typeof decodeReceiptPin> {
    const bytes = this.get(`receipts/${name}`)
    if (!bytes) throw refuse('missing', 'there is no such receipt')
    return decodeReceiptPin(bytes)
  }

  /** Throws LedgerError. */
  putReceipt(node: LedgerNode, session: string, host: number, bytes: Uint8Array): void {
    const { claim, said, signature } = decodeReceiptPin(bytes)
    const record = node.get(keyOf.session(fromHex(session)))
    const signer = record?.hosts[host]
    if (!signer) throw refuse('missing', 'the chain knows no such session or host')
    if (hex(said.session) !== session || said.host !== host) throw refuse('proof', 'the receipt is of another session or host')
    if (!verify(signer.account, 'receipt', receiptBytes(node.name, claim), signature)) throw refuse('signature', 'the receipt is not signed by the host')
    this.put(`receipts/${session}/${host}`, bytes)
  }

  /** Throws LedgerError. */
  putRecords(root: string, bytes: Uint8Array, context: PinContext): void {
    if (!('receipt' in context)) throw refuse('missing', 'records belong to a receipt')
    if (hex(this.receipt(context.receipt).said.recordsRoot) !== root) throw refuse('missing', 'the receipt has another root')
    if (hex(recordsRootOf(bytes)) !== root) throw refuse('proof', 'these are not the records of the root')
    this.put(`records/${root}`, bytes)
  }

  close(): void {
    if (this.database.isOpen) this.database.close()
  }
}
