import { describe, expect, test } from 'vitest'
import { DraftPace, draftOf } from '../../../protocol/peer/draft.ts'

describe('guesses from the text', () => {
  test('continue at the newest place where the last three tokens stood, else the last two', () => {
    expect(draftOf([1, 2, 3, 4, 5, 9, 1, 2, 3], 3)).toEqual([4, 5, 9])
    expect(draftOf([1, 2, 3, 4, 1, 2, 3, 7, 1, 2, 3], 2)).toEqual([7, 1])
    expect(draftOf([8, 2, 3, 6, 5, 2, 3], 4)).toEqual([6, 5, 2, 3])
  })
  test('are none when nothing stood before, and never more than asked for', () => {
    expect(draftOf([1, 2, 3, 4], 8)).toEqual([])
    expect(draftOf([1], 8)).toEqual([])
    expect(draftOf([1, 1, 1, 1], 8).length).toBeLessThanOrEqual(8)
  })
})

describe('how many guesses a round carries', () => {
  test('many where they are right, none where they are wrong, and then a short try now and again', () => {
    const pace = new DraftPace()
    expect(pace.count(3, 1)).toBe(0)
    pace.learn(0, 0, 160)
    expect(pace.count(3, 1)).toBeGreaterThan(0)
    for (let i = 0; i < 20; i++) pace.learn(8, 8, 170)
    expect(pace.count(3, 1)).toBe(8)
    for (let i = 0; i < 60; i++) pace.learn(8, 0, 170)
    const counts = Array.from({ length: 64 }, () => pace.count(3, 1))
    expect(counts.filter((count) => count > 0)).toEqual([2, 2])
  })
  test('none in a full batch unless they are nearly free: all of it waits for them', () => {
    const pace = new DraftPace()
    pace.learn(0, 0, 32)
    for (let i = 0; i < 20; i++) pace.learn(4, 2, 44)
    expect(pace.count(1, 3, 1)).toBeGreaterThan(0)
    expect(pace.count(1, 3, 8)).toBe(0)
    const free = new DraftPace()
    free.learn(0, 0, 300)
    for (let i = 0; i < 20; i++) free.learn(4, 4, 301)
    expect(free.count(3, 0, 8)).toBe(8)
  })
  test('few where rows are dear', () => {
    const pace = new DraftPace()
    pace.learn(0, 0, 20)
    for (let i = 0; i < 20; i++) pace.learn(4, 3, 100)
    expect(pace.count(1, 20)).toBe(0)
  })
})
