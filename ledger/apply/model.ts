// The registry: who owns a model, what it costs, who is paid with every answer. The name of a model is the hash of what it is, so nobody can register other bytes
// under it; being first makes one its owner.
import { hashTagged, hex, lengthPrefixed } from '../../protocol/hash.ts'
import { decodeCore } from '../../protocol/model/identity.ts'
import { type Context, emit } from '../context.ts'
import type { ModelSplit } from '../genesis.ts'
import { keyOf } from '../records.ts'
import { existing, onlyFor, type Rule, refuse } from './rule.ts'

function checkShares(context: Context, split: ModelSplit, auditRate: number): void {
  const { modelShareMax, auditRateNew } = context.parameters
  if (split.owner + split.trainer > modelShareMax)
    throw refuse('range', `owner and trainer ask for ${split.owner + split.trainer} of 10,000, at most ${modelShareMax} are allowed`)
  if (auditRate > auditRateNew) throw refuse('range', `the audit rate is ${auditRate} of 10,000, at most ${auditRateNew} are allowed`)
}

/** H("model", H("core", length, core), tensorTableRoot, constTablesRoot, shardListHash): specification section 9. */
export const modelIdFrom = (core: Uint8Array, tensorTableRoot: Uint8Array, constTablesRoot: Uint8Array, shardListHash: Uint8Array): Uint8Array =>
  hashTagged('model', hashTagged('core', lengthPrefixed(core)), tensorTableRoot, constTablesRoot, shardListHash)

export const modelRegister: Rule<'model.register'> = (context, body, { from }) => {
  checkShares(context, body.split, body.auditRate)
  let layers: number
  try {
    layers = decodeCore(body.core).layers
  } catch (error) {
    throw refuse('encoding', `the core is no model's: ${error instanceof Error ? error.message : 'unreadable'}`)
  }
  const id = modelIdFrom(body.core, body.tensorTableRoot, body.constTablesRoot, body.shardListHash)
  if (context.state.get(keyOf.model(id))) throw refuse('exists', `model ${hex(id)} is registered already`)
  const { core, tensorTableRoot, constTablesRoot, shardListHash, price, split, trainer, auditRate } = body
  context.state.set(keyOf.model(id), {
    owner: from,
    trainer,
    price,
    split,
    auditRate,
    layers,
    core,
    tensorTableRoot,
    constTablesRoot,
    shardListHash,
    disputes: 0,
  })
  emit(context, 'created', from, 0n, id)
}

export const modelTransfer: Rule<'model.transfer'> = (context, { model, to }, { from }) => {
  const one = existing(context, keyOf.model(model), 'model')
  onlyFor(one.owner, from, 'the owner of the model')
  context.state.set(keyOf.model(model), { ...one, owner: to })
}

/** Running sessions and jobs keep what they agreed on, except for the shares, which are those of the day they are paid. */
export const modelSetFee: Rule<'model.setFee'> = (context, { model, price, split, trainer, auditRate }, { from }) => {
  const one = existing(context, keyOf.model(model), 'model')
  onlyFor(one.owner, from, 'the owner of the model')
  checkShares(context, split, auditRate)
  context.state.set(keyOf.model(model), { ...one, price, split, trainer, auditRate })
}
