// Which rows of a batch each thread takes for itself. Sessions that decode together need nothing of one another, so threads need not meet after every phase (machine.as.ts).
import type { Row } from '../engine.ts'
import * as L from './layout.ts'

/** Rows a thread takes for itself at most: beyond, threads that share a widened panel are as fast (measured at 20 rows with two threads). At most fewRowsMax of machine.as.ts. */
const apartRowsMax = 8

/**
 * Where each thread's rows begin, and their number, when every thread takes rows of its own through all layers: no meeting on the way and no line of memory that two cores write, but every
 * thread reads all weights. With as many rows for each thread as there are threads or more, that takes no more of the memory than one row at a time does with one thread.
 * null when the threads must share every step (one sequence; rows of the tail that lie where rows of another thread do, because `tailRows`, those that want logits, are some) or had better:
 * few rows, or so many (a prefill) that widening panels pays, or sequences that cannot be divided evenly.
 */
export function cutsOf(rows: readonly Row[], tailRows: number, threads: number): number[] | null {
  const count = rows.length
  if (tailRows > 0 && tailRows < count) return null
  if (threads < 2 || threads > L.apartThreadsMax || count < threads * threads || count > threads * apartRowsMax) return null
  const borders = rows.flatMap((row, i) => (i > 0 && row.sequence !== rows[i - 1].sequence ? [i] : []))
  const cuts = [0]
  for (let thread = 1; thread < threads; thread++) {
    const even = (count * thread) / threads
    cuts.push(borders.reduce((best, border) => (Math.abs(border - even) < Math.abs(best - even) ? border : best), 0))
  }
  cuts.push(count)
  const threadOf = new Map<number, number>()
  for (let thread = 0; thread < threads; thread++) {
    const share = cuts[thread + 1] - cuts[thread]
    if (share < 1 || share > apartRowsMax || share * threads * 4 > count * 5) return null
    for (const { sequence } of rows.slice(cuts[thread], cuts[thread + 1])) {
      if ((threadOf.get(sequence) ?? thread) !== thread) return null
      threadOf.set(sequence, thread)
    }
  }
  return cuts
}

/** Both ways are tried so often, by turns, before one is judged (the first runs compile), and the other again every so many batches. */
const trials = 4
const againEvery = 64

/**
 * Which way was faster lately for batches of so many rows. Where cores differ (a phone's, a laptop's), threads that share every step hand the slower one less; where they are alike, rows apart
 * save the meetings: eight sessions in a host took 27.6 ms a batch apart, 32.3 together (89 batches, measured). Nothing but time depends on it.
 */
export class Ways {
  private readonly spent = new Map<number, { apart: Spent; together: Spent }>()

  /** Whether a batch of `rows` that can be cut should be. */
  apart(rows: number): boolean {
    const { apart, together } = this.of(rows)
    if (apart.count < trials || together.count < trials) return apart.count <= together.count
    // In doubt apart, which other programs disturb less: only cores that really differ make it much slower.
    const faster = apart.ms * 7 <= together.ms * 8
    return (apart.count + together.count) % againEvery === 0 ? !faster : faster
  }

  took(rows: number, apart: boolean, ms: number): void {
    const spent = this.of(rows)[apart ? 'apart' : 'together']
    // What was slow (compiling, another program) is forgotten at once when it is fast again; longer texts and busier machines count by and by.
    spent.ms = Math.min(ms, (spent.ms + ms) / 2)
    spent.count++
  }

  private of(rows: number): { apart: Spent; together: Spent } {
    let spent = this.spent.get(rows)
    if (!spent) {
      spent = { apart: { count: 0, ms: Infinity }, together: { count: 0, ms: Infinity } }
      this.spent.set(rows, spent)
    }
    return spent
  }
}

interface Spent {
  count: number
  ms: number
}
