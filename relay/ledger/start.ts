// The ledger of a fresh start: this relay orders it and is its operator. Its key is the relay's own; genesis is made once, and models that are installed here are
// registered, so that sessions about them can be paid.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Hono } from 'hono'
import { defaultGenesis, leastFee } from '../../ledger/genesis.ts'
import { keyOf } from '../../ledger/records.ts'
import { signTransaction, sizeOf } from '../../ledger/transaction.ts'
import { fromHex } from '../../protocol/hash.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { modelIdOf } from '../../protocol/model/identity.ts'
import type { Manifest } from '../../protocol/model/manifest.ts'
import { readSecret } from '../mesh/identity.ts'
import { type LedgerRouteOptions, ledgerRoutes } from './api.ts'
import { LedgerNode } from './node.ts'
import { Pins } from './pins.ts'
import { registrationOf } from './registration.ts'

/** µ for a token of an answer: 100 tokens cost a tenth of a credit. */
export const defaultPrice = 1000n
/** Parts of 10,000 of a fee for who registered a model: the relay that brought it. */
const defaultOwnerShare = 300

export interface RunningLedger {
  node: LedgerNode
  /** To be mounted under /ledger. */
  routes: Hono
  /** Registers a model in the operator's name unless somebody has. Resolves when it is durable. */
  register(manifest: Manifest): Promise<void>
  close(): void
}

/** Opens or begins the ledger of $MEADOW_HOME/ledger. Throws RelayError when another relay of this home is running. */
export async function startLedger(home: string, options: LedgerRouteOptions = {}): Promise<RunningLedger> {
  const secret = await readSecret(home, 'relay')
  const operator = publicKeyOf(secret)
  const folder = join(home, 'ledger')
  const isNew = !existsSync(join(folder, 'ledger.sqlite'))
  const node = new LedgerNode({ folder, secret, ...(isNew ? { genesis: defaultGenesis(operator, Date.now()) } : {}) })
  const register = async (manifest: Manifest): Promise<void> => {
    if (node.get(keyOf.model(fromHex(modelIdOf(manifest))))) return
    const body = registrationOf(manifest, defaultPrice, { owner: defaultOwnerShare, trainer: 0 }, operator)
    const { nonce } = node.chain.state.account(operator)
    await node.submit(signTransaction(secret, node.name, nonce, leastFee(node.chain.parameters, sizeOf(body, nonce, 1n << 40n)), body))
  }
  const pins = new Pins(folder)
  const close = (): void => {
    node.close()
    pins.close()
  }
  return { node, routes: ledgerRoutes(node, { operatorSecret: secret, pins, ...options }), register, close }
}
