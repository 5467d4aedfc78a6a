import { describe, expect, test } from 'vitest'
import { random } from '../../../protocol/engine/specimen.ts'
import { planReplay } from '../../../protocol/peer/replay.ts'
import { bestPaths, choosePath, delays, type Holder, holdersFor, type Knowledge } from '../../../protocol/peer/routing.ts'
import { outlookOf } from '../../../protocol/peer/runnable.ts'
import { keyOf, presence, swarmFacts } from './mesh.ts'

const facts = swarmFacts
const known: Knowledge = { rttMs: () => null, seenMs: () => null, failures: () => 0, score: () => 0, isOut: () => false, isCut: () => false }
/** Every ring there is, by trying all. */
function shortest(holders: Holder[], delay: (a: string, b: string) => number): number {
  let best = Number.POSITIVE_INFINITY
  const go = (at: number, path: Holder[], ms: number): void => {
    if (at === facts.layers) best = Math.min(best, ms + delay(path[path.length - 1].peer, path[0].peer))
    for (const next of holders) {
      if (next.from !== at || path.includes(next)) continue
      go(next.to, [...path, next], ms + next.ms + (path.length > 0 ? delay(path[path.length - 1].peer, next.peer) : 0))
    }
  }
  go(0, [], 0)
  return best
}

describe('routing', () => {
  test('finds the shortest ring, compared with trying all, for a thousand small swarms', () => {
    const next = random(3)
    let rings = 0
    for (let round = 0; round < 1000; round++) {
      const cuts = [0, 2, 4, 6, 8]
      const presences = Array.from({ length: 3 + (next() % 8) }, (_, i) => {
        const a = next() % 4
        const b = a + 1 + (next() % (4 - a))
        return presence(i, cuts[a], cuts[b], { stepUs: 1000 + (next() % 40_000), load: next() % 900 })
      })
      const table = new Map<string, number>()
      const delay = (a: string, b: string): number => {
        if (a === b) return 0
        const pair = a < b ? a + b : b + a
        if (!table.has(pair)) table.set(pair, 1 + (next() % 100))
        return table.get(pair)!
      }
      const holders = holdersFor(facts, presences, known)
      const best = shortest(holders, delay)
      const [path] = bestPaths({ from: 0, to: 8, before: null, after: null }, holders, delay, known, () => 0)
      if (best === Number.POSITIVE_INFINITY) expect(path).toBeUndefined()
      else {
        rings++
        // Only the four cheapest first hosts (and two others) are tried; with at most eight holders a layer nothing else is left out.
        if (holders.filter((h) => h.from === 0).length <= 6) expect(path.ms).toBeCloseTo(best, 6)
      }
    }
    expect(rings).toBeGreaterThan(300)
  })

  test('prefers a whole-model host when its turn is shorter, and a ring when that is', () => {
    const ring = [presence(1, 0, 4), presence(2, 4, 8)]
    const near = delays([], { ...known, rttMs: () => 4 })
    const choose = (whole: number): number =>
      bestPaths(
        { from: 0, to: 8, before: null, after: null },
        holdersFor(facts, [...ring, presence(3, 0, 8, { stepUs: whole })], known),
        near,
        known,
        () => 0,
      )[0].hosts.length
    expect(choose(8000)).toBe(1)
    expect(choose(40_000)).toBe(2)
  })

  test('leaves a slow newcomer alone, whatever it says of itself, once others are known', () => {
    const seen: Knowledge = { ...known, seenMs: (peer) => (peer === keyOf(1) ? 8 : null) }
    const presences = [presence(1, 0, 8, { stepUs: 8000 }), presence(2, 0, 8, { stepUs: 7000 })]
    const paths = bestPaths(
      { from: 0, to: 8, before: null, after: null },
      holdersFor(facts, presences, seen),
      () => 0,
      seen,
      () => 0,
    )
    expect(paths.map((path) => path.hosts[0].peer)).toEqual([keyOf(1)])
  })

  test('believes the better standing more, and never so much that a host half as fast is taken', () => {
    const first = (second: number): string => {
      const reputed: Knowledge = { ...known, score: (peer) => (peer === keyOf(2) ? 10_000 : 0) }
      const span = { from: 0, to: 8, before: null, after: null }
      const presences = [presence(1, 0, 8, { stepUs: 8000 }), presence(2, 0, 8, { stepUs: second })]
      return bestPaths(
        span,
        holdersFor(facts, presences, reputed),
        () => 0,
        reputed,
        () => 0,
      )[0].hosts[0].peer
    }
    expect(first(8000)).toBe(keyOf(2))
    expect(first(10_000)).toBe(keyOf(2))
    expect(first(16_000)).toBe(keyOf(1))
  })

  test('spreads requesters over equal rings', () => {
    const next = random(8)
    const draw = (n: number): number => next() % n
    const presences = Array.from({ length: 8 }, (_, i) => presence(i, i < 4 ? 0 : 4, i < 4 ? 4 : 8, { stepUs: 4000 + i }))
    const used = new Map<string, number>()
    for (let i = 0; i < 200; i++)
      for (const host of choosePath(
        bestPaths({ from: 0, to: 8, before: null, after: null }, holdersFor(facts, presences, known), () => 5, known, draw),
        draw,
      )!.hosts)
        used.set(host.peer, (used.get(host.peer) ?? 0) + 1)
    expect([...used.keys()].length).toBeGreaterThanOrEqual(3)
    expect(Math.max(...used.values())).toBeLessThan(200)
  })

  test('goes around a pair that cannot reach each other and around hosts that are out', () => {
    const presences = [presence(1, 0, 4), presence(2, 4, 8), presence(3, 4, 8, { stepUs: 20_000 })]
    const path = (k: Knowledge): string[] =>
      bestPaths(
        { from: 0, to: 8, before: null, after: null },
        holdersFor(facts, presences, k),
        () => 1,
        k,
        () => 0,
      )[0].hosts.map((h) => h.peer)
    expect(path(known)).toEqual([keyOf(1), keyOf(2)])
    expect(path({ ...known, isCut: (a, b) => a === keyOf(1) && b === keyOf(2) })).toEqual([keyOf(1), keyOf(3)])
    expect(path({ ...known, isOut: (peer) => peer === keyOf(2) })).toEqual([keyOf(1), keyOf(3)])
  })
})

test('after a repair every host gets exactly the rows it lacks, for any caches and logs', () => {
  const next = random(4)
  for (let round = 0; round < 5000; round++) {
    const tokens = 2 + (next() % 40)
    const hosts = Array.from({ length: 1 + (next() % 5) }, () => {
      const kept = next() % 45
      return { kept, logFrom: next() % (kept + 1) }
    })
    const plan = planReplay(hosts, tokens)
    for (const [i, { keep, replayFrom }] of plan.entries()) {
      expect(keep).toBeLessThanOrEqual(Math.min(hosts[i].kept, tokens - 1))
      const after = plan[i + 1]
      if (!after) continue
      // What the successor lacks begins where this host sends from: out of its log, or computed anew.
      expect(replayFrom).toBe(after.keep)
      expect(replayFrom >= keep || replayFrom >= hosts[i].logFrom).toBe(true)
    }
    // Nothing is computed again without need: with whole logs everybody keeps everything.
    const whole = planReplay(
      hosts.map(({ kept }) => ({ kept, logFrom: 0 })),
      tokens,
    )
    expect(whole.map((one) => one.keep)).toEqual(hosts.map(({ kept }) => Math.min(kept, tokens - 1)))
  }
})

describe('can this run now?', () => {
  test('yes, with an estimate, when hosts cover all layers', () => {
    expect(outlookOf(facts, [presence(1, 0, 4), presence(2, 4, 8)])).toMatchObject({
      runnable: true,
      places: 8,
      waitMs: 0,
      layersMissing: 0,
      bytesMissing: 0,
      hosts: 2,
    })
  })
  test('no, and how much is lacking, when layers have no host', () => {
    const outlook = outlookOf(facts, [presence(1, 0, 4), presence(2, 4, 6, { ready: false })])
    expect(outlook).toMatchObject({ runnable: false, tokenMs: null, layersMissing: 4, layersComing: 2, bytesMissing: 4 * 10_000 + facts.headBytes })
  })
  test('later, when all places are taken', () => {
    const outlook = outlookOf(facts, [presence(1, 0, 8, { sessions: 8 })])
    expect(outlook.runnable).toBe(true)
    expect(outlook.places).toBe(0)
    expect(outlook.waitMs).toBeGreaterThan(0)
  })
  test('not with hosts that drain, or whose ranges do not meet', () => {
    expect(outlookOf(facts, [presence(1, 0, 8, { state: 'draining' })]).runnable).toBe(false)
    expect(outlookOf(facts, [presence(1, 0, 5), presence(2, 4, 8)]).runnable).toBe(false)
  })
})
