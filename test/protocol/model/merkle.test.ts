import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { random } from '../../../protocol/engine/specimen.ts'
import { fromHex, hashTagged, hex, sha256, sha256Stream } from '../../../protocol/hash.ts'
import { type Tensor, tensorBytes } from '../../../protocol/model/manifest.ts'
import { depthOf, emptyRoot, foldProof, hashNode, proofOf, treeTop } from '../../../protocol/model/merkle.ts'
import { slotsOf, tensorRoot, tileOf, verifyTile } from '../../../protocol/model/tiles.ts'

const leaf = (i: number): Uint8Array => sha256(Uint8Array.of(i))

/** The definition, spelled out: all 2^depth slots. */
function naive(leaves: Uint8Array[]): Uint8Array {
  let row = [...leaves]
  while (row.length < 2 ** depthOf(leaves.length)) row.push(emptyRoot(0))
  while (row.length > 1) row = Array.from({ length: row.length / 2 }, (_, i) => hashNode(row[2 * i], row[2 * i + 1]))
  return row[0]
}

describe('hashes', () => {
  test('H is SHA-256 over the length of the name, the name and the parts', () => {
    const expected = createHash('sha256')
      .update(Buffer.concat([Buffer.from([8]), Buffer.from('mw/tok/1'), Buffer.from([1, 2, 3])]))
      .digest('hex')
    expect(hex(hashTagged('tok', Uint8Array.of(1), Uint8Array.of(2, 3)))).toBe(expected)
  })
  test('in pieces equal at once', () => {
    const stream = sha256Stream()
    stream.update(Uint8Array.of(1, 2))
    stream.update(Uint8Array.of(3))
    expect(hex(stream.digest())).toBe(
      createHash('sha256')
        .update(Uint8Array.of(1, 2, 3))
        .digest('hex'),
    )
  })
  test('hexadecimal goes both ways and refuses the rest', () => {
    expect(hex(fromHex('00ff7A'))).toBe('00ff7a')
    for (const bad of ['0', 'zz', ' 00', '0x00']) expect(() => fromHex(bad)).toThrow(RangeError)
  })
})

describe('trees', () => {
  test('of 0 to 40 leaves have the root of the definition', () => {
    for (let n = 0; n <= 40; n++) {
      const leaves = Array.from({ length: n }, (_, i) => leaf(i))
      expect(hex(treeTop(leaves)), String(n)).toBe(hex(naive(leaves)))
    }
  })
  test('prove every leaf, and only in its place', () => {
    for (const n of [1, 2, 3, 5, 8, 13, 33]) {
      const leaves = Array.from({ length: n }, (_, i) => leaf(i))
      const top = hex(treeTop(leaves))
      for (let i = 0; i < n; i++) {
        const proof = proofOf(leaves, i)
        expect(proof.length).toBe(depthOf(n) * 32)
        expect(hex(foldProof(leaves[i], i, n, proof)!)).toBe(top)
        for (let j = 0; j < n; j++) if (j !== i) expect(hex(foldProof(leaves[i], j, n, proof)!)).not.toBe(top)
        if (n > 1) expect(foldProof(leaves[i], i, n, proof.subarray(0, -32))).toBe(null)
        expect(foldProof(leaves[i], i, n, new Uint8Array(proof.length + 32))).toBe(null)
        for (const slot of [n, -1, 0.5, Number.NaN]) expect(foldProof(leaves[i], slot, n, proof)).toBe(null)
      }
      expect(() => proofOf(leaves, n)).toThrow(RangeError)
    }
  })
})

describe('tiles', () => {
  const next = random(5)
  const tensor = (format: Tensor['format'], rows: number, columns: number): { tensor: Tensor; bytes: Uint8Array } => {
    const bytes = Uint8Array.from({ length: tensorBytes(format, rows, columns) }, () => next() >>> 24)
    const shape = { name: 'x', format, rows, columns, bits: 0, shard: 0, offset: 0, bytes: bytes.length }
    return { tensor: { ...shape, root: tensorRoot({ ...shape }, bytes) }, bytes }
  }

  test.each([
    ['w8', 5, 64],
    ['w4', 19, 64],
    ['w8', 3, 8224],
    ['g8', 19, 64],
    ['g8', 2, 8224],
    ['w4', 2, 16416],
    ['v32', 130, 1],
    ['v32', 64, 1],
    ['v32', 1, 1],
  ] as const)('of %s %d × %d prove themselves, and nothing else does', (format, rows, columns) => {
    const { tensor: t, bytes } = tensor(format, rows, columns)
    for (let slot = 0; slot < slotsOf(t); slot++) {
      const tile = tileOf(t, bytes, slot)
      expect(verifyTile(t, tile), String(slot)).toBe(true)
      for (const at of [0, tile.bytes.length >> 1, tile.bytes.length - 1]) {
        const changed = tile.bytes.slice()
        changed[at] ^= 1
        expect(verifyTile(t, { ...tile, bytes: changed })).toBe(false)
      }
      for (let at = 0; at < tile.proof.length; at += 31) {
        const changed = tile.proof.slice()
        changed[at] ^= 128
        expect(verifyTile(t, { ...tile, proof: changed })).toBe(false)
      }
      expect(verifyTile(t, { ...tile, slot: (slot + 1) % (slotsOf(t) + 1) })).toBe(false)
      expect(verifyTile(t, { ...tile, slot: -1 })).toBe(false)
      expect(verifyTile(t, { ...tile, bytes: tile.bytes.subarray(1) })).toBe(false)
      expect(verifyTile({ ...t, rows: t.rows + 1 }, tile)).toBe(false)
    }
  })
  test('cover every byte that means something', () => {
    const { tensor: t, bytes } = tensor('w4', 3, 32)
    const tiles = Array.from({ length: 3 }, (_, slot) => tileOf(t, bytes, slot).bytes)
    // 16 nibble bytes, d, m and the row word: block by block as the panels have them.
    expect(tiles.map((tile) => tile.length)).toEqual([24, 24, 24])
    for (let r = 0; r < 3; r++) {
      const expected = [0, 1, 2, 3].flatMap((k) => [...bytes.subarray(k * 64 + r * 4, k * 64 + r * 4 + 4)])
      expected.push(...bytes.subarray(256 + r * 2, 258 + r * 2), ...bytes.subarray(288 + r * 2, 290 + r * 2), ...bytes.subarray(320 + r * 4, 324 + r * 4))
      expect([...tiles[r]]).toEqual(expected)
    }
  })
})
