// Which layers a device should hold: the range that raises the weakest layer most, within its memory (swarm.md a). Pure; positions of time and chance are outside.
// Hosts of a ring follow each other exactly, so ranges begin and end where others' ranges do, or where nobody has any.
import type { Segment } from '../engine/engine.ts'
import { contextMax } from '../limits.ts'
import { cacheBytesOf, weightBytesOf } from './facts.ts'
import type { ModelFacts, PeerKey } from './machine.ts'
import type { Held, Presence } from './presence.ts'

/** Cache that a host should have room for beside the weights, in positions; less when the model's context is shorter. */
const positionsWished = 4096
/** Below that, serving makes no sense. */
const positionsLeast = 512
/** Reached only through a relay's help or seen as throttled: counts a fifth (Petals). */
const throttledShare = 0.2

export interface Placed {
  modelId: string
  segment: Segment
}

/** Rows a second that a holder adds to each of its layers. */
export function rateOf(held: Held, throttled: boolean): number {
  return (1_000_000 / Math.max(1, held.stepUs)) * (throttled ? throttledShare : 1)
}

/** Capacity of each layer of a model: the rates of its holders summed. `except`: a peer to leave out. */
export function coverageOf(facts: { modelId: string; layers: number }, presences: readonly Presence[], except?: PeerKey): number[] {
  const capacity = Array.from({ length: facts.layers }, () => 0)
  for (const presence of presences) {
    if (presence.peer === except || presence.state === 'draining' || presence.state === 'gone') continue
    for (const held of presence.held) {
      if (held.modelId !== facts.modelId || held.layers !== facts.layers) continue
      const rate = rateOf(held, presence.throttled)
      for (let l = held.from; l < held.to; l++) capacity[l] += rate
    }
  }
  return capacity
}

/** Holders of each layer, throttled ones left out. */
export function holdersOf(facts: { modelId: string; layers: number }, presences: readonly Presence[], except?: PeerKey): number[] {
  const counted = presences.filter((one) => !one.throttled).map((one) => ({ ...one, held: one.held.map((held) => ({ ...held, stepUs: 1_000_000 })) }))
  return coverageOf(facts, counted, except).map(Math.round)
}

/** Bytes of a segment with the cache it should have. Null: not even the least cache fits. */
export function bytesNeeded(facts: ModelFacts, segment: Segment, memoryBytes: number): number | null {
  const weights = weightBytesOf(facts, segment)
  const wished = weights + cacheBytesOf(facts, segment, Math.min(positionsWished, facts.context, contextMax))
  if (wished <= memoryBytes) return wished
  const least = weights + cacheBytesOf(facts, segment, Math.min(positionsLeast, facts.context))
  return least <= memoryBytes ? memoryBytes : null
}

/** The longest range from `from` that fits. */
function reach(facts: ModelFacts, from: number, memoryBytes: number): number {
  let to = from
  while (to < facts.layers && bytesNeeded(facts, { from, to: to + 1 }, memoryBytes) !== null) to++
  return to
}

/** Ranges worth considering: from where a range may begin to where one may end. */
export function candidates(facts: ModelFacts, presences: readonly Presence[], self: PeerKey, memoryBytes: number): Segment[] {
  const others = presences
    .filter((one) => one.peer !== self && one.state !== 'draining')
    .flatMap((one) => one.held.filter((held) => held.modelId === facts.modelId && held.layers === facts.layers))
  const begins = new Set([0, ...others.map((held) => held.to)])
  const ends = new Set([facts.layers, ...others.map((held) => held.from)])
  const isFree = (layer: number): boolean => !others.some((held) => held.from <= layer && layer < held.to)
  for (let l = 1; l < facts.layers; l++) {
    // The first layer that nobody holds may begin a range, wherever it lies.
    if (isFree(l) && !isFree(l - 1)) begins.add(l)
  }
  const found: Segment[] = []
  for (const from of begins) {
    if (from >= facts.layers) continue
    const to = reach(facts, from, memoryBytes)
    for (const end of ends) if (end > from && end <= to) found.push({ from, to: end })
    if (to > from && !ends.has(to) && (isFree(to) || found.every((one) => one.from !== from))) found.push({ from, to })
  }
  return found
}

/** Ends of layers that a row can get to from the beginning, and beginnings from which it gets to the end: hosts of a ring follow each other exactly. */
function meetings(
  facts: { modelId: string; layers: number },
  presences: readonly Presence[],
  except?: PeerKey,
): { reached: Set<number>; leading: Set<number> } {
  const ranges = presences
    .filter((one) => one.peer !== except && one.state !== 'draining' && one.state !== 'gone')
    .flatMap((one) => one.held.filter((held) => held.modelId === facts.modelId && held.layers === facts.layers))
  const reached = new Set([0])
  for (const { from, to } of ranges.toSorted((a, b) => a.from - b.from)) if (reached.has(from)) reached.add(to)
  const leading = new Set([facts.layers])
  for (const { from, to } of ranges.toSorted((a, b) => b.to - a.to)) if (leading.has(to)) leading.add(from)
  return { reached, leading }
}

/** Whether some hosts follow each other from the first layer to the last. All layers may be held and none do: ranges may overlap and not meet. */
export const hasRing = (facts: { modelId: string; layers: number }, presences: readonly Presence[]): boolean =>
  meetings(facts, presences).reached.has(facts.layers)

/** Ranges that would close a ring where there is none, within the memory; the shortest first, since others may lack memory for more. */
function bridges(facts: ModelFacts, presences: readonly Presence[], self: PeerKey, memoryBytes: number): Segment[] {
  const { reached, leading } = meetings(facts, presences, self)
  if (reached.has(facts.layers)) return []
  return [...reached]
    .flatMap((from) => [...leading].filter((to) => to > from).map((to) => ({ from, to })))
    .filter((segment) => bytesNeeded(facts, segment, memoryBytes) !== null)
    .sort((a, b) => a.to - a.from - (b.to - b.from) || a.from - b.from)
}

/** Whether coverage `a`, weakest layer first, is better than `b`: the first difference decides. */
function compareCoverage(a: readonly number[], b: readonly number[]): number {
  const x = a.toSorted((p, q) => p - q)
  const y = b.toSorted((p, q) => p - q)
  for (let i = 0; i < x.length; i++) if (Math.abs(x[i] - y[i]) > 1e-9) return x[i] - y[i]
  return 0
}

export interface Device {
  self: PeerKey
  memoryBytes: number
  /** Time of one row in one layer of the model, microseconds; what others of its kind announce when it does not know. */
  layerUs(facts: ModelFacts): number
  /** Models whose shards it has: ties go to them. */
  cached: readonly string[]
}

/** The best place for a device among these models, or null when nothing fits. Ties: cached models, longer ranges, then `draw(n)` in [0, n). */
export function place(models: readonly ModelFacts[], presences: readonly Presence[], device: Device, draw: (below: number) => number): Placed | null {
  let best: { placed: Placed; coverage: number[]; hole: boolean; cached: boolean; length: number }[] = []
  for (const facts of models) {
    const before = coverageOf(facts, presences, device.self)
    // Every layer is held, and no ring goes through them: that comes first.
    if (!before.includes(0)) {
      const [bridge] = bridges(facts, presences, device.self, device.memoryBytes)
      if (bridge) return { modelId: facts.modelId, segment: bridge }
    }
    for (const segment of candidates(facts, presences, device.self, device.memoryBytes)) {
      const length = segment.to - segment.from
      const rate = 1_000_000 / Math.max(1, length * device.layerUs(facts))
      const coverage = before.map((c, l) => (l >= segment.from && l < segment.to ? c + rate : c))
      const one = {
        placed: { modelId: facts.modelId, segment },
        coverage,
        hole: before.slice(segment.from, segment.to).includes(0),
        cached: device.cached.includes(facts.modelId),
        length,
      }
      const order = best.length === 0 ? 1 : better(one, best[0])
      if (order > 0) best = [one]
      else if (order === 0) best.push(one)
    }
  }
  return best.length > 0 ? best[draw(best.length)].placed : null
}

interface Ranked {
  placed: Placed
  coverage: number[]
  hole: boolean
  cached: boolean
  length: number
}

/** Within a model the coverage decides; between models, whether a hole is filled, then which has its shards here already. */
function better(a: Ranked, b: Ranked): number {
  if (a.placed.modelId === b.placed.modelId) return compareCoverage(a.coverage, b.coverage) || a.length - b.length
  return Number(a.hole) - Number(b.hole) || Number(a.cached) - Number(b.cached) || Math.min(...a.coverage) - Math.min(...b.coverage)
}

export const moveQualityMax = 0.75

/**
 * Whether a host should move, and where to; null when all is well enough. Rules 1 and 4 of swarm.md (a): quality below 0.75 of what a move would give, and every layer
 * keeps two holders without it. An uncovered layer that it can fill waives the first and relaxes the second to one. Residence, repeated checks and the coin are the caller's.
 */
export function betterPlace(
  facts: ModelFacts,
  presences: readonly Presence[],
  device: Device,
  current: Segment,
  draw: (below: number) => number,
): { placed: Placed; urgent: boolean } | null {
  if (!hasRing(facts, presences)) {
    // Nothing runs as it is, so nothing is lost by leaving a place.
    const [bridge] = bridges(facts, presences, device.self, device.memoryBytes)
    if (bridge) return { placed: { modelId: facts.modelId, segment: bridge }, urgent: true }
  }
  const without = holdersOf(facts, presences, device.self)
  const now = coverageOf(facts, presences)
  const placed = place([facts], presences, device, draw)
  if (!placed || (placed.segment.from === current.from && placed.segment.to === current.to)) return null
  const { from, to } = placed.segment
  const rate = 1_000_000 / Math.max(1, (to - from) * device.layerUs(facts))
  const after = coverageOf(facts, presences, device.self).map((c, l) => (l >= from && l < to ? c + rate : c))
  const urgent = now.includes(0) && after.filter((c) => c === 0).length < now.filter((c) => c === 0).length
  const keeps = without.every((count, l) => count >= (urgent ? 1 : 2) || l < current.from || l >= current.to || (l >= from && l < to))
  if (!keeps) return null
  return urgent || Math.min(...now) / Math.max(1e-9, Math.min(...after)) < moveQualityMax ? { placed, urgent } : null
}
