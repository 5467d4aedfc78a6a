import fc from 'fast-check'
import { expect, test } from 'vitest'
import { emptyTree, pathOf, proofBytesMax, prove, rootOf, type TreeNode, update, valueHash, verify } from '../../ledger/tree.ts'
import { hex } from '../../protocol/hash.ts'
import { word } from './world.ts'

type Entries = Map<string, Uint8Array>
const build = (entries: Entries): TreeNode =>
  update(
    null,
    [...entries].map(([key, value]) => ({ path: pathOf(key), value: valueHash(value) })),
  )
const keyOf = (n: number): string => `account/${n}`

const steps = fc.array(fc.record({ key: fc.nat(60), value: fc.option(fc.nat(1000), { nil: null }) }), { maxLength: 80 })

test('any sequence of changes, in blocks of any size, gives the tree of its last values, and proofs of presence and absence', () => {
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 20 }), (changes, size) => {
      const entries: Entries = new Map()
      let tree: TreeNode = null
      for (let at = 0; at < changes.length; at += size) {
        const block = new Map(changes.slice(at, at + size).map(({ key, value }) => [keyOf(key), value === null ? null : word(String(value))]))
        for (const [key, value] of block) {
          if (value) entries.set(key, value)
          else entries.delete(key)
        }
        tree = update(
          tree,
          [...block].map(([key, value]) => ({ path: pathOf(key), value: value && valueHash(value) })),
        )
        expect(hex(rootOf(tree))).toBe(hex(rootOf(build(new Map([...entries].toReversed())))))
      }
      for (let n = 0; n < 70; n += 7) {
        const key = keyOf(n)
        const value = entries.get(key) ?? null
        const proof = prove(tree, pathOf(key))
        expect(verify(rootOf(tree), key, value, proof)).toBe(true)
        expect(verify(rootOf(tree), key, value ? null : word('x'), proof)).toBe(false)
        if (value) expect(verify(rootOf(tree), key, word('other'), proof)).toBe(false)
      }
    }),
    { numRuns: 60 },
  )
})

const thousand = build(new Map(Array.from({ length: 1000 }, (_, n) => [keyOf(n), word(String(n))])))

test('a proof with any bit changed proves nothing', () => {
  for (const key of [keyOf(5), keyOf(5000)]) {
    const value = key === keyOf(5) ? word('5') : null
    const proof = prove(thousand, pathOf(key))
    expect(verify(rootOf(thousand), key, value, proof)).toBe(true)
    for (let bit = 0; bit < proof.length * 8; bit++) {
      const changed = proof.slice()
      changed[bit >> 3] ^= 1 << (bit & 7)
      expect(verify(rootOf(thousand), key, value, changed)).toBe(false)
    }
  }
})

test('verify is total: any bytes give true or false', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (proof, present) => {
      expect(verify(rootOf(thousand), keyOf(1), present ? word('1') : null, proof)).toBe(false)
    }),
  )
  expect(verify(rootOf(thousand), keyOf(1), null, new Uint8Array(proofBytesMax + 1))).toBe(false)
  expect(verify(emptyTree, keyOf(1), null, prove(null, pathOf(keyOf(1))))).toBe(true)
})

test('the proof of an account among a hundred thousand takes less than 4 KiB', () => {
  const large = update(
    null,
    Array.from({ length: 100_000 }, (_, n) => ({ path: pathOf(keyOf(n)), value: word('v') })),
  )
  let longest = 0
  for (let n = 0; n < 100_000; n += 997) longest = Math.max(longest, prove(large, pathOf(keyOf(n))).length)
  expect(longest).toBeLessThan(1200)
})

test('an older root stays provable while the tree goes on', () => {
  const before = rootOf(thousand)
  const after = update(thousand, [{ path: pathOf(keyOf(1)), value: null }])
  expect(hex(rootOf(thousand))).toBe(hex(before))
  expect(verify(before, keyOf(1), word('1'), prove(thousand, pathOf(keyOf(1))))).toBe(true)
  expect(verify(rootOf(after), keyOf(1), null, prove(after, pathOf(keyOf(1))))).toBe(true)
})
