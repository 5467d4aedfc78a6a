// A requester's money: which channel pays, what of it is promised, and a budget for each question. One account may ask from several processes or tabs at once, so numbers of
// sessions and promises lie in a store that they share; the ledger is asked only before a question, never while tokens come.
import { fromHex, hex } from '../protocol/hash.ts'
import { verify as verifyKey } from '../protocol/keys.ts'
import type { PeerKey } from '../protocol/peer/machine.ts'
import type { Payer } from '../protocol/peer/payment.ts'
import type { Presence } from '../protocol/peer/presence.ts'
import type { Parameters } from './genesis.ts'
import { decodeRecordAt } from './light.ts'
import { sessionIdOf } from './names.ts'
import { PreparedNumbers } from './numbers.ts'
import { endingOf, freeOf, priceOf, type Quote } from './pay.ts'
import { createPayer, type Stock } from './payer.ts'
import { type Channel, keyOf, type ModelRecord, type Session } from './records.ts'
import type { RemoteLedger } from './remote.ts'
import { decodeKept } from './session.ts'
import { Standings } from './standing.ts'
import type { Body } from './transaction.ts'

/** Signed and not yet seen on the ledger: at most `limit` µ of the channel may go there, `amount` at least. */
export interface Promised {
  number: number
  limit: bigint
  amount: bigint
  untilMs: number
  /** Every host has signed that it ends with `amount`: encodeKept of session.ts. */
  end?: Uint8Array
}

/** What processes or tabs of one account share. `channel` names chain, owner and number. */
export interface WalletStore {
  /** Takes `count` numbers that nobody else will get; returns the first. */
  takeNumbers(channel: string, count: number, atLeast: number): Promise<number>
  promises(channel: string): Promise<Promised[]>
  /** Known to all from when it returns; a promise of the same number takes its place. */
  promise(channel: string, promised: Promised): void
  forget(channel: string, number: number): void
}

/** The account has no channel that holds enough: `deposit` µ would do for ten such questions. */
export class NoChannel extends Error {
  override name = 'NoChannel'
  readonly deposit: bigint
  readonly balance: bigint
  readonly granted: boolean
  constructor(deposit: bigint, balance: bigint, granted: boolean) {
    super('no channel of this account holds enough for this question')
    this.deposit = deposit
    this.balance = balance
    this.granted = granted
  }
}

/** Settlements that a question may need: a ring, and two that follow it when hosts leave. */
const settlementsMax = 3
const hostsMax = 8
/** A new channel holds this many times the limit of the question that it is opened for. */
const depositTimes = 10n
/** Channels of an account that are looked at, newest first. */
const channelsMax = 16
/** Ending a session of eight hosts costs about half of this, µ: less is not worth a transaction. */
const endFeeMax = 2000n
/** Proofs asked for at once. */
const keysMax = 48

export const nameOfChannel = (chain: Uint8Array, owner: Uint8Array, number: number): string => `${hex(chain).slice(0, 16)}/${hex(owner)}/${number}`

/** The most that an answer of at most `maxTokens` tokens can cost, whichever hosts answer and even if some have to be replaced. What is not used returns. */
export function quoteOf(p: Parameters, model: Pick<ModelRecord, 'price'>, maxTokens: number): Quote {
  const fee = priceOf(p, model, hostsMax, 0) * BigInt(settlementsMax)
  return { limit: model.price * BigInt(maxTokens) + fee, perToken: model.price, fee }
}

async function factsFrom(ledger: RemoteLedger, modelId: string): Promise<{ parameters: Parameters; model: ModelRecord | null }> {
  const key = keyOf.model(fromHex(modelId))
  const proven = await ledger.prove([keyOf.rules, key])
  return { parameters: decodeRecordAt(proven, keyOf.rules)!.parameters, model: decodeRecordAt(proven, key) }
}

/** The same for whoever has no account. Null when the ledger does not know the model. Throws LedgerError, and what the network throws. */
export async function quoteFrom(ledger: RemoteLedger, modelId: string, maxTokens: number): Promise<Quote | null> {
  const { parameters, model } = await factsFrom(ledger, modelId)
  return model && quoteOf(parameters, model, maxTokens)
}

export interface Budget {
  payer: Payer
  channel: number
  limit: bigint
  perToken: bigint
  /** Proofs grow old: to be called every twenty seconds while the question is answered. */
  freshen(): Promise<void>
  /** Asks the ledger for the standing of hosts that may be chosen, which the route then weighs. Throws like `budget`; they are strangers then. */
  meet(hosts: readonly Pick<Presence, 'pay'>[]): Promise<void>
}

export interface OwnChannel extends Channel {
  number: number
  /** Of the deposit: what open promises may still take. */
  promised: bigint
}

export class Wallet {
  readonly ledger: RemoteLedger
  readonly account: Uint8Array
  private readonly secret: Uint8Array
  private readonly store: WalletStore
  private readonly nowMs: () => number
  private readonly standings: Standings

  constructor(ledger: RemoteLedger, secret: Uint8Array, account: Uint8Array, store: WalletStore, nowMs: () => number) {
    this.ledger = ledger
    this.standings = new Standings(ledger, nowMs)
    this.secret = secret
    this.account = account
    this.store = store
    this.nowMs = nowMs
  }

  /** Null when the ledger does not know the model. Throws LedgerError, and what the network throws. */
  quote(modelId: string, maxTokens: number): Promise<Quote | null> {
    return quoteFrom(this.ledger, modelId, maxTokens)
  }

  /** Own channels that are not reclaimed, newest first, proven, with what is promised of each. */
  async channels(): Promise<OwnChannel[]> {
    const { chain } = await this.ledger.chain()
    const { channels } = await this.ledger.account(this.account)
    const numbers = Array.from({ length: Math.min(channels, channelsMax) }, (_, i) => channels - 1 - i)
    if (numbers.length === 0) return []
    const proven = await this.ledger.prove(numbers.map((number) => keyOf.channel(this.account, number)))
    const found: OwnChannel[] = []
    for (const number of numbers) {
      const channel = decodeRecordAt(proven, keyOf.channel(this.account, number))
      if (channel) found.push({ ...channel, number, promised: await this.promisedOf(chain, number, channel) })
    }
    return found
  }

  /** What is signed of a channel and not over, with what the ledger knows of it. */
  private async openOf(chain: Uint8Array, number: number): Promise<{ promised: Promised; session: Session | null }[]> {
    const name = nameOfChannel(chain, this.account, number)
    const now = this.nowMs()
    const open: Promised[] = []
    for (const one of await this.store.promises(name)) {
      if (one.untilMs <= now) this.store.forget(name, one.number)
      else open.push(one)
    }
    const found: { promised: Promised; session: Session | null }[] = []
    for (let at = 0; at < open.length; at += keysMax) {
      const some = open.slice(at, at + keysMax)
      const keys = some.map((one) => keyOf.session(sessionIdOf(chain, this.account, number, one.number)))
      const proven = await this.ledger.prove(keys)
      for (const [i, promised] of some.entries()) {
        const session = decodeRecordAt(proven, keys[i]!)
        // What the ledger has seen has left the deposit already; what hosts have not ended may still be ended from here.
        if (session && !(session.open && promised.end)) this.store.forget(name, promised.number)
        else found.push({ promised, session })
      }
    }
    return found
  }

  private async promisedOf(chain: Uint8Array, number: number, channel: Channel): Promise<bigint> {
    const open = await this.openOf(chain, number)
    // All hosts have signed that they want no more than what an end says.
    const promised = open.map(({ promised: { limit, amount, end }, session }) => ({ limit: end ? amount : limit, reserved: session !== null }))
    return channel.deposit - freeOf(channel, promised)
  }

  /**
   * Ends sessions whose hosts have signed that they are over and have not ended them, when what returns makes room for `limit` µ in a channel. Whether that will be so
   * once a block has it. Throws LedgerError, and what the network throws.
   */
  async endLeft(limit: bigint): Promise<boolean> {
    const { chain } = await this.ledger.chain()
    for (const { number, deposit, promised, closesMs } of await this.channels()) {
      if (closesMs !== null) continue
      const left = (await this.openOf(chain, number)).filter(({ session }) => session && session.reserved > endFeeMax)
      const back = left.reduce((sum, { session }) => sum + session!.reserved - endFeeMax, 0n)
      if (left.length === 0 || deposit - promised + back < limit) continue
      for (const one of left) {
        const { session, voucher, ends } = decodeKept(one.promised.end!)
        await this.submit(endingOf(session, voucher, ends, this.account, true))
      }
      return true
    }
    return false
  }

  /**
   * A budget of `limit` µ for one question. Throws NoChannel when a channel must be opened first, LedgerError when the ledger does not know the model.
   * `modelId`: 64 hexadecimal digits.
   */
  async budget(modelId: string, limit: bigint): Promise<Budget | null> {
    const { chain } = await this.ledger.chain()
    const { parameters, model } = await factsFrom(this.ledger, modelId)
    if (!model || model.price === 0n) return null
    const found = (await this.channels()).find((one) => one.closesMs === null && one.deposit - one.promised >= limit)
    if (!found) {
      const { balance, granted } = await this.ledger.account(this.account)
      throw new NoChannel(limit * depositTimes, balance, granted)
    }
    const { number: channel } = found
    const name = nameOfChannel(chain, this.account, channel)
    const prepared = new PreparedNumbers(this, chain, channel, name)
    await prepared.fill()
    const { secret, account, store, nowMs, standings } = this
    const told = new Map<number, bigint>()
    const stock: Stock = {
      take: () => prepared.take(),
      giveBack(number) {
        prepared.giveBack(number)
        store.forget(name, number)
      },
      promised(number, most, amount, untilMs) {
        // The limit is what counts until the ledger knows better; it is written once.
        if (told.get(number) === most) return
        told.set(number, most)
        store.promise(name, { number, limit: most, amount, untilMs })
      },
      ended: (number, limit, amount, untilMs, end) => store.promise(name, { number, limit, amount, untilMs, end }),
    }
    const standing = (one: PeerKey) => standings.of(one)
    const payer = createPayer({ secret, account, chain, parameters, model, channel, limit, stock, standing, nowMs, verify: verifyKey })
    return {
      payer,
      channel,
      limit,
      perToken: model.price,
      freshen: () => prepared.fill(),
      meet: (hosts) => standings.look(hosts.flatMap(({ pay }) => (pay?.chain === payer.chain ? [pay.account] : []))),
    }
  }

  /** Signs with the next nonce and the least fee. Throws LedgerError. */
  submit(body: Body): Promise<unknown> {
    return this.ledger.submit(this.secret, body)
  }

  /** For PreparedNumbers. */
  takeNumbers(name: string, count: number, atLeast: number): Promise<number> {
    return this.store.takeNumbers(name, count, atLeast)
  }
}
