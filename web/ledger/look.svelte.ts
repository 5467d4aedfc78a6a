// One thing that a page asked for: what came of it last, and what went wrong since. A late answer never overwrites a newer one.
import { NoLedger, RelayAway } from './client.ts'
import { NotProven } from './proof.ts'

export class Look<T> {
  value = $state.raw<T | null>(null)
  /** The relay showed something that does not hold: nothing of `value` is left. */
  forged = $state('')
  /** It is away, or refused: `value` is what was known before. */
  problem = $state('')
  busy = $state(false)
  private turn = 0

  /** Asks; `fresh` forgets what was there, for another subject. */
  async at(work: () => Promise<T>, fresh = false): Promise<void> {
    const turn = ++this.turn
    if (fresh) {
      this.value = null
      this.forged = ''
      this.problem = ''
    }
    this.busy = true
    try {
      const value = await work()
      if (turn !== this.turn) return
      this.value = value
      this.forged = ''
      this.problem = ''
    } catch (error) {
      if (turn !== this.turn) return
      const { message } = error as Error
      if (error instanceof NotProven) {
        this.value = null
        this.forged = message
      } else this.problem = error instanceof RelayAway || error instanceof NoLedger ? message : sentence(message)
    } finally {
      if (turn === this.turn) this.busy = false
    }
  }
}

/** The ledger's refusals are lower case and without a full stop; people read sentences. */
export const sentence = (text: string): string => (text === '' ? '' : `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?…]$/.test(text) ? '' : '.'}`)
