// This browser's account as a page shows it: its key, what the ledger proves it holds, and what it sends. Signing happens here; the secret leaves this file only to be sealed or
// written down.
import { type Account, type Channel, keyOf } from '../../ledger/records.ts'
import type { Body } from '../../ledger/transaction.ts'
import { fromHex } from '../../protocol/hash.ts'
import { type AccountEvent, type AccountNow, type Ledger, Refused, type Sent } from '../ledger/client.ts'
import { LedgerFeed } from '../ledger/feed.svelte.ts'
import { Look } from '../ledger/look.svelte.ts'
import type { Proven } from '../ledger/proof.ts'
import { refusalText } from '../ledger/words.ts'
import { sealSecret, transferLink } from './transfer-code.ts'

export interface OwnChannel {
  number: number
  channel: Channel
}

export interface Holding {
  /** As of the last block; null before the first. */
  proven: Proven<Account> | null
  /** With what is pending, on the relay's word. */
  now: AccountNow
  channels: OwnChannel[]
  events: AccountEvent[]
  /** The faucet is open, and this account has had nothing of it. */
  grant: bigint | null
}

/** Channels that a page lists; more than one is rare. */
const channelsMax = 16

export class OwnAccount {
  /** 64 hex digits; null: this browser has no key yet. */
  key = $state<string | null>(null)
  /** The key is looked for: before, `key` says nothing. */
  known = $state(false)
  kept = $state(true)
  readonly ledger: Ledger
  readonly feed: LedgerFeed
  readonly holding = new Look<Holding>()
  private secret: Uint8Array | null = null

  constructor(ledger: Ledger) {
    this.ledger = ledger
    this.feed = new LedgerFeed(ledger, () => this.key)
  }

  /** `make`: a new key where there is none. */
  async open(make: boolean): Promise<void> {
    const { ownAccount } = await import('../peer/identity.ts')
    const own = await ownAccount(make)
    this.secret = own?.secret ?? null
    this.key = own?.key ?? null
    this.kept = own?.kept ?? true
    this.known = true
  }

  /** Looks again at what it holds. */
  look(): Promise<void> {
    return this.holding.at(() => this.ask())
  }

  private async ask(): Promise<Holding> {
    const { ledger, key } = this
    const id = fromHex(key!)
    const [now, events, parameters, proven] = await Promise.all([
      ledger.account(key!),
      ledger.events(key!),
      ledger.parameters(),
      this.feed.height > 0 ? ledger.record(keyOf.account(id)) : null,
    ])
    const numbers = Array.from({ length: Math.min(channelsMax, proven?.record?.channels ?? 0) }, (_, i) => proven!.record!.channels - 1 - i)
    const records = await Promise.all(numbers.map((number) => ledger.record(keyOf.channel(id, number))))
    const channels = numbers.flatMap((number, i) => (records[i].record ? [{ number, channel: records[i].record }] : []))
    return { proven, now, channels, events: events.list, grant: parameters.faucet.open && !now.granted ? parameters.faucet.grant : null }
  }

  /** Signs and sends. Throws with a sentence. */
  async send(body: Body): Promise<Sent> {
    if (!this.secret) throw new Error('This browser has no account yet.')
    try {
      const sent = await this.ledger.submit(this.secret, body)
      void this.look()
      return sent
    } catch (error) {
      throw error instanceof Refused ? new Error(refusalText(error.code, error.message)) : error
    }
  }

  /** Throws with a sentence. */
  async grant(): Promise<bigint> {
    try {
      const amount = await this.ledger.grant(this.key!)
      void this.look()
      return amount
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      if (error.code === 'exists') throw new Error('This account had its grant already.')
      if (error.code === 'busy')
        throw new Error('Too many grants were asked for from your network today. Try again tomorrow, or ask somebody to send you credits.')
      if (error.code === 'role') throw new Error('This relay grants nothing: only the operator of the ledger can.')
      throw new Error(refusalText(error.code, error.message))
    }
  }

  /** The secret for a second device, as a link that `code` opens. */
  async seal(code: string): Promise<string> {
    return transferLink(location.origin, await sealSecret(this.secret!, code))
  }
}
