// What a host of a paid session signs about its rows besides the running hashes of receipt.ts: a root of each residual that came in and of each that went out, from
// which one element can be opened before a judge. Hashing them takes longer than sending them on, so it is put off until there is nothing more urgent.
import { residualRoots } from '../engine/proof/residual.ts'
import { rootsTogether } from '../engine/proof/roots.ts'
import { recordBytes } from '../limits.ts'

const rootBytes = recordBytes / 2
const none = new Uint8Array(rootBytes)

/** One edge of a segment, row by row. */
class Edge {
  private readonly hidden: number
  /** Roots, and rows whose root nobody has asked for yet. */
  private rows: (Uint8Array | Int32Array)[] = []
  /** All rows before it are roots. */
  private hashed = 0
  /** The rows themselves, also those that have roots; null where nobody wants them. */
  private kept: Int32Array[] | null

  constructor(hidden: number, keeps = false) {
    this.hidden = hidden
    this.kept = keeps ? [] : null
  }

  get length(): number {
    return this.rows.length
  }
  cut(length: number): void {
    if (length < this.rows.length) this.rows.length = length
    if (this.kept && length < this.kept.length) this.kept.length = length
    this.hashed = Math.min(this.hashed, length)
  }

  /** Rows from `position` on, in place of what stood there. Rows before it must be there. `boundary` is kept until hashed and must not change. */
  add(position: number, boundary: Int32Array): void {
    if (position > this.rows.length) throw new RangeError(`rows from ${position} on after ${this.rows.length}`)
    this.cut(position)
    for (let at = 0; at < boundary.length; at += this.hidden) {
      const row = boundary.subarray(at, at + this.hidden)
      this.rows.push(row)
      this.kept?.push(row)
    }
  }

  get keptBytes(): number {
    return (this.kept?.length ?? 0) * this.hidden * 4
  }

  /** The first `count` rows end to end; null when they were not kept. */
  keptRows(count: number): Int32Array | null {
    if (!this.kept || this.kept.length < count) return null
    const out = new Int32Array(count * this.hidden)
    for (let i = 0; i < count; i++) out.set(this.kept[i], i * this.hidden)
    return out
  }

  forget(): void {
    this.kept = null
  }

  /** Positions of up to `most` rows that have no root yet, first ones first. */
  waiting(most: number): number[] {
    const found: number[] = []
    for (; this.hashed < this.rows.length && this.rows[this.hashed] instanceof Uint8Array; this.hashed++);
    for (let i = this.hashed; i < this.rows.length && found.length < most; i++) if (this.rows[i] instanceof Int32Array) found.push(i)
    return found
  }

  row(position: number): Int32Array {
    return this.rows[position] as Int32Array
  }

  settle(position: number, root: Uint8Array): void {
    this.rows[position] = root
  }

  root(position: number): Uint8Array {
    return this.rows[position] as Uint8Array
  }
}

export class Boundaries {
  private readonly entering: Edge | null
  private readonly leaving: Edge | null

  /** `first`: tokens enter, no residuals; `last`: tokens leave; `keeps`: what enters is wanted later (a host's own defence). */
  constructor(hidden: number, first: boolean, last: boolean, keeps = false) {
    this.entering = first ? null : new Edge(hidden, keeps)
    this.leaving = last ? null : new Edge(hidden)
  }

  came(position: number, boundary: Int32Array): void {
    this.entering?.add(position, boundary)
  }

  went(position: number, boundary: Int32Array): void {
    this.leaving?.add(position, boundary)
  }

  cut(length: number): void {
    this.entering?.cut(length)
    this.leaving?.cut(length)
  }

  /** Enough rows to be hashed together. */
  get waits(): boolean {
    return this.next().length === rootsTogether
  }

  private next(): [edge: Edge, position: number][] {
    return [this.entering, this.leaving]
      .flatMap((edge) => edge?.waiting(rootsTogether).map((position): [Edge, number] => [edge, position]) ?? [])
      .slice(0, rootsTogether)
  }

  /** Hashes up to `most` rows, and not fewer than fit together unless they are the last ones. */
  work(most: number, all = false): void {
    for (let done = 0; done < most; ) {
      const batch = this.next()
      if (batch.length === 0 || (batch.length < rootsTogether && !all)) return
      const roots = residualRoots(batch.map(([edge, position]) => edge.row(position)))
      for (const [i, [edge, position]] of batch.entries()) edge.settle(position, roots[i])
      done += batch.length
    }
  }

  /** Bytes of rows that entered and are kept. */
  get keptBytes(): number {
    return this.entering?.keptBytes ?? 0
  }

  /** The first `count` rows that entered, end to end; null where tokens entered or rows were let go. */
  keptRows(count: number): Int32Array | null {
    return this.entering?.keptRows(count) ?? null
  }

  /** Lets the rows go: there is no room for them. Their roots stay. */
  forget(): void {
    this.entering?.forget()
  }

  /** inRoot ‖ outRoot of rows [0, count), zeros where there is no such edge; null when rows are missing. */
  records(count: number): Uint8Array | null {
    for (const edge of [this.entering, this.leaving]) {
      if (edge && edge.length < count) return null
    }
    this.work(Infinity, true)
    const out = new Uint8Array(count * recordBytes)
    for (let i = 0; i < count; i++) {
      out.set(this.entering?.root(i) ?? none, i * recordBytes)
      out.set(this.leaving?.root(i) ?? none, i * recordBytes + rootBytes)
    }
    return out
  }
}
