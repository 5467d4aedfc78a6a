import { expect, test } from 'vitest'
import { killTest } from '../../bench/ledger-kill.ts'

test('killed at random moments under load, the ledger loses nothing that it acknowledged (3 kills; test/bench/ledger-kill.ts does 200)', async () => {
  const result = await killTest(3, 7)
  expect(result).toMatchObject({ kills: 3, lost: 0, rootsEqual: true })
  expect(result.acknowledged).toBeGreaterThan(3)
  expect(result.transactions).toBeGreaterThanOrEqual(result.acknowledged)
}, 240_000)
