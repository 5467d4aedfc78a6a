// What the ledger says of the hosts among which a requester chooses: proven records, kept for a while, so that routing (protocol/peer/rings.ts) never waits for them.
import { fromHex } from '../protocol/hash.ts'
import type { PeerKey } from '../protocol/peer/machine.ts'
import type { Standing } from '../protocol/peer/payment.ts'
import { decodeRecordAt } from './light.ts'
import { keyOf } from './records.ts'
import type { RemoteLedger } from './remote.ts'
import { reputationScore } from './reputation.ts'

/** A standing changes with work that becomes final, which takes hours; a verdict should be known sooner. */
const keptMs = 600_000
/** Accounts in one request, with two records each. */
const accountsAtOnce = 24
/** Of all that a swarm names: others are strangers, as if the ledger knew nothing of them. */
const accountsMax = 240

export class Standings {
  private readonly known = new Map<PeerKey, { standing: Standing | null; atMs: number }>()
  private readonly ledger: Pick<RemoteLedger, 'prove'>
  private readonly nowMs: () => number

  constructor(ledger: Pick<RemoteLedger, 'prove'>, nowMs: () => number) {
    this.ledger = ledger
    this.nowMs = nowMs
  }

  /** Null: no claim of the account is final yet, or nobody looked. */
  of(account: PeerKey): Standing | null {
    return this.known.get(account)?.standing ?? null
  }

  /** Asks for those that are unknown or were asked for long ago. Throws LedgerError, and what the network throws; what was known stays. */
  async look(accounts: Iterable<PeerKey>): Promise<void> {
    const oldMs = this.nowMs() - keptMs
    const asked = [...new Set(accounts)].filter((one) => (this.known.get(one)?.atMs ?? -Infinity) <= oldMs).slice(0, accountsMax)
    for (let i = 0; i < asked.length; i += accountsAtOnce) {
      const some = asked.slice(i, i + accountsAtOnce)
      const keys = some.map((one) => ({ account: keyOf.account(fromHex(one)), reputation: keyOf.reputation(fromHex(one)) }))
      const proven = await this.ledger.prove(keys.flatMap(({ account, reputation }) => [account, reputation]))
      for (const [j, one] of some.entries()) {
        const reputation = decodeRecordAt(proven, keys[j].reputation)
        const stake = decodeRecordAt(proven, keys[j].account)?.stake ?? 0n
        const standing = reputation && { score: reputationScore(reputation, { stake }, proven.timeMs), lost: reputation.lost }
        this.known.delete(one)
        this.known.set(one, { standing, atMs: this.nowMs() })
      }
    }
    for (const one of this.known.keys()) {
      if (this.known.size <= 2 * accountsMax) break
      this.known.delete(one)
    }
  }
}
