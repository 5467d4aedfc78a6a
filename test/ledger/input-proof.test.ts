// A claim that says other input than its job gave is denied by one record; a claim that says the right one by nothing.
import { expect, test } from 'vitest'
import { encodeMove } from '../../ledger/dispute/moves.ts'
import { LedgerError } from '../../ledger/errors.ts'
import { checkInputProof, decodeInputProof, encodeInputProof, type InputProof, isInputProof } from '../../ledger/input-proof.ts'
import { boundaryRecordBytes, boundaryRecordHash } from '../../protocol/engine/proof/tokens.ts'
import { Tree } from '../../protocol/engine/proof/tree.ts'
import { inputRecords, recordsRootOf, segmentRecords } from '../../relay/ledger/rows.ts'
import { random } from '../tiny-package.ts'
import { word } from './world.ts'

const split = (bytes: Uint8Array): Uint8Array[] =>
  Array.from({ length: bytes.length / boundaryRecordBytes }, (_, i) => bytes.subarray(i * boundaryRecordBytes, (i + 1) * boundaryRecordBytes))
const path = (all: readonly Uint8Array[], at: number): Uint8Array => new Tree(all.map(boundaryRecordHash)).proof(at, at + 1)

/** A job of `count` rows, a claim that says `wrong` of them differently, and the proof about row `at`. */
function scene(count: number, wrong: ReadonlySet<number>, at: number) {
  const inRoots = Array.from({ length: count }, (_, p) => word(`in ${p}`))
  const given = split(inputRecords(inRoots))
  const said = split(
    segmentRecords(
      word('job'),
      inRoots.map((root, p) => (wrong.has(p) ? word(`other ${p}`) : root)),
      inRoots.map((_, p) => word(`out ${p}`)),
      count,
    ),
  )
  const proof: InputProof = { position: at, record: said[at], path: path(said, at), given: given[at], givenPath: path(given, at) }
  const roots = [said, given].map((list) => recordsRootOf(new Uint8Array(list.flatMap((one) => [...one])))) as [Uint8Array, Uint8Array]
  return { proof, roots }
}

test('a row that the claim says differently brings it down, every other one nothing', () => {
  for (const count of [1, 2, 3, 5, 8, 13]) {
    for (let at = 0; at < count; at++) {
      const wrong = scene(count, new Set([at]), at)
      const bytes = encodeInputProof(wrong.proof)
      expect(isInputProof(bytes)).toBe(true)
      expect(() => checkInputProof(decodeInputProof(bytes), count, ...wrong.roots)).not.toThrow()
      const right = scene(count, new Set([(at + 1) % (count + 1)]), at)
      expect(() => checkInputProof(right.proof, count, ...right.roots)).toThrow('says the input that it was given')
    }
  }
  expect(isInputProof(encodeMove({ kind: 'demand' }))).toBe(false)
  expect(isInputProof(encodeMove({ kind: 'commit', hash: word('h') }))).toBe(false)
})

test('no altered proof denies a true claim', () => {
  const next = random(7)
  const { proof, roots } = scene(13, new Set(), 6)
  const bytes = encodeInputProof(proof)
  for (let count = 0; count < 20_000; count++) {
    const changed = bytes.slice()
    for (let flips = 1 + (next() % 3); flips > 0; flips--) changed[next() % changed.length] ^= 1 << (next() % 8)
    expect(() => checkInputProof(decodeInputProof(changed), 13, ...roots)).toThrow(LedgerError)
  }
  // Records of other places are no proof either, though both are in their lists.
  for (let at = 0; at < 13; at++) {
    const other = scene(13, new Set(), at).proof
    expect(() => checkInputProof({ ...proof, given: other.given, givenPath: other.givenPath }, 13, ...roots)).toThrow(LedgerError)
    expect(() => checkInputProof({ ...proof, position: at }, 13, ...roots)).toThrow(LedgerError)
  }
})
