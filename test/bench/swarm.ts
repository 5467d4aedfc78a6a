// `meadow bench swarm`: what the mesh promises, measured on this machine with real processes and real connections.
// `node test/bench/swarm.ts [--json] [--only ring,delay,…] [--seed 1] [--kills 50]`. With --json the last line is one object { bars }. What is said on the way goes to stderr.
import { parseArgs } from 'node:util'
// @ts-expect-error plain JavaScript without types
import { ensureBuilt } from '../../scripts/bootstrap.mjs'
import type { Bar } from './bars/bar.ts'
import { alterationBars } from './swarm/alterations.ts'
import { benchModel } from './swarm/fleet.ts'
import { killBars } from './swarm/kills.ts'
import { peerBars } from './swarm/peers.ts'
import { relayedBars } from './swarm/relayed.ts'
import { delayBars, ringBars, sessionBars } from './swarm/ring.ts'
import { corruptBars } from './swarm/seeders.ts'
import { tabFirstBars } from './swarm/tab-first.ts'
import { tabKillBars } from './swarm/tab-kills.ts'
import { tabSeedingBars } from './swarm/tab-seeding.ts'
import { tabTaskBars } from './swarm/tab-tasks.ts'
import { barTable } from './table.ts'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    only: { type: 'string' },
    seed: { type: 'string' },
    kills: { type: 'string' },
    peers: { type: 'string' },
    alterations: { type: 'string' },
    'process-alterations': { type: 'string' },
    'tab-kills': { type: 'string' },
  },
})
const seed = Number(values.seed ?? 1)
const say = (line: string): void => console.error(line)
const only = values.only?.split(',')
// Pages are what tabs open; a folder of one's own needs no build.
await ensureBuilt({ pages: !process.env.MEADOW_PAGES && (!only || only.some((name) => name.startsWith('tab-'))) })
const model = await benchModel()

const parts: Record<string, () => Promise<Bar[]>> = {
  ring: () => ringBars(model, say),
  delay: () => delayBars(model, say),
  sessions: () => sessionBars(model, say),
  kills: () => killBars(model, Number(values.kills ?? 50), seed, say),
  relayed: () => relayedBars(model, say),
  peers: () => peerBars(model, Number(values.peers ?? 300), say),
  alterations: () => alterationBars(model, Number(values.alterations ?? 1000), Number(values['process-alterations'] ?? 20), seed, say),
  seeders: () => corruptBars(model, seed, say),
  'tab-seeding': () => tabSeedingBars(model, say),
  'tab-first': () => tabFirstBars(model, say),
  'tab-tasks': () => tabTaskBars(model, say),
  'tab-kills': () => tabKillBars(model, Number(values['tab-kills'] ?? 5), seed, say),
}
for (const name of only ?? []) if (!(name in parts)) throw new Error(`--only knows ${Object.keys(parts).join(', ')}, not ${name}`)

process.once('SIGTERM', () => process.exit(143))
process.once('SIGINT', () => process.exit(130))
const bars: Bar[] = []
const failures: string[] = []
for (const [name, body] of Object.entries(parts)) {
  if (only && !only.includes(name)) continue
  say(`— ${name}`)
  try {
    bars.push(...(await body()))
  } catch (error) {
    // A part that fails costs its bars, not the others'.
    failures.push(`${name}: ${error instanceof Error ? (process.env.BENCH_DEBUG ? error.stack : error.message) : error}`)
    say(failures.at(-1)!)
  }
}
if (bars.length > 0) console.log(`\n${barTable(bars)}`)
for (const failure of failures) console.log(`\nnot measured: ${failure}`)
if (values.json) console.log(JSON.stringify({ bars, failures }))
// libp2p's and libdatachannel's threads must not hold a finished bench.
process.exit(failures.length === 0 && bars.every((bar) => bar.ok) ? 0 : 1)
