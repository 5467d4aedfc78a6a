// The ledger on disk: an append-only log of transactions, signed headers, the state as of the last block, and an index of what happened to whom; one SQLite file.
// WAL with synchronous=FULL: when append() returns the transactions are on the disk. Pending blocks are rebuilt from the log.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import type { LedgerEvent } from '../../ledger/context.ts'
import { RelayError } from '../errors.ts'

/** Increases when the tables change. */
const format = 1

export interface StoredBlock {
  height: number
  timeMs: number
  /** encodeSigned; null while the block is being built. */
  header: Uint8Array | null
}

export interface LogEntry {
  /** Place in the log, from 1. */
  seq: number
  height: number
  bytes: Uint8Array
}

/** Which transaction of the log is about what (ledger/subjects.ts). */
export interface About {
  id: Uint8Array
  seq: number
}

export interface StoredEvent {
  seq: number
  height: number
  timeMs: number
  type: string
  account: Uint8Array
  amount: bigint
  subject: Uint8Array | null
}

const schema = `
  CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS blocks (height INTEGER PRIMARY KEY, timeMs INTEGER NOT NULL, header BLOB);
  CREATE TABLE IF NOT EXISTS log (seq INTEGER PRIMARY KEY, height INTEGER NOT NULL, id BLOB NOT NULL, bytes BLOB NOT NULL);
  CREATE INDEX IF NOT EXISTS logById ON log (id);
  CREATE INDEX IF NOT EXISTS logByHeight ON log (height);
  CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, height INTEGER NOT NULL, timeMs INTEGER NOT NULL, type TEXT NOT NULL, account BLOB NOT NULL, amount TEXT NOT NULL, subject BLOB);
  CREATE INDEX IF NOT EXISTS eventsByAccount ON events (account, seq);
  CREATE TABLE IF NOT EXISTS about (id BLOB NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (id, seq)) WITHOUT ROWID;
`

type Row = Record<string, unknown>

/** One process at a time: SQLite's exclusive lock refuses a second one. */
export class LedgerStore {
  readonly database: DatabaseSync
  private readonly statements: Record<string, StatementSync> = {}

  /** Opens or makes `folder`/ledger.sqlite; ':memory:' for none. Throws RelayError when another process has it or its format is another. */
  constructor(folder: string) {
    if (folder !== ':memory:') mkdirSync(folder, { recursive: true, mode: 0o700 })
    const path = folder === ':memory:' ? folder : join(folder, 'ledger.sqlite')
    this.database = new DatabaseSync(path)
    try {
      this.database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;')
      // With a large cache commits rarely wait for a checkpoint in their midst.
      this.database.exec('PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 4000;')
      this.database.exec(schema)
    } catch (error) {
      this.database.close()
      throw new RelayError(`The ledger ${path} cannot be opened; is another relay using it?`, { cause: error })
    }
    const known = this.meta('format')
    if (!known) this.setMeta('format', Uint8Array.of(format))
    else if (known[0] !== format) throw new RelayError(`The ledger ${path} has format ${known[0]}, this program knows ${format}.`)
  }

  private sql(text: string): StatementSync {
    this.statements[text] ??= this.database.prepare(text)
    return this.statements[text]
  }

  /** All or nothing, and on the disk when it returns. */
  private atomically(work: () => void): void {
    this.database.exec('BEGIN IMMEDIATE')
    try {
      work()
      this.database.exec('COMMIT')
    } catch (error) {
      if (this.database.isTransaction) this.database.exec('ROLLBACK')
      throw error
    }
  }

  meta(name: string): Uint8Array | null {
    const row = this.sql('SELECT value FROM meta WHERE name = ?').get(name) as Row | undefined
    return (row?.value as Uint8Array) ?? null
  }
  setMeta(name: string, value: Uint8Array): void {
    this.sql('INSERT OR REPLACE INTO meta VALUES (?, ?)').run(name, value)
  }

  /** The first state of a chain, and its genesis. */
  begin(genesis: Uint8Array, state: Iterable<[string, Uint8Array]>): void {
    this.atomically(() => {
      this.setMeta('genesis', genesis)
      for (const [key, value] of state) this.sql('INSERT INTO state VALUES (?, ?)').run(key, value)
    })
  }

  /** Makes accepted transactions durable, with the block they open when it is new. Group commit: one fsync for all of them. */
  append(opens: { height: number; timeMs: number } | null, entries: readonly { seq: number; height: number; id: Uint8Array; bytes: Uint8Array }[]): void {
    this.atomically(() => {
      if (opens) this.sql('INSERT INTO blocks VALUES (?, ?, NULL)').run(opens.height, opens.timeMs)
      const insert = this.sql('INSERT INTO log VALUES (?, ?, ?, ?)')
      for (const one of entries) insert.run(one.seq, one.height, one.id, one.bytes)
    })
  }

  /** A finished block: header, state and events together, so that after a crash either the block is there or its transactions are replayed. */
  seal(
    height: number,
    timeMs: number,
    header: Uint8Array,
    changed: readonly [string, Uint8Array | null][],
    events: readonly LedgerEvent[],
    about: readonly About[],
  ): void {
    this.atomically(() => {
      this.insertAbout(about)
      this.sql('INSERT INTO blocks VALUES (?, ?, ?) ON CONFLICT (height) DO UPDATE SET header = excluded.header').run(height, timeMs, header)
      const put = this.sql('INSERT OR REPLACE INTO state VALUES (?, ?)')
      const drop = this.sql('DELETE FROM state WHERE key = ?')
      for (const [key, value] of changed) {
        if (value) put.run(key, value)
        else drop.run(key)
      }
      const note = this.sql('INSERT INTO events (height, timeMs, type, account, amount, subject) VALUES (?, ?, ?, ?, ?, ?)')
      for (const { type, account, amount, subject } of events) note.run(height, timeMs, type, account, String(amount), subject)
    })
  }

  private insertAbout(about: readonly About[]): void {
    const insert = this.sql('INSERT OR IGNORE INTO about VALUES (?, ?)')
    for (const { id, seq } of about) insert.run(id, seq)
  }

  /** Fills the index of a ledger that was written before there was one. `aboutOf` names what a transaction is about. */
  indexOnce(aboutOf: (bytes: Uint8Array) => readonly Uint8Array[]): void {
    if (this.meta('about')) return
    this.atomically(() => {
      const entries = this.sql('SELECT seq, bytes FROM log JOIN blocks USING (height) WHERE header IS NOT NULL').iterate() as Iterable<Row>
      for (const { seq, bytes } of entries) this.insertAbout(aboutOf(bytes as Uint8Array).map((id) => ({ id, seq: seq as number })))
      this.setMeta('about', Uint8Array.of(1))
    })
  }

  *state(): Iterable<[string, Uint8Array]> {
    for (const row of this.sql('SELECT key, value FROM state').iterate() as Iterable<Row>) yield [row.key as string, row.value as Uint8Array]
  }

  block(height: number): StoredBlock | null {
    return toBlock(this.sql('SELECT * FROM blocks WHERE height = ?').get(height) as Row | undefined)
  }
  /** The highest block, finished or not. */
  lastBlock(): StoredBlock | null {
    return toBlock(this.sql('SELECT * FROM blocks ORDER BY height DESC LIMIT 1').get() as Row | undefined)
  }
  /** Newest first, below `before` and not below `from`. */
  blocks(before: number, limit: number, from = 0): StoredBlock[] {
    const text = 'SELECT * FROM blocks WHERE height < ? AND height >= ? AND header IS NOT NULL ORDER BY height DESC LIMIT ?'
    const rows = this.sql(text).all(before, from, limit) as Row[]
    return rows.map((row) => toBlock(row)!)
  }

  transactionsOf(height: number): LogEntry[] {
    return (this.sql('SELECT seq, height, bytes FROM log WHERE height = ? ORDER BY seq').all(height) as Row[]).map(toEntry)
  }
  transaction(id: Uint8Array): LogEntry | null {
    const row = this.sql('SELECT seq, height, bytes FROM log WHERE id = ? LIMIT 1').get(id) as Row | undefined
    return row ? toEntry(row) : null
  }
  /** Ids of a block's transactions in order. */
  idsOf(height: number): Uint8Array[] {
    return (this.sql('SELECT id FROM log WHERE height = ? ORDER BY seq').all(height) as Row[]).map((row) => row.id as Uint8Array)
  }
  /** Newest first, below `before`. */
  transactions(before: number, limit: number): LogEntry[] {
    return (this.sql('SELECT seq, height, bytes FROM log WHERE seq < ? ORDER BY seq DESC LIMIT ?').all(before, limit) as Row[]).map(toEntry)
  }
  /** Those about one thing, of finished blocks; newest first, below `before`. */
  transactionsAbout(id: Uint8Array, before: number, limit: number): LogEntry[] {
    const rows = this.sql('SELECT seq, height, bytes FROM about JOIN log USING (seq) WHERE about.id = ? AND seq < ? ORDER BY seq DESC LIMIT ?')
    return (rows.all(id, before, limit) as Row[]).map(toEntry)
  }
  /** The same, oldest first, above `after`. */
  transactionsSince(id: Uint8Array, after: number, limit: number): LogEntry[] {
    const rows = this.sql('SELECT seq, height, bytes FROM about JOIN log USING (seq) WHERE about.id = ? AND seq > ? ORDER BY seq LIMIT ?')
    return (rows.all(id, after, limit) as Row[]).map(toEntry)
  }
  /** Ids of transactions that begin with these bytes. */
  idsLike(prefix: Uint8Array, limit: number): Uint8Array[] {
    const end = new Uint8Array(33).fill(255)
    end.set(prefix)
    return (this.sql('SELECT id FROM log WHERE id >= ? AND id <= ? LIMIT ?').all(prefix, end, limit) as Row[]).map((row) => row.id as Uint8Array)
  }
  /** Keys of the state as of the last block that begin with `prefix`, above `after`, in order. */
  keysLike(prefix: string, after: string, limit: number): string[] {
    const rows = this.sql('SELECT key FROM state WHERE key > ? AND key >= ? AND key < ? ORDER BY key LIMIT ?').all(after, prefix, `${prefix}~`, limit)
    return (rows as Row[]).map((row) => row.key as string)
  }
  lastSeq(): number {
    return ((this.sql('SELECT max(seq) AS last FROM log').get() as Row).last as number | null) ?? 0
  }

  /** Newest first, below `before`. */
  eventsOf(account: Uint8Array, before: number, limit: number): StoredEvent[] {
    const rows = this.sql('SELECT * FROM events WHERE account = ? AND seq < ? ORDER BY seq DESC LIMIT ?').all(account, before, limit) as Row[]
    return rows.map(toEvent)
  }
  events(before: number, limit: number): StoredEvent[] {
    return (this.sql('SELECT * FROM events WHERE seq < ? ORDER BY seq DESC LIMIT ?').all(before, limit) as Row[]).map(toEvent)
  }

  close(): void {
    this.database.close()
  }
}

const toBlock = (row: Row | undefined): StoredBlock | null =>
  row ? { height: row.height as number, timeMs: row.timeMs as number, header: (row.header as Uint8Array | null) ?? null } : null
const toEntry = (row: Row): LogEntry => ({ seq: row.seq as number, height: row.height as number, bytes: row.bytes as Uint8Array })
const toEvent = (row: Row): StoredEvent => ({
  seq: row.seq as number,
  height: row.height as number,
  timeMs: row.timeMs as number,
  type: row.type as string,
  account: row.account as Uint8Array,
  amount: BigInt(row.amount as string),
  subject: (row.subject as Uint8Array | null) ?? null,
})
