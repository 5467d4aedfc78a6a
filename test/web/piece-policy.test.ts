import { expect, test } from 'vitest'
import { mayAsk, type Source } from '../../web/peer/piece-policy.ts'

const source = (kind: Source['kind'], change: Partial<Source> = {}): Source => ({ kind, speed: 1e6, peak: 4e6, ...change })

test('a peer that holds a part may be asked for anything it has', () => {
  expect(mayAsk(source('partial'), 3, 1, 0, false)).toBe(true)
})

test('a seeder is asked for what nobody else has, and for the rest only while the others give less than half of what it could', () => {
  expect(mayAsk(source('seeder'), 0, 1, 9e6, false)).toBe(true)
  expect(mayAsk(source('seeder'), 1, 1, 9e6, false)).toBe(false)
  expect(mayAsk(source('seeder'), 1, 1, 1e6, false)).toBe(true)
})

test('the relay’s web seed comes last: for what no peer has, or when no peer sends', () => {
  expect(mayAsk(source('web'), 0, 0, 0, false)).toBe(true)
  expect(mayAsk(source('web'), 0, 1, 0, false)).toBe(false)
  expect(mayAsk(source('web'), 2, 0, 0, false)).toBe(false)
  expect(mayAsk(source('web'), 2, 1, 0, true)).toBe(true)
})
