// Money: whole µ in bigint, 1,000,000 µ are one credit. Refuses fractions of a µ, negative sums and anything from 2^63 on.
import { amountMax } from './codec.ts'
import { LedgerError } from './errors.ts'

export const credit = 1_000_000n
/** Shares are in parts of 10,000 (basis points). */
export const wholeShare = 10_000

/** a + b. Throws LedgerError (range) when no amount can hold it. */
export function add(a: bigint, b: bigint): bigint {
  const sum = a + b
  if (sum > amountMax) throw new LedgerError('range', `${a} + ${b} µ overflow`)
  return sum
}

/** a − b. Throws LedgerError (balance) when there is not enough; `what` names a. */
export function subtract(a: bigint, b: bigint, what: string): bigint {
  if (b > a) throw new LedgerError('balance', `${what} is ${formatAmount(a)} credits, ${formatAmount(b)} are needed`)
  return a - b
}

/** ⌊amount · share / 10,000⌋. */
export const shareOf = (whole: bigint, share: number): bigint => (whole * BigInt(share)) / BigInt(wholeShare)

export const least = (a: bigint, b: bigint): bigint => (a < b ? a : b)
export const most = (a: bigint, b: bigint): bigint => (a > b ? a : b)

/** "1.25": credits, without trailing zeros. */
export function formatAmount(value: bigint): string {
  const rest = (value % credit).toString().padStart(6, '0').replace(/0+$/, '')
  return rest === '' ? `${value / credit}` : `${value / credit}.${rest}`
}

/** "1.25" → 1,250,000 µ. Throws LedgerError (range) for anything that is not a number of credits with at most six decimals. */
export function parseAmount(words: string): bigint {
  const match = /^(\d{1,13})(?:\.(\d{1,6}))?$/.exec(words)
  if (!match) throw new LedgerError('range', `${JSON.stringify(words.slice(0, 40))} is not a number of credits with at most six decimals`)
  return BigInt(match[1]) * credit + BigInt((match[2] ?? '').padEnd(6, '0'))
}
