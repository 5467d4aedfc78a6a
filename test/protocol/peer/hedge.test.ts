import { describe, expect, test } from 'vitest'
import { decodeMessage } from '../../../protocol/peer/messages.ts'
import { faults, stallsOf } from '../../sim/mesh-stalls.ts'
import { alone, ask, leftovers, mesh, question } from './mesh.ts'

const ranges: [number, number][] = [
  [0, 2],
  [2, 4],
  [4, 6],
  [0, 2],
  [2, 4],
  [4, 6],
]

describe('a late host races against a second holder of its layers', () => {
  for (const fault of faults)
    test(`${fault}: every word is right, and the wait is short`, async () => {
      const { p95, wrong, rowsExtra } = await stallsOf(fault, 12)
      expect(wrong).toBe(0)
      // Without the race a dead host took 2.8 s and a hanging engine 4.7 s (test/sim/mesh-stalls.ts, 60 trials).
      expect(p95).toBeLessThan(fault === 'none' ? 200 : 1700)
      // One replay of the text at most, about 190 rows.
      expect(rowsExtra).toBeLessThan(fault === 'none' ? 1 : 400)
    })

  test('one at a time, few an answer, and what lost the race is given back', async () => {
    // Every host stands still for a moment now and then: nobody is worth replacing for good.
    const m = mesh(ranges, { node: () => ({ layerUs: 1000 }) })
    let opens = 0
    let [feeds, computes] = [0, 0]
    for (const host of m.hosts)
      host.bend = (action) => {
        if (action.kind === 'compute' && ++computes % 40 === 0) {
          Object.assign(host.options, { layerUs: 300_000 })
          m.world.after(5, () => Object.assign(host.options, { layerUs: 1000 }))
        }
        return [action]
      }
    m.world.onFrame = (from, _to, bytes) => {
      if (from !== m.asker) return true
      const { kind } = decodeMessage(bytes)
      if (kind === 'open') opens++
      if (kind === 'feed') feeds++
      return true
    }
    const q = question({ maxTokens: 128 })
    const got = ask(m, q)
    expect(got.tokens).toEqual((await alone(q)).tokens)
    expect(feeds).toBeGreaterThan(0)
    // One race and one more for every 32 tokens; each may end in one new ring of three hosts, beside the first.
    expect(feeds).toBeLessThanOrEqual(5)
    expect(opens).toBeLessThanOrEqual(3 + 5 * 4)
    expect(leftovers(m)).toBe(0)
  })
})
