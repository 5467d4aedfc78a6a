// A model's manifest as the transaction that registers it.
import type { ModelSplit } from '../../ledger/genesis.ts'
import type { BodyOf } from '../../ledger/transaction.ts'
import { constTablesRoot, encodeCore, shardListHashOf, tensorTableRootOf } from '../../protocol/model/identity.ts'
import type { Manifest } from '../../protocol/model/manifest.ts'

/** `price` in µ for a token of a whole-model answer. */
export const registrationOf = (manifest: Manifest, price: bigint, split: ModelSplit, trainer: Uint8Array, auditRate = 500): BodyOf<'model.register'> => ({
  kind: 'model.register',
  core: encodeCore(manifest.core),
  tensorTableRoot: tensorTableRootOf(manifest.tensors),
  constTablesRoot: constTablesRoot(),
  shardListHash: shardListHashOf(manifest.shards),
  price,
  split,
  trainer,
  auditRate,
})
