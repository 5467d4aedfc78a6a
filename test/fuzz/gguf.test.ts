import { expect, test } from 'vitest'
import { fuzzGguf } from './gguf.ts'

test('mutated model files are imported or refused in a sentence (a few seconds of test/fuzz/gguf.ts)', async () => {
  const result = await fuzzGguf(250, 77)
  expect(result.failures).toEqual([])
  // Not vacuous: mutants reach all stages.
  expect(result.imported).toBeGreaterThan(10)
  expect(result.sentences).toBeGreaterThan(30)
  expect(result.largestShare).toBeLessThan(3)
})
