// Heavy work, one piece at a time: running a model for an answer or a trace. What is due first is done first; moves are played in between, since engines pause after
// every batch.

interface Piece {
  name: string
  /** Active or block time, ms: only the order matters. */
  due: number
  run: (signal: AbortSignal) => Promise<void>
}

export class Work {
  private readonly waiting: Piece[] = []
  private current: string | null = null
  private readonly signal: AbortSignal
  private readonly onDone: (name: string, error: unknown) => void

  /** `onDone` is told of every end, with what was thrown or null. */
  constructor(signal: AbortSignal, onDone: (name: string, error: unknown) => void) {
    this.signal = signal
    this.onDone = onDone
  }

  /** Puts a piece of work in line unless one of that name is there already; a nearer deadline moves it forward. */
  add(name: string, due: number, run: Piece['run']): void {
    if (this.current === name) return
    const known = this.waiting.find((one) => one.name === name)
    if (known) known.due = Math.min(known.due, due)
    else this.waiting.push({ name, due, run })
    if (this.current === null) void this.next()
  }

  get busy(): boolean {
    return this.current !== null
  }

  private async next(): Promise<void> {
    this.waiting.sort((a, b) => a.due - b.due || (a.name < b.name ? -1 : 1))
    const piece = this.waiting.shift()
    if (!piece || this.signal.aborted) return
    this.current = piece.name
    let failed: unknown = null
    try {
      await piece.run(this.signal)
    } catch (error) {
      failed = error ?? new Error('failed')
    }
    this.current = null
    this.onDone(piece.name, failed)
    if (this.current === null) void this.next()
  }
}
