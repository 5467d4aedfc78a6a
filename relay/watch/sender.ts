// One account's transactions, one after another: with the next nonce, and again when another process of the same account was faster.
import type { Body } from '../../ledger/transaction.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { type Acknowledged, type LedgerClient, RefusedError } from '../ledger/client.ts'

/** Processes that share an account are few; more tries than this mean something else. */
const triesMax = 8

export class Sender {
  readonly client: LedgerClient
  readonly secret: Uint8Array
  readonly account: Uint8Array
  private last: Promise<unknown> = Promise.resolve()

  constructor(client: LedgerClient, secret: Uint8Array) {
    this.client = client
    this.secret = secret
    this.account = publicKeyOf(secret)
  }

  /** Durable when it resolves. Throws RefusedError, RelayError. */
  send(body: Body): Promise<Acknowledged & { fee: bigint }> {
    const turn = this.last.then(() => this.attempt(body))
    this.last = turn.catch(() => {})
    return turn
  }

  private async attempt(body: Body): Promise<Acknowledged & { fee: bigint }> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.client.submit(this.secret, body)
      } catch (error) {
        if (!(error instanceof RefusedError && error.code === 'nonce') || tries >= triesMax) throw error
      }
    }
  }

  async balance(): Promise<bigint> {
    return BigInt((await this.client.account(this.account)).balance)
  }
}
