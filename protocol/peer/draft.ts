// Guesses at what comes next, made from the text itself: the newest earlier place where the last words stood, and what followed there (prompt look-up).
// A guess costs rows, never an answer: the last host keeps exactly the tokens that it would have chosen alone.
import { draftMax } from '../limits.ts'

/** Suffix lengths tried, longest first. */
const suffixes = [3, 2] as const
/** How far back is looked; longer texts repeat themselves sooner. */
const windowMax = 8192

/** At most `count` tokens that may follow `tokens`; none when the last ones stood nowhere before. */
export function draftOf(tokens: readonly number[], count: number): number[] {
  const end = tokens.length
  for (const length of suffixes) {
    if (end <= length) continue
    for (let at = end - length - 1; at >= Math.max(0, end - windowMax); at--) {
      let same = 0
      while (same < length && tokens[at + same] === tokens[end - length + same]) same++
      if (same === length) return tokens.slice(at + length, at + length + count)
    }
  }
  return []
}

/** How many guesses a round should carry: swarm.md (e). */
export class DraftPace {
  /** Chance that a guess is right, EMA; prior one half. */
  private hit = 0.5
  /** Round without guesses, and what each guess adds. Milliseconds. */
  private roundMs: number | null = null
  private guessMs: number | null = null
  private sinceProbe = 0

  /** `ms`: the whole ring turn; `accepted` of `tried` guesses were right. */
  learn(tried: number, accepted: number, ms: number): void {
    if (tried === 0) this.roundMs = this.roundMs === null ? ms : this.roundMs * 0.8 + ms * 0.2
    else if (this.roundMs !== null) {
      const each = Math.max(0, ms - this.roundMs) / tried
      this.guessMs = this.guessMs === null ? each : this.guessMs * 0.8 + each * 0.2
    }
    // Tries up to and including the first wrong one tell something about the chance.
    for (let i = 0; i < Math.min(tried, accepted + 1); i++) this.hit = this.hit * 0.9 + (i < accepted ? 0.1 : 0)
  }

  /**
   * 0, 2, 4 or 8: the one with the most tokens per time, guesses only when they bring a tenth of a token. `rowMs`: a further row at this host, for want of
   * anything better; `together`: sessions that share a batch here, all of which wait for the guesses of one.
   */
  count(hosts: number, rowMs: number, together = 1): number {
    this.sinceProbe++
    const round = this.roundMs
    if (round === null) return 0
    const guess = this.guessMs ?? rowMs * hosts
    let best = 0
    let bestRate = together / round
    for (const k of [2, 4, draftMax]) {
      let expected = 1
      let right = 1
      for (let i = 0; i < k; i++) {
        right *= this.hit
        expected += right
      }
      const rate = (together - 1 + expected) / (round + k * guess)
      if (rate > bestRate && rate * round >= together + 0.1) {
        best = k
        bestRate = rate
      }
    }
    // Text changes: after 32 rounds without any guess, one short try.
    if (best === 0 && this.sinceProbe < 32) return 0
    this.sinceProbe = 0
    return best || 2
  }
}
