// Time in a game: active milliseconds and blocks. An obligation ends when both say so; until then its move is valid and its timeout is not, from then on the other way
// round (invariant I7).
import type { Rules } from './rules.ts'
import type { Clock, Moment } from './state.ts'

/** When a span that began at `since` is over: both must be reached. */
export const endOf = (since: Moment, span: number, rules: Rules): Moment => ({ tau: since.tau + span, height: since.height + rules.blocksMin })

export const isOver = (end: Moment, now: Moment): boolean => now.tau >= end.tau && now.height >= end.height

/** When whoever's turn it is loses by silence. */
export function dueOf(clock: Clock, rules: Rules): Moment {
  const left = rules.budget - clock[clock.turn]
  return endOf(clock.since, left > rules.floor ? left : rules.floor, rules)
}

export const newClock = (turn: Clock['turn'], since: Moment): Clock => ({ turn, since, defender: 0, refuter: 0 })

/** Takes what was used from the budget of whose turn it was, and gives the turn on. */
export function pass(clock: Clock, turn: Clock['turn'], now: Moment): void {
  clock[clock.turn] += now.tau - clock.since.tau
  clock.turn = turn
  clock.since = now
}
