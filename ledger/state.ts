// All records of a chain in memory, with a journal: a transaction that fails is undone to the byte, and a block knows which keys it touched. The Merkle tree is
// brought up to date once a block. Indexes (what is due, who can be drawn) follow from the records alone, so that a restored state behaves as the first one did.

import { type Due, DueQueue } from './queue.ts'
import {
  type Account,
  type AnyRecord,
  type Dispute,
  encodeRecord,
  type Key,
  keyOf,
  kindOf,
  type Money,
  moneyIn,
  noAccount,
  type RecordKind,
  type RecordOf,
  restoreRecord,
  wakeOf,
} from './records.ts'
import { role } from './transaction.ts'
import { type Change, pathOf, prove, rootOf, type TreeNode, update, valueHash } from './tree.ts'

export class State {
  private readonly records = new Map<string, AnyRecord>()
  /** Encoded values as of the tree; those touched since are encoded when the block ends. */
  private readonly encoded = new Map<string, Uint8Array>()
  private tree: TreeNode = null
  /** Old values in the order of writing, for undo. */
  private journal: [key: string, old: AnyRecord | undefined][] = []
  /** Value at the beginning of the block, of every key touched since. */
  private readonly touched = new Map<string, AnyRecord | undefined>()
  private readonly byTime = new DueQueue()
  private readonly byHeight = new DueQueue()
  private readonly auditors = new Map<string, bigint>()
  /** Keys of disputes without a verdict. */
  private readonly disputes = new Set<string>()
  private drawTable: { ids: string[]; sums: bigint[] } | null = null

  /** A state from stored records, in any order. Throws LedgerError for bytes that are no record. */
  static restore(entries: Iterable<[key: string, value: Uint8Array]>): State {
    const state = new State()
    const changes: Change[] = []
    for (const [key, value] of entries) {
      const record = restoreRecord(key, value)
      state.records.set(key, record)
      state.encoded.set(key, value)
      state.index(key, record)
      changes.push({ path: pathOf(key), value: valueHash(value) })
    }
    state.tree = update(null, changes)
    return state
  }

  get<K extends RecordKind>(key: Key<K>): RecordOf<K> | undefined {
    return this.records.get(key) as RecordOf<K> | undefined
  }

  /** A record that rules guarantee; its absence is our own mistake. */
  must<K extends RecordKind>(key: Key<K>): RecordOf<K> {
    const found = this.get(key)
    if (found === undefined) throw new Error(`state has no ${key}`)
    return found
  }

  account(id: Uint8Array): Account {
    return this.get(keyOf.account(id)) ?? noAccount
  }

  /** Records are values: never changed in place, always replaced. */
  set<K extends RecordKind>(key: Key<K>, record: RecordOf<K>): void {
    this.journal.push([key, this.records.get(key)])
    this.records.set(key, record as AnyRecord)
  }

  delete(key: string): void {
    this.journal.push([key, this.records.get(key)])
    this.records.delete(key)
  }

  /** Where `undo` returns to. */
  mark(): number {
    return this.journal.length
  }

  undo(mark: number): void {
    while (this.journal.length > mark) {
      const [key, old] = this.journal.pop()!
      if (old === undefined) this.records.delete(key)
      else this.records.set(key, old)
    }
  }

  /** Change of money in the records since `mark`, and the pots as they were then (undefined: not written). */
  changeSince(mark: number): { records: bigint; before: Money | undefined } {
    let records = 0n
    let before: Money | undefined
    const seen = new Set<string>()
    for (let i = mark; i < this.journal.length; i++) {
      const [key, old] = this.journal[i]
      if (seen.has(key)) continue
      seen.add(key)
      const now = this.records.get(key)
      if (key === keyOf.money) before = old as Money
      if (old !== undefined) records -= moneyIn(key, old)
      if (now !== undefined) records += moneyIn(key, now)
    }
    return { records, before }
  }

  /** What was written since the last keep stays. */
  keep(): void {
    for (const [key, old] of this.journal) {
      if (!this.touched.has(key)) this.touched.set(key, old)
    }
    for (const key of new Set(this.journal.map(([key]) => key))) this.index(key, this.records.get(key))
    this.journal = []
  }

  private index(key: string, record: AnyRecord | undefined): void {
    if (kindOf(key) === 'account') {
      const one = record as Account | undefined
      const stake = one !== undefined && (one.roles & role.auditor) !== 0 ? one.stake : 0n
      if (stake === (this.auditors.get(key) ?? 0n)) return
      if (stake > 0n) this.auditors.set(key, stake)
      else this.auditors.delete(key)
      this.drawTable = null
    } else if (kindOf(key) === 'dispute') {
      if (record !== undefined && (record as Dispute).verdict === null) this.disputes.add(key)
      else this.disputes.delete(key)
    } else if (record !== undefined) {
      const wake = wakeOf(key, record)
      if (wake === null) return
      if ('atMs' in wake) this.byTime.push({ at: wake.atMs, key })
      else this.byHeight.push({ at: wake.atHeight, key })
    }
  }

  /** Disputes without a verdict: their clocks run only as far as blocks are made. */
  get openDisputes(): number {
    return this.disputes.size
  }

  /** Whether a record waits for a height, so that blocks must come for it. */
  waitsForHeight(): boolean {
    return this.peek(this.byHeight, Number.MAX_SAFE_INTEGER, 'atHeight') !== undefined
  }

  /** The next record that is due, removed from the queue: at heights first, then at times, ties by key. */
  due(height: number, timeMs: number): string | undefined {
    return this.next(this.byHeight, height, 'atHeight') ?? this.next(this.byTime, timeMs, 'atMs')
  }

  /** Whether `due` would find something, without removing it. */
  isDue(height: number, timeMs: number): boolean {
    return this.peek(this.byHeight, height, 'atHeight') !== undefined || this.peek(this.byTime, timeMs, 'atMs') !== undefined
  }

  /** When the earliest record is due by time; undefined when none waits. */
  nextDueMs(): number | undefined {
    return this.peek(this.byTime, Number.MAX_SAFE_INTEGER, 'atMs')?.at
  }

  private next(queue: DueQueue, now: number, field: 'atMs' | 'atHeight'): string | undefined {
    const found = this.peek(queue, now, field)
    if (found) queue.pop()
    return found?.key
  }

  private peek(queue: DueQueue, now: number, field: 'atMs' | 'atHeight'): Due | undefined {
    for (let first = queue.first(); first !== undefined && first.at <= now; first = queue.first()) {
      // Entries outlive what they were made for; only one that the record still asks for counts.
      const record = this.records.get(first.key)
      const wake = record === undefined ? null : wakeOf(first.key, record)
      if (wake !== null && field in wake && (wake as Record<string, number>)[field] === first.at) return first
      queue.pop()
    }
    return undefined
  }

  /** Accounts that can be drawn as auditors with running sums of stake, ordered by key. */
  auditorTable(stakeMin: bigint): { ids: string[]; sums: bigint[] } {
    if (this.drawTable) return this.drawTable
    const ids = [...this.auditors.keys()].filter((key) => this.auditors.get(key)! >= stakeMin).sort()
    let sum = 0n
    this.drawTable = { ids: ids.map((key) => key.slice('account/'.length)), sums: ids.map((key) => (sum += this.auditors.get(key)!)) }
    return this.drawTable
  }

  /** A parameter of the table changed. */
  forgetAuditorTable(): void {
    this.drawTable = null
  }

  /** Ends a block: brings the tree up to date and returns what changed (null: deleted), ordered by key. Only after keep. */
  seal(): [key: string, value: Uint8Array | null][] {
    const changed: [string, Uint8Array | null][] = []
    const changes: Change[] = []
    for (const key of [...this.touched.keys()].sort()) {
      const record = this.records.get(key)
      const value = record === undefined ? null : encodeRecord(key, record)
      if (value === null) this.encoded.delete(key)
      else this.encoded.set(key, value)
      changed.push([key, value])
      changes.push({ path: pathOf(key), value: value === null ? null : valueHash(value) })
    }
    this.tree = update(this.tree, changes)
    this.touched.clear()
    return changed
  }

  /** Root as of the last seal. */
  root(): Uint8Array {
    return rootOf(this.tree)
  }

  /** Root with everything written so far, without ending the block: for tests that nothing has changed. */
  pendingRoot(): Uint8Array {
    const changes: Change[] = []
    for (const key of new Set([...this.touched.keys(), ...this.journal.map(([name]) => name)])) {
      const record = this.records.get(key)
      changes.push({ path: pathOf(key), value: record === undefined ? null : valueHash(encodeRecord(key, record)) })
    }
    return rootOf(update(this.tree, changes))
  }

  /** A record's bytes as of the last seal (null: none) and their proof under `root()`. */
  prove(key: string): { value: Uint8Array | null; proof: Uint8Array } {
    return { value: this.encoded.get(key) ?? null, proof: prove(this.tree, pathOf(key)) }
  }

  /** All records with what is pending, ordered by key. */
  entries(): [key: string, record: AnyRecord][] {
    return [...this.records.keys()].sort().map((key) => [key, this.records.get(key)!])
  }

  /** Keys of one kind with what is pending, in order. */
  keysOf(kind: string): string[] {
    const keys: string[] = []
    for (const key of this.records.keys()) if (kindOf(key) === kind) keys.push(key)
    return keys.sort()
  }

  /** All records as of the last seal, ordered by key. */
  sealedEntries(): [key: string, value: Uint8Array][] {
    return [...this.encoded.keys()].sort().map((key) => [key, this.encoded.get(key)!])
  }

  get size(): number {
    return this.records.size
  }
}
