// A budget for one question, and what has to happen first when no channel holds enough: sessions that only their hosts' haste left open are ended, a newcomer takes the grant, a
// channel is opened. Money moves only when whoever owns it has agreed. No clock and no timers: `pause` is one.
import { formatAmount } from './amount.ts'
import { keyOf } from './records.ts'
import { type Budget, NoChannel, type Wallet } from './wallet.ts'

/** What is asked before money moves. */
export type Asked = { kind: 'grant' } | { kind: 'channel'; deposit: bigint }

export interface Funding {
  consent(asked: Asked): Promise<boolean>
  /** Resolves after so many ms; rejects when nobody waits any more. */
  pause(ms: number): Promise<void>
  /** A channel was opened, and a block has it. */
  opened?(number: number, deposit: bigint): void
}

/** Why there is no budget: `grant`, `channel`: nobody agreed; `poor`: the account has not enough; `late`: no block came. The message goes on after a colon. */
export class Unfunded extends Error {
  override name = 'Unfunded'
  readonly why: 'grant' | 'channel' | 'poor' | 'late'
  /** µ. */
  readonly balance: bigint
  constructor(why: Unfunded['why'], balance: bigint, message: string) {
    super(message)
    this.why = why
    this.balance = balance
  }
}

/** Stays in the balance for fees of further transactions, µ. */
const spare = 10_000n
/** What is sent is in a block within so long. */
const blockMsMax = 30_000
const pollMs = 200

/** Null when the model costs nothing. Throws Unfunded, LedgerError, and what the network or `pause` throws. */
export async function fundedBudget(wallet: Wallet, modelId: string, limit: bigint, funding: Funding): Promise<Budget | null> {
  try {
    return await wallet.budget(modelId, limit)
  } catch (error) {
    if (!(error instanceof NoChannel)) throw error
    if (await wallet.endLeft(limit)) return whenThere(funding, () => wallet.budget(modelId, limit))
    let { balance } = error
    if (balance < limit && !error.granted) {
      if (!(await funding.consent({ kind: 'grant' }))) throw new Unfunded('grant', balance, 'the account has not enough credits.')
      await wallet.ledger.grant(wallet.account)
      balance = (await wallet.ledger.account(wallet.account)).balance
    }
    const deposit = balance - spare < error.deposit ? balance - spare : error.deposit
    if (deposit < limit)
      throw new Unfunded('poor', balance, `the account has ${formatAmount(balance)} credits, ${formatAmount(limit)} must be set aside for this answer.`)
    if (!(await funding.consent({ kind: 'channel', deposit }))) throw new Unfunded('channel', balance, 'without a channel there is nothing to pay from.')
    const number = await openChannel(wallet, deposit, funding)
    funding.opened?.(number, deposit)
    return await wallet.budget(modelId, limit)
  }
}

/** Opens a channel and waits until a block has it; its number. Throws like fundedBudget. */
export async function openChannel(wallet: Wallet, deposit: bigint, funding: Pick<Funding, 'pause'>): Promise<number> {
  const { channels: number } = await wallet.ledger.account(wallet.account)
  await wallet.submit({ kind: 'channel.open', number, deposit })
  await whenThere(funding, async () => {
    if (!(await wallet.ledger.record(keyOf.channel(wallet.account, number)))) throw new NoChannel(deposit, 0n, true)
  })
  return number
}

/** Again until no channel is missing any more. */
async function whenThere<T>({ pause }: Pick<Funding, 'pause'>, work: () => Promise<T>): Promise<T> {
  for (let waitedMs = 0; ; waitedMs += pollMs) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof NoChannel)) throw error
      if (waitedMs >= blockMsMax) throw new Unfunded('late', error.balance, 'the ledger made no block with the channel.')
    }
    await pause(pollMs)
  }
}
