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
import { freeOf, priceOf, type Quote } from './pay.ts'
import { createPayer, type Stock } from './payer.ts'
import { type Channel, keyOf, type ModelRecord } from './records.ts'
import type { Proven, RemoteLedger } from './remote.ts'
import type { Evidence } from './session.ts'
import { Standings } from './standing.ts'

/** Signed and not yet seen on the ledger: at most `limit` µ of the channel may go there, `amount` at least. */
export interface Promised {
  number: number
  limit: bigint
  amount: bigint
  untilMs: number
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
/** Numbers taken at once: a ring and those that may follow it. */
const numbersAtOnce = 4
/** Channels of an account that are looked at, newest first. */
const channelsMax = 16
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

  private async promisedOf(chain: Uint8Array, number: number, channel: Channel): Promise<bigint> {
    const name = nameOfChannel(chain, this.account, number)
    const now = this.nowMs()
    const open: Promised[] = []
    for (const one of await this.store.promises(name)) {
      if (one.untilMs <= now) this.store.forget(name, one.number)
      else open.push(one)
    }
    let waiting: Promised[] = []
    for (let at = 0; at < open.length; at += keysMax) {
      const some = open.slice(at, at + keysMax)
      const proven = await this.ledger.prove(some.map((one) => keyOf.session(sessionIdOf(chain, this.account, number, one.number))))
      some.forEach((one, i) => {
        // What the ledger has seen has left the deposit already.
        if (proven.entries[i]!.value) this.store.forget(name, one.number)
        else waiting = [...waiting, one]
      })
    }
    return (
      channel.deposit -
      freeOf(
        channel,
        waiting.map((one) => ({ limit: one.limit, reserved: false })),
      )
    )
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

  /** For PreparedNumbers. */
  takeNumbers(name: string, atLeast: number): Promise<number> {
    return this.store.takeNumbers(name, numbersAtOnce, atLeast)
  }
}

/** Numbers of sessions with their proofs, a few ahead. */
class PreparedNumbers {
  private ready: { number: number; evidence: Evidence }[] = []
  private filling: Promise<void> | null = null
  private readonly wallet: Wallet
  private readonly chain: Uint8Array
  private readonly channel: number
  private readonly name: string
  private readonly used = new Map<number, Evidence>()

  constructor(wallet: Wallet, chain: Uint8Array, channel: number, name: string) {
    this.wallet = wallet
    this.chain = chain
    this.channel = channel
    this.name = name
  }

  take(): { number: number; evidence: Evidence } | null {
    const next = this.ready.shift() ?? null
    if (next) this.used.set(next.number, next.evidence)
    if (this.ready.length < 2) void this.fill().catch(() => {})
    return next
  }

  giveBack(number: number): void {
    const evidence = this.used.get(number)
    if (evidence) this.ready.unshift({ number, evidence })
  }

  /** Renews the proofs of what is ready, and takes more numbers when few are left. */
  fill(): Promise<void> {
    this.filling ??= this.work().finally(() => {
      this.filling = null
    })
    return this.filling
  }

  private async work(): Promise<void> {
    let numbers = this.ready.map((one) => one.number)
    for (let atLeast = 0, tries = 0; numbers.length < 2 && tries < 16; tries++) {
      const first = await this.wallet.takeNumbers(this.name, atLeast)
      const fresh = Array.from({ length: numbersAtOnce }, (_, i) => first + i)
      // A store that was lost counts from zero again: the ledger knows which numbers were used.
      const proven = await this.prove(fresh)
      numbers = [...numbers, ...fresh.filter((_, i) => !proven.entries[i + 1]!.value)]
      atLeast = (first + numbersAtOnce) * (numbers.length === 0 ? 2 : 1)
    }
    const proven = await this.prove(numbers)
    const { header, entries } = proven
    const channel = entries[0]!
    const evidence = (i: number): Evidence => ({ header, channel: channel.value!, channelProof: channel.proof, absence: entries[i + 1]!.proof })
    // While this was asked, some may have been taken or come back: those keep the proofs they had.
    const renewed = new Map(numbers.map((number, i) => [number, evidence(i)]))
    const before = this.ready.filter((one) => !renewed.has(one.number))
    this.ready = [...numbers.filter((number) => !this.used.has(number)).map((number) => ({ number, evidence: renewed.get(number)! })), ...before]
    for (const number of numbers) if (this.used.has(number)) this.used.set(number, renewed.get(number)!)
  }

  private prove(numbers: readonly number[]): Promise<Proven> {
    const { account } = this.wallet
    return this.wallet.ledger.prove([
      keyOf.channel(account, this.channel),
      ...numbers.map((n) => keyOf.session(sessionIdOf(this.chain, account, this.channel, n))),
    ])
  }
}
