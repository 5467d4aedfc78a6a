// A host in a process of its own for the bench: `node host.ts '{"relay":…,"home":…,"modelId":…,"from":0,"to":10,"threads":1,…}'`. Prints {"ready":true,"key":…}.

import { factsOf } from '../../../protocol/peer/facts.ts'
import { createNodeEngines } from '../../../relay/mesh/engines.ts'
import { openStore } from '../../../relay/store.ts'
import { createNodeWasmEngine } from '../../../relay/wasm-thread.ts'
import { localPeer } from '../../mesh/local-swarm.ts'
import { type Alteration, type AlteringEngines, alteringEngines } from './altering.ts'

export interface HostConfig {
  relay: string
  home: string
  modelId: string
  from: number
  to: number
  threads: number
  listen?: string[]
  announce?: string[]
  sessionsMax?: number
  /** Computes in this process, and wrongly when it is told to (altering.ts). */
  alters?: boolean
}

/** What the bench asks of this process; one answer each. */
export type HostMessage = 'statistics' | 'effective' | { arm: Alteration | null }

const config = JSON.parse(process.argv[2]!) as HostConfig
const facts = factsOf(openStore(config.home).source(config.modelId).manifest, config.modelId)
const altering: AlteringEngines | null = config.alters
  ? alteringEngines(openStore(config.home).source(config.modelId), (source, segment) =>
      createNodeWasmEngine(source, { segment, kvTokensMax: 2048, threads: config.threads, single: true }),
    )
  : null
const peer = await localPeer({
  relays: [config.relay],
  engines: altering ?? createNodeEngines({ home: config.home, threads: config.threads, memoryBytes: 1 << 30 }),
  lend: { facts, segment: { from: config.from, to: config.to } },
  ...(config.listen ? { listen: config.listen } : {}),
  ...(config.announce ? { announce: config.announce } : {}),
  ...(config.sessionsMax ? { sessionsMax: config.sessionsMax } : {}),
})
/** Batches by their rows since the beginning. */
const batches = new Map<number, { count: number; ms: number }>()
peer.shell.subscribe((notice) => {
  if (notice.of !== 'host' || notice.what !== 'computed') return
  const one = batches.get(notice.rows) ?? { count: 0, ms: 0 }
  one.count++
  one.ms += notice.ms
  batches.set(notice.rows, one)
})
await peer.notice((notice) => notice.of === 'host' && notice.what === 'state' && notice.state === 'serving')
console.log(JSON.stringify({ ready: true, key: peer.key }))
// Ends with its parent, and tells its network figures when asked.
process.on('message', async (message: HostMessage) => {
  if (message === 'statistics') {
    const cpu = process.cpuUsage()
    const main = process.threadCpuUsage()
    const cpuMs = { cpuMs: (cpu.user + cpu.system) / 1000, mainCpuMs: (main.user + main.system) / 1000 }
    return process.send?.({ statistics: { ...peer.network.statistics(), ...cpuMs, batches: [...batches] }, relays: peer.network.relays() })
  }
  if (message === 'effective') return process.send?.({ effective: altering?.effective() ?? false })
  await altering?.arm(message.arm)
  process.send?.({ armed: true })
})
process.once('disconnect', () => process.exit())
process.once('SIGTERM', () => process.exit())
