// Who gets what (README.md, section 7). Shares are rounded down and what rounding leaves is burned, so a pot never pays more than it holds; what no payout names goes
// back to who put it up when the game ends. Self-play loses at least a quarter of any bond it burns through.
import { equalBytes, fromHex } from '../../protocol/hash.ts'
import type { Account, Game, Path } from './state.ts'

/** Money moved: `from` is the claimant's stake or the number of a bond; `to` null burns. */
export interface Payout {
  from: 'stake' | number
  to: Account | null
  amount: bigint
}

/** Pays `amount` of a pot; stops at what the pot holds. */
export function pay(game: Game, payouts: Payout[], from: Payout['from'], to: Account | null, amount: bigint): void {
  const left = from === 'stake' ? game.stake : game.bonds[from].left
  const taken = amount < left ? amount : left
  if (taken <= 0n) return
  if (from === 'stake') game.stake -= taken
  else game.bonds[from].left -= taken
  payouts.push({ from, to, amount: taken })
}

const part = (amount: bigint, percent: bigint): bigint => (amount * percent) / 100n

/** Divides `amount` of a pot among accounts by weight; burns what is left, all of it when there are none. */
function divide(game: Game, payouts: Payout[], from: Payout['from'], shares: Record<string, number>, amount: bigint): void {
  const total = BigInt(Object.values(shares).reduce((sum, n) => sum + n, 0))
  let left = amount
  if (total > 0n)
    for (const [account, n] of Object.entries(shares)) {
      const one = (amount * BigInt(n)) / total
      pay(game, payouts, from, fromHex(account), one)
      left -= one
    }
  pay(game, payouts, from, null, left)
}

/** A path lost: three quarters to who answered it, the rest burned. */
export function losePath(game: Game, payouts: Payout[], path: Path): void {
  const { left } = game.bonds[path.bond]
  divide(game, payouts, path.bond, path.answers, part(left, 75n))
  pay(game, payouts, path.bond, null, left)
}

/** A refuted defence or expansion: half to who refuted it, half burned. The claimant's stake answers for its own root with as much as another's bond. */
export function loseBond(game: Game, payouts: Payout[], bond: number | null, killer: Account): void {
  const pot = bond ?? ('stake' as const)
  const lost = bond === null ? game.rules.bonds.defend : game.bonds[bond].left
  pay(game, payouts, pot, killer, part(lost, 50n))
  pay(game, payouts, pot, null, lost - part(lost, 50n))
}

/** The claim falls: the requester's price, then of the rest 20 % to the finder, 30 % to the refuters by root killed (else the finder), the rest burned. */
export function fall(game: Game, payouts: Payout[], finder: Account): void {
  pay(game, payouts, 'stake', game.requester, game.rules.price)
  const rest = game.stake
  pay(game, payouts, 'stake', finder, part(rest, 20n))
  const killers = game.roots.flatMap(({ killer }) => (killer ? [killer] : []))
  if (killers.length === 0) pay(game, payouts, 'stake', finder, part(rest, 30n))
  for (const killer of killers) pay(game, payouts, 'stake', killer, part(rest, 30n) / BigInt(killers.length))
  pay(game, payouts, 'stake', null, game.stake)
}

/** The claim stands: the finder's bond goes half to who posted the surviving root, a quarter to who answered for it, a quarter is burned. */
export function stand(game: Game, payouts: Payout[], root: number): void {
  if (!game.finder) return
  const { bond } = game.finder
  const { left } = game.bonds[bond]
  const answers: Record<string, number> = {}
  for (const path of game.paths) {
    if (path.root !== root) continue
    for (const [account, n] of Object.entries(path.answers)) answers[account] = (answers[account] ?? 0) + n
  }
  pay(game, payouts, bond, game.roots[root].poster, part(left, 50n))
  divide(game, payouts, bond, answers, part(left, 25n))
  pay(game, payouts, bond, null, game.bonds[bond].left)
}

/** The demand's fee to who served, chunk by chunk. */
export function payServers(game: Game, payouts: Payout[]): void {
  const { demand } = game
  if (!demand) return
  const { left } = game.bonds[demand.bond]
  for (const account of demand.served) if (account) pay(game, payouts, demand.bond, account, left / BigInt(demand.served.length))
}

export const sameAccount = (a: Account, b: Account): boolean => equalBytes(a, b)
