// Whatever is sent in whatever order, with time passing in between: no µ appears or vanishes, nothing is negative, locks and escrows add up (World.block checks all of it),
// and the same sequence gives the same root.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { LedgerError } from '../../ledger/errors.ts'
import { State } from '../../ledger/state.ts'
import { hex } from '../../protocol/hash.ts'
import { Scene } from './scene.ts'

const steps = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: fc.record({ send: fc.nat(1000) }) },
    { weight: 2, arbitrary: fc.record({ passMs: fc.constantFrom(1000, 60_000, 3_600_000, 86_400_000, 14 * 86_400_000) }) },
  ),
  { minLength: 1, maxLength: 40 },
)
type Step = { send: number } | { passMs: number }

function live(sequence: readonly Step[]): { root: string; accepted: number; scene: Scene } {
  const scene = new Scene()
  let accepted = 0
  for (const step of sequence) {
    if ('passMs' in step) {
      scene.pass(step.passMs)
      continue
    }
    const all = [...scene.good(), ...scene.early()]
    const [by, body] = all[step.send % all.length]
    try {
      scene.submit(scene.sign(by, body))
      accepted++
    } catch (error) {
      if (!(error instanceof LedgerError)) throw error
    }
  }
  return { root: hex(scene.block()), accepted, scene }
}

test('money is conserved over any sequence of transactions and time, and the root follows from the sequence alone', () => {
  let accepted = 0
  fc.assert(
    fc.property(steps, (sequence) => {
      const first = live(sequence)
      accepted += first.accepted
      expect(live(sequence).root).toBe(first.root)
      // A state read from disk, in another order, is the same state.
      const restored = State.restore(first.scene.chain.state.sealedEntries().toReversed())
      expect(hex(restored.root())).toBe(first.root)
    }),
    { numRuns: 40 },
  )
  expect(accepted).toBeGreaterThan(50)
}, 240_000)
