// What payments must not lose on this machine, one SQLite file: a requester's promises and the numbers it has used, a host's vouchers. Several processes may have it open;
// whatever returns is on the disk (WAL, synchronous=FULL: 0.2 ms on an SSD).
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { betterKept } from '../../ledger/session.ts'
import type { KeptVouchers } from '../../ledger/settling.ts'
import type { Promised, WalletStore } from '../../ledger/wallet.ts'
import type { Vault } from '../../mesh/shell.ts'
import { RelayError } from '../errors.ts'

/** Increases when the tables change. 2: `promises` has `ended`. */
const format = 2

const schema = `
  CREATE TABLE IF NOT EXISTS numbers (channel TEXT PRIMARY KEY, next INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS promises (channel TEXT NOT NULL, number INTEGER NOT NULL, most TEXT NOT NULL, amount TEXT NOT NULL, untilMs INTEGER NOT NULL, ended BLOB, PRIMARY KEY (channel, number)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS vouchers (leg TEXT PRIMARY KEY, record BLOB NOT NULL, dueMs INTEGER) WITHOUT ROWID;
`
/** Another process writes for milliseconds at most. */
const busyMsMax = 5000

export class PaymentStore implements WalletStore, Vault, KeptVouchers {
  private readonly database: DatabaseSync
  private readonly statements = new Map<string, StatementSync>()
  private readonly now: () => number
  /** Called when something became due. */
  onDue: () => void = () => {}

  /** Opens or makes `folder`/payments.sqlite. Throws RelayError when its format is another. */
  constructor(folder: string, now: () => number = () => Date.now()) {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    const path = join(folder, 'payments.sqlite')
    this.now = now
    this.database = new DatabaseSync(path)
    this.database.exec(`PRAGMA busy_timeout = ${busyMsMax}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;`)
    const { user_version: found } = this.database.prepare('PRAGMA user_version').get() as { user_version: number }
    if (found !== 0 && found !== 1 && found !== format) {
      this.database.close()
      throw new RelayError(`${path} has format ${found}, this program knows ${format}.`)
    }
    if (found === 1) this.database.exec('ALTER TABLE promises ADD COLUMN ended BLOB')
    this.database.exec(`${schema} PRAGMA user_version = ${format};`)
  }

  private sql(text: string): StatementSync {
    let found = this.statements.get(text)
    if (!found) {
      found = this.database.prepare(text)
      this.statements.set(text, found)
    }
    return found
  }

  // A requester's.

  async takeNumbers(channel: string, count: number, atLeast: number): Promise<number> {
    const row = this.sql(
      'INSERT INTO numbers (channel, next) VALUES (?1, MAX(0, ?3) + ?2) ON CONFLICT (channel) DO UPDATE SET next = MAX(next, ?3) + ?2 RETURNING next',
    ).get(channel, count, atLeast) as { next: number }
    return row.next - count
  }

  async promises(channel: string): Promise<Promised[]> {
    const rows = this.sql('SELECT number, most, amount, untilMs, ended FROM promises WHERE channel = ?').all(channel) as {
      number: number
      most: string
      amount: string
      untilMs: number
      ended: Uint8Array | null
    }[]
    return rows.map(({ number, most, amount, untilMs, ended }) => ({
      number,
      limit: BigInt(most),
      amount: BigInt(amount),
      untilMs,
      ...(ended ? { end: new Uint8Array(ended) } : {}),
    }))
  }

  promise(channel: string, { number, limit, amount, untilMs, end }: Promised): void {
    this.sql('INSERT OR REPLACE INTO promises (channel, number, most, amount, untilMs, ended) VALUES (?, ?, ?, ?, ?, ?)').run(
      channel,
      number,
      String(limit),
      String(amount),
      untilMs,
      end ?? null,
    )
  }

  forget(channel: string, number: number): void {
    this.sql('DELETE FROM promises WHERE channel = ? AND number = ?').run(channel, number)
  }

  // A host's.

  /** On the disk when it returns; the promise is the port's. Throws LedgerError: betterKept. */
  async keep(leg: string, record: Uint8Array): Promise<void> {
    const before = this.sql('SELECT record FROM vouchers WHERE leg = ?').get(leg) as { record: Uint8Array } | undefined
    const better = betterKept(before ? new Uint8Array(before.record) : null, record)
    this.sql('INSERT INTO vouchers (leg, record, dueMs) VALUES (?1, ?2, NULL) ON CONFLICT (leg) DO UPDATE SET record = ?2').run(leg, better)
  }

  settle(leg: string): void {
    this.sql('UPDATE vouchers SET dueMs = ? WHERE leg = ? AND dueMs IS NULL').run(this.now(), leg)
    this.onDue()
  }

  /** After a start: sessions that a crash cut off get no more vouchers. Only for the one process that hosts with this key. */
  settleAll(): void {
    this.sql('UPDATE vouchers SET dueMs = ? WHERE dueMs IS NULL').run(this.now())
  }

  /** What another process of this account left behind: due at once, unless something newer is here. */
  adopt(leg: string, record: Uint8Array): void {
    this.sql('INSERT OR IGNORE INTO vouchers (leg, record, dueMs) VALUES (?, ?, ?)').run(leg, record, this.now())
  }

  async due(): Promise<{ leg: string; record: Uint8Array; sinceMs: number }[]> {
    const rows = this.sql('SELECT leg, record, dueMs FROM vouchers WHERE dueMs IS NOT NULL ORDER BY dueMs').all() as {
      leg: string
      record: Uint8Array
      dueMs: number
    }[]
    return rows.map(({ leg, record, dueMs }) => ({ leg, record: new Uint8Array(record), sinceMs: dueMs }))
  }

  /** Everything that is kept, also of sessions under way. */
  all(): { leg: string; record: Uint8Array }[] {
    const rows = this.sql('SELECT leg, record FROM vouchers').all() as { leg: string; record: Uint8Array }[]
    return rows.map(({ leg, record }) => ({ leg, record: new Uint8Array(record) }))
  }

  async drop(leg: string): Promise<void> {
    this.sql('DELETE FROM vouchers WHERE leg = ?').run(leg)
  }

  close(): void {
    this.database.close()
  }
}
