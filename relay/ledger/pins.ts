// What stands behind the roots on the chain: tokens of open jobs and claims, receipts of sessions, boundary records of both, and the rows of segment jobs. Everything is checked against its root or
// its signature before it is kept, so that whoever watches gets the true bytes or none. Refuses what no record of the chain asks for: a fee was paid for each.
import { mkdirSync } from 'node:fs'
import { join as joinPath } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { recordsRootOfClaim } from '../../ledger/dispute-play.ts'
import { LedgerError } from '../../ledger/errors.ts'
import { decodeReceiptClaim, type ReceiptClaim, receiptBytes } from '../../ledger/receipt.ts'
import { type Claim, type Job, keyOf } from '../../ledger/records.ts'
import { positionsMax, privacyClasses } from '../../ledger/transaction.ts'
import { boundaryRecordBytes, TokenList } from '../../protocol/engine/proof/tokens.ts'
import { equalBytes, fromHex, hex, join, u32s } from '../../protocol/hash.ts'
import { verify } from '../../protocol/keys.ts'
import { decodeCore } from '../../protocol/model/identity.ts'
import type { LedgerNode } from './node.ts'
import { areRowsOf, decodeRows, inputRecords, recordsRootOf, rootsOfRows } from './rows.ts'

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

  /** `tokens/<root>`, `records/<root>`, `rows/<root>` or `receipts/<session>/<host>`; null when there is none. */
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
    const { job, claim } = this.subjectOf(node, context)
    if (kind === 0) return { root: job.promptRoot, count: job.promptCount }
    if (!claim) throw refuse('missing', 'an answer belongs to a claim')
    return { root: claim.outRoot, count: claim.m }
  }

  /** An open job, and the claim of it that is meant. */
  private subjectOf(node: LedgerNode, context: { claim: string } | { job: string }): { claim: Claim | null; job: Job } {
    return 'claim' in context ? this.claimed(node, context.claim) : { job: this.jobOf(node, context.job), claim: null }
  }

  private claimed(node: LedgerNode, id: string): { claim: Claim; job: Job } {
    const claim = node.get(keyOf.claim(fromHex(id)))
    if (!claim) throw refuse('missing', 'there is no such claim')
    return { claim, job: this.jobOf(node, hex(claim.job)) }
  }

  private jobOf(node: LedgerNode, id: string): Job {
    const job = node.get(keyOf.job(fromHex(id)))
    if (!job) throw refuse('missing', 'there is no such job')
    if (job.privacy !== privacyClasses.open) throw refuse('role', 'the tokens of this job are not open')
    return job
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

  /** Records of a receipt, or of a segment job's claim. Throws LedgerError. */
  putRecords(node: LedgerNode, root: string, bytes: Uint8Array, context: PinContext): void {
    let wanted: Uint8Array | null = null
    if ('receipt' in context) wanted = this.receipt(context.receipt).said.recordsRoot
    else if ('claim' in context) {
      const { claim, job } = this.claimed(node, context.claim)
      wanted = job.segment && recordsRootOfClaim(claim, job.segment.to, node.get(keyOf.model(job.model))!.layers)
    }
    if (!wanted) throw refuse('missing', 'records belong to a receipt, or to the claim of a segment job')
    if (hex(wanted) !== root) throw refuse('missing', 'nothing on the chain has this root')
    if (hex(recordsRootOf(bytes)) !== root) throw refuse('proof', 'these are not the records of the root')
    this.put(`records/${root}`, bytes)
  }

  /** Rows that enter a segment job, by its boundary; or that leave it, by the root of its claim's records, which are pinned before. Throws LedgerError. */
  putRows(node: LedgerNode, root: string, bytes: Uint8Array, context: PinContext): void {
    if ('receipt' in context) throw refuse('missing', 'rows belong to a segment job')
    const { job, claim } = this.subjectOf(node, context)
    if (!job.segment) throw refuse('missing', 'the job is about a whole answer')
    const model = node.get(keyOf.model(job.model))!
    const rows = decodeRows(bytes, decodeCore(model.core).hidden)
    if (claim) {
      const records = this.get(`records/${root}`)
      if (hex(recordsRootOfClaim(claim, job.segment.to, model.layers)) !== root || !records) throw refuse('missing', 'the records of this claim are not pinned')
      if (!areRowsOf(rows, records, 'outRoot')) throw refuse('proof', 'these are not the rows of the records')
    } else {
      if (hex(job.segment.boundary) !== root) throw refuse('missing', 'nothing on the chain has this root')
      if (rows.length !== job.promptCount || hex(recordsRootOf(inputRecords(rootsOfRows(rows)))) !== root)
        throw refuse('proof', 'these are not the rows of the root')
    }
    this.put(`rows/${root}`, bytes)
  }

  close(): void {
    if (this.database.isOpen) this.database.close()
  }
}
