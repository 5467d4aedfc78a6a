// How far a host is to be trusted, computed from the ledger alone: what became final, what was audited, what was challenged and lost, for how long, and with how
// much at stake. An integer for ordering hosts; routing may weigh it as it likes.
import type { Account, Reputation } from './records.ts'

const dayMs = 86_400_000

/** 0 to 10,000. A lost claim costs all that came before it: a single proof of fraud is not outweighed by volume. */
export function reputationScore(one: Reputation | undefined, account: Pick<Account, 'stake'>, nowMs: number): number {
  if (!one) return 0
  const level = (value: number, half: number): number => Math.floor((value * 10_000) / (value + half))
  const work = level(one.finalised, 100)
  const checked = level(one.audited + one.audits, 20)
  const age = level(Math.max(0, Math.floor((nowMs - one.sinceMs) / dayMs)), 30)
  const stake = level(Number(account.stake / 1_000_000n), 100)
  const sum = Math.floor((work * 3 + checked * 3 + age * 2 + stake * 2) / 10)
  return Math.floor(sum / ((1 + one.missed) * (1 + one.lost * 100)))
}
