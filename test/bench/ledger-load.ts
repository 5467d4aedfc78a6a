// Accounts and transactions for measuring the ledger.
import { createHash, hash } from 'node:crypto'
import { defaultGenesis, type Genesis } from '../../ledger/genesis.ts'
import { signTransaction } from '../../ledger/transaction.ts'
import { hashTagged, setSha256, u32 } from '../../protocol/hash.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import '../../relay/mesh/native-keys.ts'

setSha256(
  (bytes) => hash('sha256', bytes, 'buffer'),
  () => createHash('sha256'),
)

export interface LoadAccount {
  secret: Uint8Array
  id: Uint8Array
}

/** The first one is the operator. */
export const accountsOf = (count: number): LoadAccount[] =>
  Array.from({ length: count }, (_, i) => {
    const secret = hashTagged('bench-account', u32(i))
    return { secret, id: publicKeyOf(secret) }
  })

export const genesisOf = (people: readonly LoadAccount[], change: Partial<Genesis> = {}): Genesis => ({
  ...defaultGenesis(people[0].id, 1_790_000_000_000, 'meadow-bench'),
  allocations: people.map(({ id }) => ({ account: id, amount: 10_000_000_000n })),
  ...change,
})

/** To somebody else, even when `to` is the sender. */
export const transferOf = (chain: Uint8Array, from: LoadAccount, nonce: number, to: Uint8Array): Uint8Array =>
  signTransaction(from.secret, chain, nonce, 1000n, {
    kind: 'transfer',
    to: Buffer.compare(to, from.id) === 0 ? hashTagged('bench-other', to) : to,
    amount: 5n,
    note: new Uint8Array(0),
  })
