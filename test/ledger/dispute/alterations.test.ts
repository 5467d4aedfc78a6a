import { expect, test } from 'vitest'
import { adversaryNames } from '../../../ledger/dispute/adversaries.ts'
import { type Cheat, cheatOf, places } from './cheats.ts'
import { againstCheat, againstHonest } from './tournament.ts'

test('single alterations of tiny models at random places end in a verdict against the cheat, true claims stand', async () => {
  const seen = new Map<string, number>()
  let games = 0
  for (let seed = 1; games < 60; seed++) {
    const cheat: Cheat | null = await cheatOf(seed)
    if (!cheat) continue
    games++
    seen.set(cheat.place, (seen.get(cheat.place) ?? 0) + 1)
    const ended = againstCheat(cheat, seed)
    expect(`${seed} ${cheat.architecture} ${cheat.what}: ${ended.outcome}`).toBe(`${seed} ${cheat.architecture} ${cheat.what}: fallen`)
    expect(ended.evidence).toBeLessThanOrEqual(65536)
    const name = adversaryNames[seed % adversaryNames.length]
    expect(`${seed} ${name}: ${againstHonest(cheat, name, seed).outcome}`).toBe(`${seed} ${name}: upheld`)
  }
  expect([...seen.keys()].sort()).toEqual([...places].sort())
})
