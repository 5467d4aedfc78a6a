import { describe, expect, test } from 'vitest'
import { alone, ask, leftovers, lending, type Mesh, mesh, question, start } from './mesh.ts'

/** Three ranges, two hosts each; the first three are a ring, the others may take over. */
const ranges: [number, number][] = [
  [0, 2],
  [2, 4],
  [4, 6],
  [0, 2],
  [2, 4],
  [4, 6],
]
const truth = await alone(question())

/** Kills these hosts of the ring, in order of their layers, when frame number `at` since the question is about to be delivered. */
function killAt(at: number, places: number[], options: Parameters<typeof mesh>[1] & { silently?: boolean } = {}) {
  const m = mesh(ranges, options)
  let frames = 0
  let reached = false
  const { got, of } = start(m, question())
  m.world.onFrame = () => {
    if (frames++ !== at) return true
    reached = true
    for (const place of places) {
      const host = m.hosts.find((one) => one.key === ring(m)[place])
      if (host) m.world.kill(host, options.silently)
    }
    return true
  }
  m.world.run(300_000, () => got.receipt !== null || got.failed !== null)
  of()
  return { m, got, reached }
}

/** The chain of the first route. */
function ring(m: Mesh): string[] {
  const route = m.asker.notices.find((n) => n.of === 'ask' && n.what === 'route')
  return route && 'chain' in route ? route.chain.map((one) => one.peer) : []
}

/** Every frame for one host; for several at once every third here, every one with MEADOW_LONG set. */
const stride = (places: number[]): number => (places.length === 1 || process.env.MEADOW_LONG ? 1 : 3)

describe('an answer survives', () => {
  for (const places of [[0], [1], [2], [0, 1], [1, 2], [2, 0], [0, 1, 2]])
    test(`the death of host ${places.join(' and ')} of the ring at frames all along 64 tokens`, () => {
      let at = 0
      let repaired = 0
      for (; ; at += stride(places)) {
        const { got, reached, m } = killAt(at, places)
        if (!reached) break
        expect({ at, tokens: got.tokens, failed: got.failed }).toEqual({ at, tokens: truth.tokens, failed: null })
        if (got.repairs > 0) repaired += stride(places)
        expect(got.stallMs).toBeLessThan(3000)
        if (at % 60 === 0) expect(leftovers(m)).toBe(0)
      }
      // Not vacuous: most kills hit a running session.
      expect(at).toBeGreaterThan(100)
      expect(repaired).toBeGreaterThan(at / 2)
    })

  test('hosts that fall silent without their connection breaking', () => {
    for (let at = 5; at < 200; at += 13)
      for (const place of [0, 1, 2]) {
        const { got } = killAt(at, [place], { silently: true })
        expect({ at, place, tokens: got.tokens }).toEqual({ at, place, tokens: truth.tokens })
      }
  })

  test('one range replaced by two hosts, two by one, and all by a single one', () => {
    const spares: [number, number][][] = [
      [
        [2, 3],
        [3, 4],
        [4, 6],
      ],
      [[2, 6]],
      [[0, 6]],
    ]
    for (const spare of spares) {
      // The spares come only once the ring is chosen.
      const m = mesh(ranges.slice(0, 3))
      const { got, of } = start(m, question())
      m.world.run(60_000, () => got.tokens.length >= 5)
      spare.forEach(([from, to], i) => {
        const late = m.world.add(`late${i}`)
        m.world.step(late, { kind: 'lend', lending: lending(from, to) })
      })
      m.world.run(60_000, () => got.tokens.length >= 20 && m.asker.peer.table.all().filter((one) => one.held[0]?.ready).length === 3 + spare.length)
      for (const host of m.hosts.slice(1)) m.world.kill(host)
      m.world.run(60_000, () => got.receipt !== null || got.failed !== null)
      of()
      expect({ spare, tokens: got.tokens }).toEqual({ spare, tokens: truth.tokens })
      if (got.repairs > 0) expect(got.receipt!.hosts.length).toBe(spare.length === 3 ? 4 : spare[0][0] === 0 ? 1 : 2)
    }
  })
})

describe('a bad network', () => {
  for (const [name, net] of Object.entries({
    'loses one frame in fifty': { loss: 20_000 },
    'doubles one frame in ten': { double: 100_000 },
    'reorders one frame in ten': { reorder: 100_000 },
    'does all of it': { loss: 10_000, double: 50_000, reorder: 50_000 },
  }))
    test(`that ${name} changes no byte`, () => {
      for (let seed = 1; seed <= 12; seed++) {
        const m = mesh(ranges, { seed })
        Object.assign(m.world.net, net)
        const got = ask(m)
        expect({ seed, tokens: got.tokens, failed: got.failed }).toEqual({ seed, tokens: truth.tokens, failed: null })
      }
    })
})
