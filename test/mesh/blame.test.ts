// Who sent wrong bytes of a piece: named for certain or not at all.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Blame } from '../../mesh/blame.ts'

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values)

test('one sender of a whole wrong piece is guilty at once', () => {
  const blame = new Blame<string>()
  blame.block(3, 0, bytes(1, 2), 'a')
  blame.block(3, 2, bytes(3, 4), 'a')
  expect(blame.failed(3)).toEqual(['a'])
})

test('of two senders the one whose bytes differ from the good piece is guilty, however the blocks were cut', () => {
  const blame = new Blame<string>()
  blame.block(0, 0, bytes(1, 2, 3), 'honest')
  blame.block(0, 3, bytes(9, 5, 6), 'liar')
  expect(blame.failed(0)).toEqual([])
  blame.block(0, 0, bytes(1, 2), 'c')
  blame.block(0, 2, bytes(3, 4, 5, 6), 'd')
  expect(blame.passed(0)).toEqual(['liar'])
  expect(blame.passed(0)).toEqual([])
})

test('a liar who sends right bytes later is still named for the wrong ones', () => {
  const blame = new Blame<string>()
  blame.block(0, 0, bytes(1), 'a')
  blame.block(0, 1, bytes(7), 'b')
  blame.failed(0)
  blame.block(0, 0, bytes(1), 'a')
  blame.block(0, 1, bytes(2), 'b')
  expect(blame.passed(0)).toEqual(['b'])
})

test('no honest peer is ever named, whoever sends what', () => {
  const piece = Array.from({ length: 24 }, (_, i) => i)
  const tries = fc.array(fc.array(fc.record({ from: fc.nat(23), length: fc.integer({ min: 1, max: 8 }), peer: fc.nat(5) }), { maxLength: 8 }), { maxLength: 6 })
  fc.assert(
    fc.property(tries, fc.subarray([0, 1, 2]), (tries, liars) => {
      const blame = new Blame<number>()
      const named: number[] = []
      for (const blocks of tries) {
        let right = true
        for (const { from, length, peer } of blocks) {
          const sent = Uint8Array.from(piece.slice(from, from + length))
          if (liars.includes(peer)) {
            sent[0] ^= 1
            right = false
          }
          blame.block(0, from, sent, peer)
        }
        named.push(...(right ? blame.passed(0) : blame.failed(0)))
      }
      for (const peer of named) expect(liars).toContain(peer)
    }),
  )
})

test('pieces that fail and never pass do not pile up', () => {
  const blame = new Blame<string>()
  for (let piece = 0; piece < 500; piece++) {
    blame.block(piece, 0, bytes(1), 'a')
    blame.block(piece, 1, bytes(2), 'b')
    blame.failed(piece)
  }
  expect((blame as unknown as { failures: Map<number, unknown> }).failures.size).toBe(64)
})
