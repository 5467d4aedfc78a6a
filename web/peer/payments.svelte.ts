// Money of this page, as rune state: what an answer would cost, whether it is paid, what came in and went out. Loads nothing of the ledger before it is asked for.
import { hex } from '../../protocol/hash.ts'
import type { ModelFacts, Notice } from '../../protocol/peer/machine.ts'
import type { Budget, Money, Settled, TabEarning, Unfunded } from './payment-work.ts'

export interface PaymentQuote {
  /** The most it can cost, µ; the unused part comes back. */
  limit: bigint
  perToken: bigint
  fee: bigint
}

export interface OpenChannel {
  number: number
  deposit: bigint
  /** Of the deposit: what open answers may still take. */
  promised: bigint
  sessions: number
  closesMs: number | null
}

export interface AccountState {
  /** 64 hex digits. */
  id: string
  exists: boolean
  granted: boolean
  balance: bigint
  stake: bigint
  locked: bigint
  held: bigint
  channels: OpenChannel[]
}

/** µ as numbers: sums of a page are far below 2^53. */
export type PaymentEvent =
  | {
      kind: 'paid'
      atMs: number
      modelId: string
      paid: number
      limit: number
      returned: number
      tokens: number
      hosts: number
      channel: number
      sessions: string[]
    }
  | { kind: 'earned'; atMs: number; modelId: string; earned: number; tokens: number; session: string; state: 'promised' | 'settled' }

export type Consent = (what: { kind: 'grant' } | { kind: 'channel'; deposit: bigint }) => Promise<boolean>

const remembered = 'meadow-pay'
const historyMax = 100
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

export class Payments {
  /** The relay has a ledger; null before it was asked. */
  available = $state<boolean | null>(null)
  /** This page pays for answers of the swarm. */
  on = $state(readOn())
  account = $state<AccountState | null>(null)
  /** Newest first. */
  history = $state<PaymentEvent[]>([])
  problem = $state('')
  /** Asked before a grant is taken or a channel opened. */
  consent: Consent = async () => true
  private work: Promise<typeof import('./payment-work.ts')> | null = null
  private money: Promise<Money | null> | null = null
  private readonly listeners = new Set<(event: PaymentEvent) => void>()
  private readonly perToken = new Map<string, bigint>()

  private load(): Promise<typeof import('./payment-work.ts')> {
    this.work ??= import('./payment-work.ts')
    return this.work
  }

  private async open(make: boolean): Promise<Money | null> {
    const { openMoney } = await this.load()
    const found = (await this.money) ?? null
    if (found) return found
    this.money = openMoney(make)
    return this.money
  }

  setOn(on: boolean): void {
    this.on = on
    try {
      localStorage.setItem(remembered, on ? '1' : '0')
    } catch {
      // Storage is forbidden: for this visit, then.
    }
  }

  subscribe(listener: (event: PaymentEvent) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  private tell(event: PaymentEvent): void {
    this.history = [event, ...this.history].slice(0, historyMax)
    for (const listener of this.listeners) listener(event)
  }

  /** Asks the relay for its ledger, and what this browser's account holds there. Throws nothing: `problem` says it. */
  async refresh(): Promise<void> {
    try {
      const { ledger } = await this.load()
      await ledger.chain()
      this.available = true
      this.problem = ''
      const money = await this.open(false)
      if (!money) return
      const { wallet } = money
      const now = await wallet.ledger.account(wallet.account)
      const channels = await wallet.channels()
      this.account = {
        id: hex(wallet.account),
        exists: now.nonce > 0 || now.balance > 0n || now.granted,
        granted: now.granted,
        balance: now.balance,
        stake: now.stake,
        locked: now.locked,
        held: now.held,
        channels: channels.map(({ number, deposit, promised, sessions, closesMs }) => ({ number, deposit, promised, sessions, closesMs })),
      }
    } catch (error) {
      if (this.available === null) this.available = false
      this.problem = (error as Error).message
    }
  }

  /** What an answer of at most `maxTokens` tokens may cost; null when the relay has no ledger or it does not know the model. */
  async quote(modelId: string, maxTokens: number): Promise<PaymentQuote | null> {
    try {
      return await (await this.load()).quote(modelId, maxTokens)
    } catch {
      return null
    }
  }

  /** The newcomer's grant. Throws with a sentence. */
  async grant(): Promise<void> {
    const { wallet } = (await this.open(true))!
    await wallet.ledger.grant(wallet.account)
    await this.refresh()
  }

  async topUp(number: number, amount: bigint): Promise<void> {
    const { wallet, secret } = (await this.open(true))!
    await wallet.ledger.submit(secret, { kind: 'channel.topUp', number, amount })
    await this.refresh()
  }

  async closeChannel(number: number): Promise<void> {
    const { wallet, secret } = (await this.open(true))!
    await wallet.ledger.submit(secret, { kind: 'channel.close', owner: wallet.account, number, session: null })
    await this.refresh()
  }

  async reclaim(number: number): Promise<void> {
    const { wallet, secret } = (await this.open(true))!
    await wallet.ledger.submit(secret, { kind: 'channel.reclaim', number })
    await this.refresh()
  }

  // For the requester (requester.svelte.ts).

  /** A budget for one question, with a grant and a channel when they are needed and agreed to. Null: the answer is asked for nothing; `problem` says why when something failed. */
  async budget(modelId: string, maxTokens: number): Promise<Budget | null> {
    if (!this.on) return null
    try {
      const { wallet } = (await this.open(true))!
      const quote = await wallet.quote(modelId, maxTokens)
      if (!quote || quote.perToken === 0n) return null
      const { fundedBudget } = await this.load()
      const opened = (): void => void this.refresh()
      return await fundedBudget(wallet, modelId, quote.limit, { consent: (what) => this.consent(what), pause, opened })
    } catch (error) {
      const why = (error as Error).name === 'Unfunded' ? (error as Unfunded).why : null
      // Who has said no needs not be told.
      if (why === 'grant' || why === 'channel') return null
      this.problem = why === null ? (error as Error).message : `Asked for nothing: ${(error as Error).message}`
      return null
    }
  }

  /** The requester's word that an answer was paid. */
  paid(modelId: string, channel: number, notice: Extract<Notice, { what: 'paid' }>): void {
    const { paid, limit, tokens, legs } = notice
    const hosts = legs.at(-1)?.claims.length ?? 0
    this.tell({
      kind: 'paid',
      atMs: Date.now(),
      modelId,
      paid,
      limit,
      returned: limit - paid,
      tokens,
      hosts,
      channel,
      sessions: legs.map((leg) => leg.session),
    })
    void this.refresh()
  }

  // For the host (host.svelte.ts).

  /** Lets this tab be paid for what it lends. Null where a browser keeps nothing: it serves for nothing then. */
  async earn(models: () => ModelFacts[]): Promise<TabEarning | null> {
    try {
      const { earn } = await this.load()
      const money = await this.open(true)
      return (
        money &&
        earn(
          money,
          () => models().map((one) => one.modelId),
          (settled) => this.settled(settled),
        )
      )
    } catch {
      return null
    }
  }

  /** The machine's word that a voucher is kept: this host's part of it, before the shares of others. */
  async vouched(notice: Extract<Notice, { what: 'vouched' }>, share: number): Promise<void> {
    const { modelId, tokens, leg } = notice
    let price = this.perToken.get(modelId)
    if (price === undefined) {
      price = (await this.quote(modelId, 1))?.perToken ?? 0n
      this.perToken.set(modelId, price)
    }
    const earned = Math.floor(Number(price) * tokens * share)
    const before = this.history.find((one) => one.kind === 'earned' && one.session === leg)
    const event: PaymentEvent = { kind: 'earned', atMs: Date.now(), modelId, earned, tokens, session: leg, state: 'promised' }
    if (before) this.history = this.history.filter((one) => one !== before)
    this.tell(event)
  }

  private settled({ leg, by, amount, kept }: Settled): void {
    if (by === 'nobody') return
    const { terms } = kept.session
    const { from, to } = terms.hosts[kept.host]!
    const earned = Number((amount * BigInt(to - from)) / BigInt(terms.hosts.at(-1)!.to))
    const before = this.history.find((one) => one.kind === 'earned' && one.session === leg)
    this.history = this.history.filter((one) => one !== before)
    const modelId = hex(terms.model)
    this.tell({ kind: 'earned', atMs: Date.now(), modelId, earned, tokens: before?.tokens ?? 0, session: leg, state: 'settled' })
    void this.refresh()
  }
}

function readOn(): boolean {
  try {
    return localStorage.getItem(remembered) === '1'
  } catch {
    return false
  }
}

/** The page's one. */
export const payments = new Payments()
