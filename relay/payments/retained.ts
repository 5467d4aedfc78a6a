// What a host keeps of each claim that it signed, to defend it with its own layers alone: the claim, question and answer, its records, and the rows that entered. One SQLite
// file beside its vouchers. Old ones go: a claim can be disputed for a day after its session has ended. Beyond the room it is given the oldest go first, which is safe only
// as long as somebody else defends the truth: their number is told.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { ClaimedAnswer, Retained } from '../../protocol/peer/payment.ts'
import { RelayError } from '../errors.ts'
import type { RetainedClaims } from '../watch/agent.ts'

/** Increases when the table changes. */
const format = 1
/** A session lasts seven days at most, its claim window one, a dispute about two and a half: ledger/README.md. */
const keepMs = 14 * 86_400_000
/** Default room: answers of 300 rows take 0.7 MB with 576 values a row (135M), 4.9 MB with 4,096 (8B). */
export const retainedBytesMax = 1 << 30
/** Another process writes for milliseconds at most. */
const busyMsMax = 5000

interface Row {
  claim: Uint8Array
  signature: Uint8Array
  about: string
  records: Uint8Array
  entering: Uint8Array | null
}

/** What is no bytes: JSON. */
type About = Pick<Retained, 'modelId' | 'from' | 'to'> & { answer: Omit<ClaimedAnswer, 'tokenKey'> & { tokenKey: string } }

export class RetainedStore implements RetainedClaims {
  private readonly database: DatabaseSync
  private readonly bytesMax: number
  private readonly now: () => number
  /** Claims that were let go before their time. */
  dropped = 0

  /** `folder`: that of the vouchers. Throws RelayError when its format is another. */
  constructor(folder: string, bytesMax = retainedBytesMax, now: () => number = () => Date.now()) {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    this.bytesMax = bytesMax
    this.now = now
    const path = join(folder, 'claims.sqlite')
    this.database = new DatabaseSync(path)
    // Not FULL: a claim is written between two answers. A power failure may cost the defence of the last ones, the end of this process none.
    this.database.exec(`PRAGMA busy_timeout = ${busyMsMax}; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;`)
    const { user_version: found } = this.database.prepare('PRAGMA user_version').get() as { user_version: number }
    if (found !== 0 && found !== format) {
      this.database.close()
      throw new RelayError(`${path} has format ${found}, this program knows ${format}.`)
    }
    this.database.exec(
      `CREATE TABLE IF NOT EXISTS claims (leg TEXT PRIMARY KEY, atMs INTEGER NOT NULL, bytes INTEGER NOT NULL, claim BLOB NOT NULL, signature BLOB NOT NULL,
        about TEXT NOT NULL, records BLOB NOT NULL, entering BLOB) WITHOUT ROWID;
      CREATE INDEX IF NOT EXISTS byAge ON claims (atMs, leg, bytes);
      PRAGMA user_version = ${format};`,
    )
  }

  /** Safe from the end of this process when it returns. */
  retain(leg: string, { claim, signature, modelId, from, to, answer, records, entering }: Retained): void {
    const { tokenKey, ...rest } = answer
    const about = JSON.stringify({ modelId, from, to, answer: { ...rest, tokenKey: Buffer.from(tokenKey).toString('hex') } })
    const rows = entering && new Uint8Array(entering.buffer, entering.byteOffset, entering.byteLength)
    const bytes = claim.length + about.length + records.length + (rows?.length ?? 0)
    this.trim(bytes)
    this.database
      .prepare('INSERT OR REPLACE INTO claims (leg, atMs, bytes, claim, signature, about, records, entering) VALUES (?, ?, ?, ?, ?, ?, ?, ?)')
      .run(leg, this.now(), bytes, claim, signature, about, records, rows)
  }

  /** Makes room for `bytes`. */
  private trim(bytes: number): void {
    this.database.prepare('DELETE FROM claims WHERE atMs < ?').run(this.now() - keepMs)
    let { sum } = this.database.prepare('SELECT COALESCE(SUM(bytes), 0) AS sum FROM claims').get() as { sum: number }
    if (sum + bytes <= this.bytesMax) return
    for (const { leg, bytes: freed } of this.database.prepare('SELECT leg, bytes FROM claims ORDER BY atMs').all() as { leg: string; bytes: number }[]) {
      if (sum + bytes <= this.bytesMax) break
      this.database.prepare('DELETE FROM claims WHERE leg = ?').run(leg)
      sum -= freed
      this.dropped++
    }
    this.database.exec('PRAGMA incremental_vacuum')
  }

  legs(): string[] {
    return (this.database.prepare('SELECT leg FROM claims ORDER BY atMs').all() as { leg: string }[]).map(({ leg }) => leg)
  }

  has(leg: string): boolean {
    return this.database.prepare('SELECT 1 FROM claims WHERE leg = ?').get(leg) !== undefined
  }

  get(leg: string): Retained | null {
    const row = this.database.prepare('SELECT claim, signature, about, records, entering FROM claims WHERE leg = ?').get(leg) as Row | undefined
    if (!row) return null
    const { answer, ...place } = JSON.parse(row.about) as About
    return {
      ...place,
      answer: { ...answer, tokenKey: new Uint8Array(Buffer.from(answer.tokenKey, 'hex')) },
      claim: new Uint8Array(row.claim),
      signature: new Uint8Array(row.signature),
      records: new Uint8Array(row.records),
      entering: row.entering && new Int32Array(new Uint8Array(row.entering).buffer),
    }
  }

  get count(): number {
    return (this.database.prepare('SELECT COUNT(*) AS count FROM claims').get() as { count: number }).count
  }

  close(): void {
    if (this.database.isOpen) this.database.close()
  }
}
