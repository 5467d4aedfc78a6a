// SIGKILL at random moments under load: no acknowledged transaction may be lost, the next process must be ready in 5 s, and all roots must follow from the log.
//   node test/bench/ledger-kill.ts --kills 200
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { random } from '../../protocol/engine/specimen.ts'
import { hex } from '../../protocol/hash.ts'
import { replayStore } from '../../relay/ledger/archive.ts'
import { LedgerNode } from '../../relay/ledger/node.ts'
import { atMost, type Bar } from './bars/bar.ts'
import { accountsOf, genesisOf } from './ledger-load.ts'

export interface KillResult {
  kills: number
  acknowledged: number
  lost: number
  /** Slowest start of the node, without starting Node itself. */
  restartMsMax: number
  blocks: number
  transactions: number
  /** Whether a replay of the whole log reaches the root on disk. */
  rootsEqual: boolean
}

interface Ready {
  ms: number
  nonces: number[]
}

/** Lets one process live, then kills it. `killAt` counts acknowledgements of this life. */
async function oneLife(folder: string, seed: number, killAt: number, delayMs: number, acknowledged: number[]): Promise<{ ready: Ready; count: number }> {
  const child = spawn(process.execPath, [fileURLToPath(new URL('ledger-kill-child.ts', import.meta.url)), folder, String(seed)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  let ready: Ready | null = null
  let count = 0
  for await (const line of createInterface({ input: child.stdout })) {
    // The last line may be torn.
    const said = line.endsWith('}') ? (JSON.parse(line) as { ready?: Ready; acknowledged?: [number, number] }) : {}
    if (said.ready) ready = said.ready
    if (said.acknowledged) {
      const [account, nonce] = said.acknowledged
      acknowledged[account] = Math.max(acknowledged[account], nonce + 1)
      // What is still in the pipe after the kill was acknowledged too, and is read to its end.
      if (++count === killAt) setTimeout(() => child.kill('SIGKILL'), delayMs)
    }
  }
  await gone
  if (!ready) throw new Error('the ledger did not start')
  return { ready, count }
}

export async function killTest(kills: number, seed = 1): Promise<KillResult> {
  const folder = mkdtempSync(join(tmpdir(), 'meadow-kill-'))
  const next = random(seed)
  const people = accountsOf(32)
  const acknowledged = people.map(() => 0)
  const result: KillResult = { kills: 0, acknowledged: 0, lost: 0, restartMsMax: 0, blocks: 0, transactions: 0, rootsEqual: false }
  try {
    const lostIn = (nonces: readonly number[]): number => acknowledged.reduce((sum, nonce, i) => sum + Math.max(0, nonce - nonces[i]), 0)
    for (let i = 0; i < kills; i++) {
      const before = [...acknowledged]
      const { ready, count } = await oneLife(folder, next(), 1 + (next() % 600), next() % 20, acknowledged)
      result.kills++
      result.acknowledged += count
      result.lost += before.reduce((sum, nonce, account) => sum + Math.max(0, nonce - ready.nonces[account]), 0)
      result.restartMsMax = Math.max(result.restartMsMax, ready.ms)
    }
    const node = new LedgerNode({ folder, secret: people[0].secret, genesis: genesisOf(people) })
    result.lost += lostIn(people.map(({ id }) => node.chain.state.account(id).nonce))
    node.seal()
    const replayed = replayStore(node.store)
    result.blocks = replayed.blocks
    result.transactions = replayed.transactions
    result.rootsEqual = replayed.root === hex(node.chain.state.root())
    node.close()
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  return result
}

export const killBars = (result: KillResult): Bar[] => [
  atMost(`acknowledged transactions lost in ${result.kills} kills`, result.lost, 'transactions', 0),
  atMost('restart after a kill', result.restartMsMax, 'ms', 5000),
  atMost('replays with another root', result.rootsEqual ? 0 : 1, 'replays', 0),
]

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { values } = parseArgs({ options: { json: { type: 'boolean' }, kills: { type: 'string', default: '200' }, seed: { type: 'string', default: '1' } } })
  const result = await killTest(Number(values.kills), Number(values.seed))
  const bars = killBars(result)
  console.log(JSON.stringify({ ...result, bars }))
  process.exitCode = bars.every((bar) => bar.ok) ? 0 : 1
}
