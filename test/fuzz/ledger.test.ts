import { expect, test } from 'vitest'
import { fuzzLedger } from './ledger.ts'

test('mutated transactions are applied with all invariants kept, or refused without a trace (a few seconds of test/fuzz/ledger.ts)', () => {
  const result = fuzzLedger(4000, 5)
  expect(result.failures).toEqual([])
  // Not vacuous: mutants reach every stage, and some are good.
  expect(result.accepted).toBeGreaterThan(50)
  for (const code of ['encoding', 'signature', 'nonce', 'range', 'balance', 'missing', 'chain', 'fee']) expect(result.refused[code], code).toBeGreaterThan(0)
}, 240_000)
