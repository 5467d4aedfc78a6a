// What an agent must not forget, on the disk before it acts: answers it has committed to, reports of audits, what its checks found. One file an account and chain under
// $MEADOW_HOME/watch. Nonces and salts are not here: they follow from the account's key (secrets.ts), so not even a lost disk can lose a stake.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { RelayError } from '../errors.ts'

export class Journal {
  private readonly database: DatabaseSync

  /** `file` null: in memory. Throws RelayError when another process has it. */
  constructor(folder: string | null, name = 'agent') {
    if (folder !== null) mkdirSync(folder, { recursive: true, mode: 0o700 })
    const path = folder === null ? ':memory:' : join(folder, `${name}.sqlite`)
    this.database = new DatabaseSync(path)
    try {
      this.database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;')
      this.database.exec('CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID')
    } catch (error) {
      this.database.close()
      throw new RelayError(`${path} cannot be opened; does this account watch in another process?`, { cause: error })
    }
  }

  /** JSON as it was put; undefined when there is none. */
  get<T>(name: string): T | undefined {
    const row = this.database.prepare('SELECT value FROM notes WHERE name = ?').get(name) as { value: string } | undefined
    return row && (JSON.parse(row.value) as T)
  }

  /** On the disk when it returns. */
  put(name: string, value: unknown): void {
    this.database.prepare('INSERT OR REPLACE INTO notes VALUES (?, ?)').run(name, JSON.stringify(value))
  }

  close(): void {
    if (this.database.isOpen) this.database.close()
  }
}
