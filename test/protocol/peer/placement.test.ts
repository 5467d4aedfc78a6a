import { describe, expect, test } from 'vitest'
import { random } from '../../../protocol/engine/specimen.ts'
import { weightBytesOf } from '../../../protocol/peer/facts.ts'
import { betterPlace, bytesNeeded, coverageOf, type Device, hasRing, place } from '../../../protocol/peer/placement.ts'
import type { Presence } from '../../../protocol/peer/presence.ts'
import { outlookOf } from '../../../protocol/peer/runnable.ts'
import { toyFacts } from '../../sim/toy.ts'
import { World } from '../../sim/world.ts'
import { alone, ask, keyOf, presence, question } from './mesh.ts'

const facts = toyFacts(8)
/** Memory for so many layers (and the embedding, which is small). */
const memory = (layers: number): number => layers * (10_000 + 512) + 2500
const device = (layers: number, change: Partial<Device> = {}): Device => ({
  self: 'f'.repeat(64),
  memoryBytes: memory(layers),
  cached: [],
  layerUs: () => 1000,
  ...change,
})

describe('ranges that overlap and do not meet make no ring, though every layer is held', () => {
  const overlapping = [presence(1, 0, 1), presence(2, 1, 6), presence(3, 6, 7), presence(4, 2, 8), presence(5, 6, 7)]

  test('which is seen', () => {
    expect(coverageOf(facts, overlapping)).not.toContain(0)
    expect(hasRing(facts, overlapping)).toBe(false)
    expect(outlookOf(facts, overlapping).runnable).toBe(false)
    expect(hasRing(facts, [...overlapping, presence(6, 7, 8)])).toBe(true)
    expect(hasRing(facts, [])).toBe(false)
  })
  test('a newcomer closes it, with the shortest range that does', () => {
    expect(place([facts], overlapping, device(4), () => 0)!.segment).toEqual({ from: 1, to: 2 })
    expect(hasRing(facts, [...overlapping, presence(6, 1, 2)])).toBe(true)
  })
  test('and so does one of those that are there, at once, if its memory allows', () => {
    const found = betterPlace(facts, overlapping, device(2, { self: keyOf(5) }), { from: 6, to: 7 }, () => 0)!
    expect(found.urgent).toBe(true)
    const moved = overlapping.map((one) => (one.peer === keyOf(5) ? presence(5, found.placed.segment.from, found.placed.segment.to) : one))
    expect(hasRing(facts, moved)).toBe(true)
    expect(betterPlace(facts, moved, device(2, { self: keyOf(3) }), { from: 6, to: 7 }, () => 0)?.urgent ?? false).toBe(false)
  })
})

describe('a newcomer', () => {
  test('takes the whole model when it can and nobody is there', () => {
    expect(place([facts], [], device(8), () => 0)).toEqual({ modelId: facts.modelId, segment: { from: 0, to: 8 } })
  })
  test('takes what nobody holds, beginning where others end', () => {
    expect(place([facts], [presence(1, 0, 3)], device(3), () => 0)!.segment).toEqual({ from: 3, to: 6 })
    expect(place([facts], [presence(1, 0, 3), presence(2, 6, 8)], device(5), () => 0)!.segment).toEqual({ from: 3, to: 6 })
    expect(place([facts], [presence(1, 3, 8)], device(5), () => 0)!.segment).toEqual({ from: 0, to: 3 })
  })
  test('strengthens the weakest range when all is covered', () => {
    const others = [presence(1, 0, 4), presence(2, 4, 8), presence(3, 0, 4)]
    expect(place([facts], others, device(4), () => 0)!.segment).toEqual({ from: 4, to: 8 })
  })
  test('never takes more than its memory holds, cache included', () => {
    const next = random(6)
    for (let i = 0; i < 2000; i++) {
      const cuts = [0, 1 + (next() % 3), 4 + (next() % 3), 8]
      const others = cuts.slice(1).map((to, j) => presence(j, cuts[j], to))
      const mine = device(1 + (next() % 8))
      const placed = place([facts], others.slice(next() % 3), mine, (n) => next() % n)
      if (placed) expect(bytesNeeded(facts, placed.segment, mine.memoryBytes)).toBeLessThanOrEqual(mine.memoryBytes)
      if (placed) expect(weightBytesOf(facts, placed.segment)).toBeLessThan(mine.memoryBytes)
    }
    expect(place([facts], [], device(0), () => 0)).toBeNull()
  })
  test('prefers a model with holes, then one that it has in its cache', () => {
    const other = toyFacts(8, 'other')
    const whole = presence(1, 0, 8)
    expect(place([facts, other], [whole], device(8), () => 0)!.modelId).toBe(other.modelId)
    expect(place([facts, other], [], device(8, { cached: [other.modelId] }), () => 0)!.modelId).toBe(other.modelId)
    expect(place([facts, other], [], device(8, { cached: [facts.modelId] }), () => 0)!.modelId).toBe(facts.modelId)
  })
})

test('devices that come one after the other reach three quarters of the best weakest layer there is', () => {
  // All devices alike: the best weakest layer is what their rates give when spread evenly.
  for (const size of [2, 4]) {
    const all: Presence[] = []
    for (let i = 0; i < 8; i++) {
      const { segment } = place([facts], all, device(size, { self: String(i) }), () => 0)!
      all.push(presence(i, segment.from, segment.to))
    }
    const weakest = Math.min(...coverageOf(facts, all))
    const best = (8 / (8 / size)) * (1_000_000 / (size * 1000))
    expect(weakest).toBeGreaterThanOrEqual(0.75 * best)
    expect(outlookOf(facts, all).runnable).toBe(true)
  }
})

describe('a host moves', () => {
  const self = presence(1, 0, 4).peer
  const mine = device(4, { self })
  test('to a hole, when its own range keeps a holder', () => {
    const swarm = [presence(1, 0, 4), presence(2, 0, 4)]
    expect(betterPlace(facts, swarm, mine, { from: 0, to: 4 }, () => 0)).toMatchObject({ urgent: true, placed: { segment: { from: 4, to: 8 } } })
    expect(betterPlace(facts, swarm.slice(0, 1), mine, { from: 0, to: 4 }, () => 0)).toBeNull()
  })
  test('to a much weaker range only while two holders stay', () => {
    const many = [1, 2, 3, 4].map((i) => presence(i, 0, 4))
    const found = betterPlace(facts, [...many, presence(5, 4, 8)], mine, { from: 0, to: 4 }, () => 0)
    expect(found).toMatchObject({ urgent: false, placed: { segment: { from: 4, to: 8 } } })
    expect(betterPlace(facts, [...many.slice(0, 2), presence(5, 4, 8)], mine, { from: 0, to: 4 }, () => 0)).toBeNull()
  })
  test('not when all is even', () => {
    const even = [presence(1, 0, 4), presence(2, 0, 4), presence(3, 4, 8), presence(4, 4, 8)]
    expect(betterPlace(facts, even, mine, { from: 0, to: 4 }, () => 0)).toBeNull()
  })
})

describe('machines that place themselves', () => {
  const small = toyFacts(6)
  const lend = (world: World, name: string, layers: number, models = [small]) => {
    const node = world.add(name)
    world.step(node, { kind: 'lend', lending: { models, memoryBytes: memory(layers) } })
    return node
  }
  const runs = (world: World, model = small): boolean => outlookOf(model, [...world.nodes.values()].find((n) => n.alive)!.peer.table.all()).runnable

  test('three with room for a third each, come at once, make a ring', async () => {
    for (let seed = 1; seed <= 10; seed++) {
      const world = new World(seed, [small])
      const asker = world.add('asker')
      const hosts = ['a', 'b', 'c'].map((name) => lend(world, name, 2))
      expect({ seed, runs: world.run(60_000, () => outlookOf(small, asker.peer.table.all()).runnable) }).toEqual({ seed, runs: true })
      const got = ask({ world, hosts, asker })
      expect(got.tokens).toEqual((await alone(question())).tokens)
    }
  })

  test('a hole that a death leaves is filled by one that others can spare', () => {
    const world = new World(3, [small])
    const asker = world.add('asker')
    lend(world, 'a', 3)
    lend(world, 'b', 3)
    world.run(30_000, () => outlookOf(small, asker.peer.table.all()).runnable)
    const third = lend(world, 'c', 3)
    world.run(30_000)
    const range = (n: ReturnType<typeof lend>) => n.peer.table.get(n.key)?.held[0]?.from
    const rival = [...world.nodes.values()].find((n) => n !== third && n !== asker && range(n) === range(third))!
    const only = [...world.nodes.values()].find((n) => n !== third && n !== asker && n !== rival)!
    world.kill(only)
    expect(runs(world) || world.run(400_000, () => outlookOf(small, asker.peer.table.all()).runnable)).toBe(true)
  })

  test('a host with room to spare serves two models at once', () => {
    const second = toyFacts(4, 'second')
    const world = new World(1, [small, second])
    const asker = world.add('asker')
    lend(world, 'a', 12, [small, second])
    expect(world.run(60_000, () => [small, second].every((model) => outlookOf(model, asker.peer.table.all()).runnable))).toBe(true)
  })

  test('nobody moves in a swarm that is well, however long it stands', () => {
    const world = new World(5, [small])
    const hosts = Array.from({ length: 9 }, (_, i) => lend(world, `h${i}`, 2))
    world.run(60_000)
    const loads = () => hosts.reduce((sum, host) => sum + host.notices.filter((n) => n.of === 'host' && n.what === 'loading' && n.total === 0).length, 0)
    const before = loads()
    world.run(3_600_000)
    expect(loads() - before).toBeLessThanOrEqual(2)
    expect(runs(world)).toBe(true)
  })
})
