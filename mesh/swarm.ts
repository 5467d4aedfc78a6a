// What the swarm can do, read from presence: which layers of which models are held by whom, how fast, where the holes are. The same table answers `meadow swarm`,
// GET /swarm and the swarm page; a page may also make it from the records it heard itself. It says what hosts say of themselves: nothing here is proven.
import type { ModelFacts } from '../protocol/peer/machine.ts'
import type { Presence } from '../protocol/peer/presence.ts'
import { outlookOf } from '../protocol/peer/runnable.ts'

export interface SwarmHost {
  peer: string
  state: 'joining' | 'serving' | 'draining'
  throttled: boolean
  from: number
  to: number
  /** Rows a second through the layers it holds, as it measured them; null while it has not. */
  tokensPerSecond: number | null
  sessions: number
  /** Sessions it would take now. */
  slotsFree: number
  /** Busy part of the last seconds, 0..1. */
  load: number
  /** It can be called only through a relay's signalling, as tabs are; its connections are direct all the same. */
  tab: boolean
}

export interface SwarmModel {
  id: string
  /** Name and title where they are known here, else the id's beginning. */
  name: string
  title: string
  layers: number
  /** All weights; 0 when the sizes are not known here. */
  bytes: number
  hosts: SwarmHost[]
  /** Serving hosts per layer, and hosts that load it. */
  coverage: number[]
  joining: number[]
  /** Ranges [from, to) that nobody serves. */
  holes: [from: number, to: number][]
  /** Weights of the layers that nobody serves. */
  bytesMissing: number
  runnable: boolean
  /** Free places on the scarcest layer: how many questions could begin now. */
  slotsFree: number
  /** Of one answer without guesses, by the best route as hosts describe themselves; null when it cannot run, or its sizes are not known here. */
  tokensPerSecond: number | null
  /** Questions that wait at this relay's own door. */
  queue: number
}

export interface SwarmTable {
  version: 1
  network: string
  /** Peers that have told of themselves, hosts or not. */
  peers: number
  hosts: number
  models: SwarmModel[]
}

/** A model whose sizes are known here. */
export interface KnownModel {
  facts: ModelFacts
  title: string
  queue?: number
}

/** Known models that nobody holds are listed too, as wholly missing. */
export function swarmTable(network: string, presences: readonly Presence[], known: readonly KnownModel[]): SwarmTable {
  const models = new Map<string, { layers: number; known: KnownModel | undefined; hosts: SwarmHost[] }>()
  for (const one of known) models.set(one.facts.modelId, { layers: one.facts.layers, known: one, hosts: [] })
  let hosts = 0
  for (const presence of presences) {
    if (presence.state === 'idle' || presence.state === 'gone') continue
    if (presence.held.length > 0) hosts++
    for (const held of presence.held) {
      const model = models.get(held.modelId) ?? { layers: held.layers, known: undefined, hosts: [] }
      // A record cannot change how many layers a model has; the first to name a stranger's model decides.
      if (model.layers !== held.layers) continue
      models.set(held.modelId, model)
      model.hosts.push({
        peer: presence.peer,
        // Its other models may serve already.
        state: held.ready ? presence.state : 'joining',
        throttled: presence.throttled,
        from: held.from,
        to: held.to,
        tokensPerSecond: perSecond(held.stepUs),
        sessions: held.sessions,
        slotsFree: held.ready && presence.state === 'serving' ? Math.max(0, held.sessionsMax - held.sessions) : 0,
        load: held.load / 1000,
        tab: presence.addresses.every((address) => address.includes('/p2p-circuit')),
      })
    }
  }
  const rows = [...models].map(([id, model]) => describeModel(id, model.layers, model.known, model.hosts, presences))
  rows.sort((a, b) => Number(b.runnable) - Number(a.runnable) || b.hosts.length - a.hosts.length || (a.id < b.id ? -1 : 1))
  return { version: 1, network, peers: presences.length, hosts, models: rows }
}

const perSecond = (us: number): number | null => (us > 0 ? Math.round(1e7 / us) / 10 : null)

function describeModel(id: string, layers: number, known: KnownModel | undefined, hosts: SwarmHost[], presences: readonly Presence[]): SwarmModel {
  const count = (state: SwarmHost['state'], of: (host: SwarmHost) => number): number[] => {
    const counts = new Array<number>(layers).fill(0)
    for (const host of hosts) if (host.state === state) for (let layer = host.from; layer < host.to; layer++) counts[layer]! += of(host)
    return counts
  }
  const coverage = count('serving', () => 1)
  const holes: [number, number][] = []
  for (let layer = 0; layer < layers; layer++) {
    if (coverage[layer]! > 0) continue
    const last = holes.at(-1)
    if (last && last[1] === layer) last[1]++
    else holes.push([layer, layer + 1])
  }
  const runnable = holes.length === 0
  hosts.sort((a, b) => a.from - b.from || b.to - a.to || (a.peer < b.peer ? -1 : 1))
  const facts = known?.facts
  const outlook = facts && outlookOf(facts, presences)
  return {
    id,
    name: facts?.name ?? id.slice(0, 12),
    title: known?.title ?? id.slice(0, 12),
    layers,
    bytes: facts ? facts.embedBytes + facts.headBytes + facts.layerBytes.reduce((sum, bytes) => sum + bytes, 0) : 0,
    hosts,
    coverage,
    joining: count('joining', () => 1),
    holes,
    bytesMissing: outlook?.bytesMissing ?? 0,
    runnable,
    slotsFree: runnable ? Math.min(...count('serving', (host) => host.slotsFree)) : 0,
    tokensPerSecond: outlook?.tokenMs ? perSecond(outlook.tokenMs * 1000) : null,
    queue: known?.queue ?? 0,
  }
}
