// "Can this run now?", answered from the presence table before anybody asks a host: which models have a ring, how fast it would be, whether there is a place,
// and what a model lacks that has none. Estimates come from what hosts say of themselves; the receipt's route card shows what came of it.
import { weightBytesOf } from './facts.ts'
import type { ModelFacts, PeerKey } from './machine.ts'
import type { Presence } from './presence.ts'
import { bestPaths, delays, holdersFor, type Knowledge } from './routing.ts'

export interface Outlook {
  modelId: string
  /** A ring of ready hosts exists, whether or not it has a place. */
  runnable: boolean
  /** One turn of the best ring without guesses, in milliseconds; null without a ring. Its inverse is the speed of one answer. */
  tokenMs: number | null
  /** Until the first word of a prompt of `promptLength` tokens: waiting, prefill and one turn. Null without a ring. */
  firstTokenMs: number | null
  /** Sessions that could begin at once: places on the layer that has fewest. */
  places: number
  /** Until a place is free, 0 when one is: a usual answer at the busiest layer's hosts, shared by their sessions. Null without a ring. */
  waitMs: number | null
  /** Layers that no ready host holds, and the bytes of weights that are lacking for them. */
  layersMissing: number
  bytesMissing: number
  /** Layers that somebody is loading now, of those missing. */
  layersComing: number
  /** Hosts with any layer of it. */
  hosts: number
}

/** Tokens of an answer, for estimates of waiting. */
const usualAnswer = 200

/** `known`: what the requester has seen of hosts itself; absent, only what they say counts. Deterministic. */
export function outlookOf(facts: ModelFacts, presences: readonly Presence[], promptLength = 256, known: Knowledge = stranger): Outlook {
  const { modelId, layers } = facts
  const all = presences.flatMap((one) => one.held.filter((h) => h.modelId === modelId && h.layers === layers).map((held) => ({ one, held })))
  const ready = all.filter(({ one, held }) => held.ready && one.state === 'serving')
  const coming = all.filter(({ one, held }) => !held.ready && one.state !== 'draining')
  const covers = (list: typeof all, layer: number): typeof all => list.filter(({ held }) => held.from <= layer && layer < held.to)
  let layersMissing = 0
  let layersComing = 0
  let bytesMissing = 0
  let places = Number.POSITIVE_INFINITY
  let busiest: typeof all = []
  for (let layer = 0; layer < layers; layer++) {
    const holders = covers(ready, layer)
    if (holders.length === 0) {
      layersMissing++
      bytesMissing += weightBytesOf(facts, { from: layer, to: layer + 1 })
      if (covers(coming, layer).length > 0) layersComing++
    }
    const free = holders.reduce((sum, { held }) => sum + (held.freePositions > 0 ? Math.max(0, held.sessionsMax - held.sessions) : 0), 0)
    if (free < places) {
      places = free
      busiest = holders
    }
  }
  const hosts = new Set(all.map(({ one }) => one.peer)).size
  const paths = bestPaths({ from: 0, to: layers, before: null, after: null }, holdersFor(facts, presences, known), delays(presences, known), known, () => 0)
  const none = { modelId, runnable: false, tokenMs: null, firstTokenMs: null, places: 0, waitMs: null, layersMissing, bytesMissing, layersComing, hosts }
  if (paths.length === 0) return none
  const [best] = paths
  const stepMs = Math.max(...busiest.map(({ held }) => held.stepUs / 1000))
  const sessions = busiest.reduce((sum, { held }) => sum + held.sessions, 0)
  // Places come free one after the other, evenly: with n sessions under way, one every n-th part of an answer.
  const waitMs = places > 0 ? 0 : Math.round((usualAnswer * Math.max(stepMs, best.ms)) / Math.max(1, sessions))
  // Hosts of a ring work on chunks of the prompt at the same time, so the slowest one counts, and the way once.
  const rowMs = Math.max(
    ...best.hosts.map((host) => (presences.find((one) => one.peer === host.peer)?.held.find((h) => h.modelId === modelId)?.rowUs ?? 0) / 1000),
  )
  return { ...none, runnable: true, tokenMs: best.ms, firstTokenMs: waitMs + promptLength * rowMs + best.ms, places, waitMs }
}

const stranger: Knowledge = {
  rttMs: () => null,
  seenMs: () => null,
  failures: () => 0,
  score: () => 0,
  isOut: (_peer: PeerKey) => false,
  isCut: () => false,
}
