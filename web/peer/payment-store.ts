// What payments must not lose in this browser, shared by its tabs: numbers of sessions that are used, promises, and the vouchers that this device was given as a host.
import { type DBSchema, type IDBPDatabase, openDB } from 'idb'
import { betterKept } from '../../ledger/session.ts'
import type { KeptVouchers } from '../../ledger/settling.ts'
import type { Promised, WalletStore } from '../../ledger/wallet.ts'
import type { Vault } from '../../mesh/shell.ts'

interface Schema extends DBSchema {
  numbers: { key: string; value: number }
  promises: { key: [string, number]; value: Promised }
  vouchers: { key: string; value: { record: Uint8Array; tab: string; dueMs: number | null } }
}

/** A tab that lends holds a lock of this name and its own; what it kept is due when the lock is free. */
const lockOf = (tab: string): string => `meadow-earning ${tab}`

export class PaymentStore implements WalletStore, Vault, KeptVouchers {
  private readonly database: IDBPDatabase<Schema>
  private readonly tab = crypto.randomUUID()
  /** Called when something became due. */
  onDue: () => void = () => {}

  private constructor(database: IDBPDatabase<Schema>) {
    this.database = database
  }

  /** Throws what IndexedDB throws where a browser forbids storage: without it nothing can be paid or earned. */
  static async open(): Promise<PaymentStore> {
    const database = await openDB<Schema>('meadow-payments', 1, {
      upgrade(db) {
        db.createObjectStore('numbers')
        db.createObjectStore('promises')
        db.createObjectStore('vouchers')
      },
      blocking: (_current, _blocked, event) => (event.target as IDBDatabase).close(),
    })
    return new PaymentStore(database)
  }

  // A requester's.

  async takeNumbers(channel: string, count: number, atLeast: number): Promise<number> {
    const transaction = this.database.transaction('numbers', 'readwrite', { durability: 'strict' })
    const first = Math.max((await transaction.store.get(channel)) ?? 0, atLeast)
    await transaction.store.put(first + count, channel)
    await transaction.done
    return first
  }

  async promises(channel: string): Promise<Promised[]> {
    return this.database.getAll('promises', IDBKeyRange.bound([channel, 0], [channel, Number.POSITIVE_INFINITY]))
  }

  promise(channel: string, promised: Promised): void {
    void this.database.put('promises', promised, [channel, promised.number]).catch(() => {})
  }

  forget(channel: string, number: number): void {
    void this.database.delete('promises', [channel, number]).catch(() => {})
  }

  // A host's.

  /** Throws LedgerError: betterKept. */
  async keep(leg: string, record: Uint8Array): Promise<void> {
    const transaction = this.database.transaction('vouchers', 'readwrite', { durability: 'strict' })
    const before = await transaction.store.get(leg)
    await transaction.store.put({ record: betterKept(before?.record ?? null, record), tab: this.tab, dueMs: null }, leg)
    await transaction.done
  }

  settle(leg: string): void {
    void this.mark((one, name) => name === leg && one.dueMs === null).then(() => this.onDue())
  }

  /** Holds the lock that says that this tab's vouchers are not due yet. Without locks (plain http from another machine) tabs cannot tell, and each minds all. */
  async hold(): Promise<void> {
    await navigator.locks?.request(lockOf(this.tab), { ifAvailable: true }, () => new Promise<void>(() => {}))
  }

  /** Sessions whose tab is gone get no more vouchers. */
  async settleLeft(): Promise<void> {
    const held = new Set((await navigator.locks?.query())?.held?.map((lock) => lock.name) ?? [lockOf(this.tab)])
    await this.mark((one) => one.dueMs === null && !held.has(lockOf(one.tab)))
  }

  private async mark(which: (one: Schema['vouchers']['value'], leg: string) => boolean): Promise<void> {
    const transaction = this.database.transaction('vouchers', 'readwrite', { durability: 'strict' })
    for (let cursor = await transaction.store.openCursor(); cursor; cursor = await cursor.continue())
      if (which(cursor.value, cursor.key)) await cursor.update({ ...cursor.value, dueMs: Date.now() })
    await transaction.done
  }

  async due(): Promise<{ leg: string; record: Uint8Array; sinceMs: number }[]> {
    const found: { leg: string; record: Uint8Array; sinceMs: number }[] = []
    const transaction = this.database.transaction('vouchers')
    for (let cursor = await transaction.store.openCursor(); cursor; cursor = await cursor.continue()) {
      const { record, dueMs } = cursor.value
      if (dueMs !== null) found.push({ leg: cursor.key, record, sinceMs: dueMs })
    }
    return found.sort((a, b) => a.sinceMs - b.sinceMs)
  }

  async drop(leg: string): Promise<void> {
    await this.database.delete('vouchers', leg)
  }
}
