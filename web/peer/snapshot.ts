// What a relay says of the swarm (GET /swarm, and each event of /swarm/events), read as a stranger's JSON. Pure.
// Presence is what hosts say of themselves: the page shows it as that, never as proven.
import { layersMax } from '../../protocol/limits.ts'

export type HostState = 'joining' | 'serving' | 'draining'

/** Layers [from, to) of one model on one host. */
export interface HostRow {
  /** 64 hex digits. */
  peer: string
  from: number
  to: number
  state: HostState
  /** Tokens a second this host makes through the layers it holds, as it measured them; null when it does not say. */
  tokensPerSecond: number | null
  /** Free places for sessions; null when it does not say. */
  slotsFree: number | null
  /** A browser tab; else a Node process. */
  tab: boolean
  /** Slower than usual: a hidden tab, a hot or thrifty device. */
  throttled: boolean
}

export interface ModelRow {
  id: string
  title: string
  layers: number
  /** All weights. */
  bytes: number
  hosts: HostRow[]
  /** Hosts in service for each layer. */
  coverage: number[]
  /** Runs of layers that nobody serves, as [from, to). */
  holes: [number, number][]
  /** Weights of the layers that nobody serves. */
  bytesMissing: number
  /** Every layer has a host with a free place. */
  runnable: boolean
  /** For one answer, by the relay's own route; null when there is none. */
  tokensPerSecond: number | null
  /** Sessions that could start now; null when hosts do not say. */
  slotsFree: number | null
  /** Sessions that wait for a place. */
  queue: number
}

export interface Snapshot {
  /** `main`, or the name of a private group. */
  network: string
  /** Peers connected to the relay, hosts or not. */
  peers: number
  models: ModelRow[]
}

/** More than any swarm has that one page should draw. */
const hostsMax = 5000
const modelsMax = 200

const record = (value: unknown): Record<string, unknown> => (typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {})
const list = (value: unknown, max: number): unknown[] => (Array.isArray(value) ? value.slice(0, max) : [])
const text = (value: unknown): string => (typeof value === 'string' ? value.slice(0, 200) : '')
const count = (value: unknown): number => (Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : 0)
const countOrNull = (value: unknown): number | null => (Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : null)
const rate = (value: unknown): number | null => (typeof value === 'number' && Number.isFinite(value) && value > 0 ? value : null)

function parseHost(json: unknown, layers: number): HostRow[] {
  const { peer, from, to, state, tokensPerSecond, slotsFree, tab, throttled } = record(json)
  if (typeof peer !== 'string' || !/^[0-9a-f]{64}$/.test(peer)) return []
  if (!Number.isInteger(from) || !Number.isInteger(to)) return []
  const [a, z] = [from as number, to as number]
  if (a < 0 || z <= a || z > layers) return []
  return [
    {
      peer,
      from: a,
      to: z,
      state: state === 'joining' || state === 'draining' ? state : 'serving',
      tokensPerSecond: rate(tokensPerSecond),
      slotsFree: countOrNull(slotsFree),
      tab: tab === true,
      throttled: throttled === true,
    },
  ]
}

/** Hosts in service for each layer; those that only join or leave do not count. */
export function coverageOf(hosts: readonly HostRow[], layers: number): number[] {
  const coverage = new Array<number>(layers).fill(0)
  for (const { from, to, state } of hosts) if (state === 'serving') for (let layer = from; layer < to; layer++) coverage[layer]++
  return coverage
}

/** Runs of layers that nobody serves. */
export function holesOf(coverage: readonly number[]): [number, number][] {
  const holes: [number, number][] = []
  for (let layer = 0; layer < coverage.length; layer++) {
    if (coverage[layer] > 0) continue
    const last = holes.at(-1)
    if (last && last[1] === layer) last[1]++
    else holes.push([layer, layer + 1])
  }
  return holes
}

function parseModel(json: unknown): ModelRow[] {
  const { id, title, name, layers, bytes, hosts, bytesMissing, runnable, tokensPerSecond, slotsFree, queue } = record(json)
  if (typeof id !== 'string' || !/^[0-9a-f]{64}$/.test(id)) return []
  if (!Number.isInteger(layers) || (layers as number) < 1 || (layers as number) > layersMax) return []
  const layerCount = layers as number
  const rows = list(hosts, hostsMax).flatMap((host) => parseHost(host, layerCount))
  // Counted here, so that picture, table and holes can never disagree.
  const coverage = coverageOf(rows, layerCount)
  const holes = holesOf(coverage)
  return [
    {
      id,
      title: text(title) || text(name) || id.slice(0, 12),
      layers: layerCount,
      bytes: count(bytes),
      hosts: rows,
      coverage,
      holes,
      bytesMissing: holes.length === 0 ? 0 : count(bytesMissing),
      runnable: holes.length === 0 && runnable !== false,
      tokensPerSecond: rate(tokensPerSecond),
      slotsFree: countOrNull(slotsFree),
      queue: count(queue),
    },
  ]
}

/** Null when it is no snapshot at all; rows that make no sense are dropped. */
export function parseSnapshot(json: unknown): Snapshot | null {
  const { network, peers, models } = record(json)
  if (!Array.isArray(models)) return null
  return {
    network: text(network) || 'main',
    peers: count(peers),
    models: list(models, modelsMax)
      .flatMap(parseModel)
      .sort((a, b) => Number(b.runnable) - Number(a.runnable) || b.hosts.length - a.hosts.length || a.title.localeCompare(b.title)),
  }
}

/** `3–7`, `12`: layers for people, the last one included. */
export const rangeText = (from: number, to: number): string => (to - from === 1 ? `${from}` : `${from}–${to - 1}`)

/** Layers that one departure would uncover. */
export const fragileOf = (coverage: readonly number[]): number => coverage.filter((hosts) => hosts === 1).length
