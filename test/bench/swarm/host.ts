// A host in a process of its own for the bench: `node host.ts '{"relay":…,"home":…,"modelId":…,"from":0,"to":10,"threads":1,…}'`. Prints {"ready":true,"key":…}.

import { factsOf } from '../../../protocol/peer/facts.ts'
import { createNodeEngines } from '../../../relay/mesh/engines.ts'
import { openStore } from '../../../relay/store.ts'
import { localPeer } from '../../mesh/local-swarm.ts'

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
}

const config = JSON.parse(process.argv[2]!) as HostConfig
const facts = factsOf(openStore(config.home).source(config.modelId).manifest, config.modelId)
const peer = await localPeer({
  relays: [config.relay],
  engines: createNodeEngines({ home: config.home, threads: config.threads, memoryBytes: 1 << 30 }),
  lend: { facts, segment: { from: config.from, to: config.to } },
  ...(config.listen ? { listen: config.listen } : {}),
  ...(config.announce ? { announce: config.announce } : {}),
  ...(config.sessionsMax ? { sessionsMax: config.sessionsMax } : {}),
})
await peer.notice((notice) => notice.of === 'host' && notice.what === 'state' && notice.state === 'serving')
console.log(JSON.stringify({ ready: true, key: peer.key }))
// Ends with its parent, and tells its network figures when asked.
process.on('message', () => process.send?.({ statistics: peer.network.statistics(), relays: peer.network.relays() }))
process.once('disconnect', () => process.exit())
process.once('SIGTERM', () => process.exit())
