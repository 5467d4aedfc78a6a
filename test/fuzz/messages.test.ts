import { expect, test } from 'vitest'
import { fuzzMessages } from './messages.ts'

test('mutated messages, presences and receipts are read exactly or refused in a sentence (some thousands of test/fuzz/messages.ts)', () => {
  for (const result of fuzzMessages(5000, 7)) {
    expect({ decoder: result.decoder, failures: result.failures }).toEqual({ decoder: result.decoder, failures: [] })
    // Not vacuous: some get through, many different sentences are said.
    expect(result.accepted).toBeGreaterThan(5)
    expect(result.sentences).toBeGreaterThan(20)
  }
})
