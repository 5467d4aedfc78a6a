// Which hosts a session should use: the ring with the shortest turn, by what hosts say of themselves and what this peer has seen of them (swarm.md b).
// Pure: dynamic programming over (host, layer where it ends); the way back from the last to the first host closes the ring, so the best first hosts are tried in turn.
import { chainMax } from '../limits.ts'
import type { ChainLink, ModelFacts, PeerKey } from './machine.ts'
import type { Held, Presence } from './presence.ts'

/** One-way delay between peers of whom nobody has measured it. */
const unknownDelayMs = 150
/** Cheapest holders kept per first layer, and random others so that newcomers get their chance. */
const keepCheapest = 8
const keepRandom = 2
const firstHostsTried = 4
const pathsKept = 3
/** Paths this much longer than the best may be taken too, so that not everybody takes the same. */
const pathSlack = 1.1
/** A stranger's claim about its own speed counts as half as slow again, until it was seen at work; less with what a ledger knows of it, nothing with the best standing. */
const newcomerFactor = 1.5
const scoreMax = 10_000
/** What one recent failure weighs: a failure of 1 in 20 rounds with a replay of a second. */
const failureMs = 50

export interface Holder extends ChainLink {
  addresses: string[]
  /** Time of its part of a turn, waiting included. */
  ms: number
}

/** What this peer knows of others beyond what they say. */
export interface Knowledge {
  /** Round trip from here, null when not connected. */
  rttMs(peer: PeerKey): number | null
  /** Time of one row at that host as seen in route cards; null: never seen. */
  seenMs(peer: PeerKey, modelId: string): number | null
  /** Recent failures, fading. */
  failures(peer: PeerKey): number
  /** Its standing on a ledger, 0 to 10,000; 0 when nothing is known. */
  score(peer: PeerKey): number
  /** Not to be used now. */
  isOut(peer: PeerKey): boolean
  /** That the first cannot reach the second. */
  isCut(from: PeerKey, to: PeerKey): boolean
}

/** Part of a turn at a host: waiting by its load, its step, and what failing would cost. */
function holderMs(held: Held, one: Presence, known: Knowledge): number {
  const { peer, throttled } = one
  const strange = 1 + (newcomerFactor - 1) * (1 - known.score(peer) / scoreMax)
  const step = Math.max(known.seenMs(peer, held.modelId) ?? (held.stepUs / 1000) * strange, 0.01) * (throttled ? 2 : 1)
  const load = Math.min(0.95, held.load / 1000)
  const full = held.sessions >= held.sessionsMax || held.freePositions === 0
  return step + (load / (1 - load)) * (step / 2) + known.failures(peer) * failureMs + (full ? 1000 : 0)
}

/** Everyone who can serve layers of the model now. */
export function holdersFor(facts: ModelFacts, presences: readonly Presence[], known: Knowledge): Holder[] {
  return presences.flatMap((one) => {
    const held = one.held.find((h) => h.modelId === facts.modelId && h.layers === facts.layers && h.ready)
    if (!held || one.state !== 'serving' || known.isOut(one.peer)) return []
    return [{ peer: one.peer, from: held.from, to: held.to, addresses: one.addresses, ms: holderMs(held, one, known) }]
  })
}

/** One-way delays, milliseconds: from what either end has measured, else from how far both are from here, else a guess. */
export function delays(presences: readonly Presence[], known: Knowledge): (a: PeerKey, b: PeerKey) => number {
  const near = new Map(presences.map((one) => [one.peer, new Map(one.near.map(({ peer, ms }) => [peer, ms]))]))
  return (a, b) => {
    if (a === b) return 0
    const round = near.get(a)?.get(b.slice(0, 16)) ?? near.get(b)?.get(a.slice(0, 16))
    if (round !== undefined) return round / 2
    const [ra, rb] = [known.rttMs(a), known.rttMs(b)]
    return ra !== null && rb !== null ? (ra + rb) / 2 : unknownDelayMs
  }
}

export interface Path {
  hosts: Holder[]
  ms: number
}

export interface Span {
  from: number
  to: number
  /** Hosts on either side that stay, when only a gap is filled; null for a whole ring. */
  before: PeerKey | null
  after: PeerKey | null
}

/** The best ways to cover a span, best first, at most three and none much longer than the best. Empty: it cannot be covered. */
export function bestPaths(
  span: Span,
  holders: readonly Holder[],
  delay: (a: PeerKey, b: PeerKey) => number,
  known: Knowledge,
  draw: (below: number) => number,
): Path[] {
  const byLayer = Map.groupBy(
    holders.filter((h) => h.from >= span.from && h.to <= span.to),
    (h) => h.from,
  )
  for (const [layer, all] of byLayer) byLayer.set(layer, pruned(all, draw))
  const layers = [...byLayer.keys()].sort((a, b) => a - b)
  const firsts = (byLayer.get(span.from) ?? []).slice(0, span.before === null ? firstHostsTried + keepRandom : Infinity)
  const paths: Path[] = []
  for (const first of firsts) {
    if (span.before !== null && known.isCut(span.before, first.peer)) continue
    const start = first.ms + (span.before === null ? 0 : delay(span.before, first.peer))
    // Cheapest way that ends with each holder.
    const ways = new Map<Holder, Path>([[first, { hosts: [first], ms: start }]])
    for (const layer of layers) {
      if (layer <= span.from) continue
      for (const next of byLayer.get(layer)!) {
        let best: Path | null = null
        for (const [last, way] of ways) {
          if (last.to !== layer || way.hosts.length >= chainMax || way.hosts.some((h) => h.peer === next.peer) || known.isCut(last.peer, next.peer)) continue
          const ms = way.ms + delay(last.peer, next.peer) + next.ms
          if (!best || ms < best.ms) best = { hosts: [...way.hosts, next], ms }
        }
        if (best) ways.set(next, best)
      }
    }
    for (const [last, way] of ways) {
      if (last.to !== span.to) continue
      const after = span.before === null && span.after === null ? first.peer : span.after
      if (after !== null && after !== last.peer && known.isCut(last.peer, after)) continue
      paths.push({ hosts: way.hosts, ms: way.ms + (after === null ? 0 : delay(last.peer, after)) })
    }
  }
  paths.sort((a, b) => a.ms - b.ms || a.hosts.length - b.hosts.length || (a.hosts[0].peer < b.hosts[0].peer ? -1 : 1))
  return paths.filter((path) => path.ms <= paths[0].ms * pathSlack + 0.01).slice(0, pathsKept)
}

function pruned(all: Holder[], draw: (below: number) => number): Holder[] {
  const sorted = all.toSorted((a, b) => a.ms - b.ms || (a.peer < b.peer ? -1 : 1))
  const kept = sorted.slice(0, keepCheapest)
  const rest = sorted.slice(keepCheapest)
  for (let i = 0; i < keepRandom && rest.length > 0; i++) kept.push(...rest.splice(draw(rest.length), 1))
  return kept
}

/** One of the paths, those with a shorter turn more often: by 1 / ms². */
export function choosePath(paths: readonly Path[], draw: (below: number) => number): Path | null {
  if (paths.length === 0) return null
  const weights = paths.map((path) => Math.round(1_000_000 / Math.max(1, path.ms / paths[0].ms) ** 2))
  let at = draw(weights.reduce((sum, w) => sum + w, 0))
  for (const [i, weight] of weights.entries()) {
    if (at < weight) return paths[i]
    at -= weight
  }
  return paths[0]
}
