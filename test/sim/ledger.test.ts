import { expect, test } from 'vitest'
import { simulate } from './ledger.ts'

test('many lives of a ledger with cheats of every kind: all invariants hold, the honest finish, the cheats are foiled', async () => {
  const foiled = new Map<string, number>()
  // Five seeds in which every kind of cheat tries.
  for (let seed = 4; seed <= 8; seed++) {
    const result = await simulate(seed, 40, seed === 4)
    for (const [what, times] of Object.entries(result.foiled)) foiled.set(what, (foiled.get(what) ?? 0) + times)
  }
  // Not vacuous: every kind of cheat has tried.
  for (const start of ['doubleSpender', 'overdrafter', 'withholder', 'copycat', 'replayer', 'thief', 'a host shows', 'requester and host'])
    expect(
      [...foiled.keys()].some((what) => what.startsWith(start)),
      start,
    ).toBe(true)
}, 240_000)

test('the same seed ends with the same hash, another with another', async () => {
  const { hash } = await simulate(42, 20)
  expect((await simulate(42, 20)).hash).toBe(hash)
  expect((await simulate(43, 20)).hash).not.toBe(hash)
}, 240_000)
