// Processes of `meadow demo fraud` (the judge is judge-process.ts):   node relay/demo/child.ts relay|host|auditor|griefer JSON
// Each has a home of its own with its key; only host, auditor and griefer are told where models lie. They print lines of JSON and end with their parent.
import { join } from 'node:path'
import { defaultGenesis, type Parameters } from '../../ledger/genesis.ts'
import { fromHex } from '../../protocol/hash.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { ledgerRoutes } from '../ledger/api.ts'
import { LedgerNode } from '../ledger/node.ts'
import { Pins } from '../ledger/pins.ts'
import { readSecret } from '../mesh/identity.ts'
import { createApp, startServer } from '../server.ts'
import { openStore } from '../store.ts'
import type { AgentNotice } from '../watch/agent.ts'
import { heldModel, mindsOf } from '../watch/held.ts'
import { runAgent } from '../watch/start.ts'
import { type Alteration, blind, CheatMind, stubborn } from './cheat.ts'
import { demoParameters } from './parameters.ts'

export interface ChildSetup {
  home: string
  /** Address of the relay; not for the relay. */
  relay?: string
  /** $MEADOW_HOME with the models; not for the relay. */
  models?: string
  /** Whom genesis gives how much, µ: account in hex. */
  allocations?: [account: string, amount: string][]
  /** A host that alters this; null: an honest one. */
  alteration?: Alteration | null
  /** Model id. */
  model?: string
  threads?: number
  /** Folder of the built pages. */
  pages?: string
  port?: number
}

const print = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`)
const ended = new AbortController()
process.once('disconnect', () => ended.abort())
for (const name of ['SIGTERM', 'SIGINT'] as const) process.on(name, () => ended.abort())

async function relay({ home, allocations = [], pages = '', port = 0 }: ChildSetup): Promise<void> {
  const secret = await readSecret(home, 'relay')
  const operator = publicKeyOf(secret)
  const base = defaultGenesis(operator, Date.now(), 'meadow-demo')
  const given = allocations.map(([account, amount]) => ({ account: fromHex(account), amount: BigInt(amount) }))
  const parameters: Parameters = demoParameters
  const folder = join(home, 'ledger')
  const node = new LedgerNode({ folder, secret, genesis: { ...base, allocations: [...base.allocations, ...given], parameters } })
  const pins = new Pins(folder)
  const store = openStore(home)
  const app = createApp({ store, pages, version: 'demo', ledger: ledgerRoutes(node, { pins, operatorSecret: secret }) })
  const server = await startServer(app, port, '127.0.0.1')
  print({ type: 'listening', address: `http://127.0.0.1:${server.port}/`, models: (await store.list()).length })
  await new Promise<void>((resolve) => ended.signal.addEventListener('abort', () => resolve(), { once: true }))
  await server.close()
  node.close()
  pins.close()
}

async function agent(role: 'host' | 'auditor' | 'griefer', setup: ChildSetup): Promise<void> {
  const { home, models = home, relay: address, alteration, model: id = '', threads = 1 } = setup
  const store = openStore(models)
  const honest = mindsOf(store, threads, [id])
  const model = (await store.list()).find((one) => one.id === id)!
  const cheat = alteration && new CheatMind(heldModel(store, model), alteration, threads, (done, right) => print({ type: 'altered', ...done, right }))
  await runAgent({
    home,
    ...(address === undefined ? {} : { relay: address }),
    secret: await readSecret(home, 'host'),
    mindOf: async (wanted) => {
      if (wanted === id && cheat) return cheat
      const mind = await honest(wanted)
      return mind && role === 'griefer' ? blind(mind) : mind
    },
    solve: role === 'host' ? { feeMin: 0n } : false,
    share: role === 'host' ? null : 1,
    ...(cheat ? { strategy: stubborn } : {}),
    onNotice: (notice: AgentNotice) => print(notice),
    signal: ended.signal,
  })
}

const [role, text] = process.argv.slice(2)
const setup = JSON.parse(text) as ChildSetup
try {
  if (role === 'relay') await relay(setup)
  else await agent(role as 'host', setup)
} catch (error) {
  if (!ended.signal.aborted) {
    print({ type: 'crashed', reason: error instanceof Error ? (error.stack ?? error.message) : String(error) })
    process.exitCode = 1
  }
}
process.exit()
