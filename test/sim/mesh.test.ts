import { expect, test } from 'vitest'
import { meshStory } from './mesh.ts'

test('a mesh in which everything fails gives no wrong word, and every word once the faults end (test/sim/mesh.ts, small)', async () => {
  const lines: string[] = []
  const story = await meshStory(1, 24, (line) => lines.push(line), 40)
  expect(story).toMatchObject({ seed: 1, wrong: 0, unanswered: 0, leaked: 0, ghosts: 0 })
  // Not vacuous: hosts died, answers were repaired.
  expect(story.kills).toBeGreaterThan(5)
  expect(story.repairs).toBeGreaterThan(5)
  expect(story.answered).toBeGreaterThan(20)
  expect(lines.length).toBeGreaterThan(80)
})

test('the same seed tells the same story, another seed another one', async () => {
  const hashes = await Promise.all([5, 5, 6].map(async (seed) => (await meshStory(seed, 10, () => {}, 8)).hash))
  expect(hashes[0]).toBe(hashes[1])
  expect(hashes[0]).not.toBe(hashes[2])
})
