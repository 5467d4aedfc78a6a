// What must hold whatever happens. Cheap checks run after every transaction and block over what they touched; `checkAll` reads every record and is for tests,
// simulations, snapshots and `ledger replay`. A violation is a mistake of ours and stops the chain: it is never a reason to refuse a transaction.
import { amountMax } from './codec.ts'
import { type Account, type Channel, type Claim, type Commit, keyOf, kindOf, type Money, moneyIn, type Session } from './records.ts'
import type { State } from './state.ts'

export class InvariantError extends Error {
  override name = 'InvariantError'
}

/** Money since `mark`: records gained what was minted and lost what was burned. */
export function checkConserved(state: State, mark: number): void {
  const { records, before } = state.changeSince(mark)
  const now = state.must(keyOf.money)
  const old = before ?? now
  const expected = now.emitted - old.emitted - (now.burned - old.burned)
  if (records !== expected) throw new InvariantError(`records changed by ${records} µ, minted less burned is ${expected}`)
}

/** Sums of a whole state. */
export interface Sums {
  balances: bigint
  stakes: bigint
  unbonding: bigint
  jobs: bigint
  channels: bigint
  sessions: bigint
  bonds: bigint
  pots: bigint
  burned: bigint
  emitted: bigint
}

/** Every record: sums, signs, locks, escrows. Throws InvariantError. `supplyGenesis` µ existed at genesis. */
export function checkAll(state: State): Sums {
  const sums: Sums = { balances: 0n, stakes: 0n, unbonding: 0n, jobs: 0n, channels: 0n, sessions: 0n, bonds: 0n, pots: 0n, burned: 0n, emitted: 0n }
  const locks = new Map<string, bigint>()
  const open = new Map<string, number>()
  const commits = new Map<string, number>()
  const addLock = (key: string, amount: bigint): void => void locks.set(key, (locks.get(key) ?? 0n) + amount)
  const entries = state.entries()
  for (const [key, record] of entries) {
    const money = moneyIn(key, record)
    if (money < 0n || money > amountMax * 4n) throw new InvariantError(`${key} holds ${money} µ`)
    for (const [name, value] of Object.entries(record)) if (typeof value === 'bigint' && value < 0n) throw new InvariantError(`${name} of ${key} is ${value}`)
    switch (kindOf(key)) {
      case 'account':
        sums.balances += (record as Account).balance
        sums.stakes += (record as Account).stake
        break
      case 'unbonding':
        sums.unbonding += money
        break
      case 'job':
        sums.jobs += money
        break
      case 'channel':
        sums.channels += money
        break
      case 'session': {
        const one = record as Session
        sums.sessions += money
        for (const host of one.hosts) addLock(keyOf.account(host.account), host.locked)
        if (one.open) {
          const channel = keyOf.channel(one.owner, one.channel)
          open.set(channel, (open.get(channel) ?? 0) + 1)
        } else if (one.reserved !== 0n) throw new InvariantError(`${key} has ended and still reserves ${one.reserved} µ`)
        break
      }
      case 'claim': {
        const one = record as Claim
        addLock(keyOf.account(one.solver), one.stake)
        break
      }
      case 'commit': {
        const one = record as Commit
        addLock(keyOf.account(one.solver), one.stake)
        const job = keyOf.job(one.job)
        commits.set(job, (commits.get(job) ?? 0) + 1)
        break
      }
      case 'dispute':
        sums.bonds += money
        break
      case 'money': {
        const one = record as Money
        sums.pots += money
        sums.burned += one.burned
        sums.emitted += one.emitted
        break
      }
      default:
    }
  }
  const rules = state.must(keyOf.rules)
  const there = sums.balances + sums.stakes + sums.unbonding + sums.jobs + sums.channels + sums.sessions + sums.bonds + sums.pots + sums.burned
  if (there !== rules.supplyGenesis + sums.emitted) throw new InvariantError(`${there} µ exist or were burned, ${rules.supplyGenesis + sums.emitted} were made`)
  if (rules.supplyGenesis + sums.emitted > rules.supplyMax) throw new InvariantError('more was made than may ever exist')
  for (const [key, record] of entries) {
    if (kindOf(key) === 'account') {
      const one = record as Account
      if (one.locked > one.stake) throw new InvariantError(`${key} has locked ${one.locked} of ${one.stake} µ`)
      if (one.locked !== (locks.get(key) ?? 0n)) throw new InvariantError(`${key} has locked ${one.locked} µ, its claims say ${locks.get(key) ?? 0n}`)
    }
    if (kindOf(key) === 'channel' && (record as Channel).sessions !== (open.get(key) ?? 0)) throw new InvariantError(`${key} miscounts its sessions`)
    if (kindOf(key) === 'job' && (record as { commits: number }).commits !== (commits.get(key) ?? 0)) throw new InvariantError(`${key} miscounts its commits`)
  }
  return sums
}
