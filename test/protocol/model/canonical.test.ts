import { describe, expect, test } from 'vitest'
import { weightAt } from '../../../protocol/engine/ops/weights.ts'
import { random } from '../../../protocol/engine/specimen.ts'
import {
  bitsOfNorm,
  gatherRow,
  quantiseRow,
  roundAway,
  rowTileBytes,
  scaleOfGroup,
  scaleOfRow,
  scatterRow,
  shiftOfGroups8,
  shiftOfRow,
  vectorBytes,
} from '../../../protocol/model/canonical.ts'
import { type Tensor, tensorBytes } from '../../../protocol/model/manifest.ts'

/** A double as an exact fraction over 2^400. */
const scale = 400n
function exact(x: number): bigint {
  let exponent = 0
  let m = x
  while (!Number.isInteger(m)) {
    m *= 2
    exponent++
  }
  return (BigInt(m) << scale) >> BigInt(exponent)
}
/** Nearest integer of a fraction, halves away from zero, by integers. */
function roundFraction(numerator: bigint, denominator: bigint): number {
  const size = numerator < 0n ? -numerator : numerator
  const rounded = Number((2n * size + denominator) / (2n * denominator))
  return numerator < 0n && rounded !== 0 ? -rounded : rounded
}

describe('int8 rows', () => {
  const next = random(3)
  const maxima = [
    1,
    127,
    126.5,
    127 * 65535,
    127 * 32768,
    2 ** -20,
    3e-5,
    1e-13,
    2 ** -149,
    0.1,
    65504,
    ...Array.from({ length: 500 }, () => ((next() + 1) / 4294967296) * 2 ** ((next() % 40) - 20)),
  ]

  test('take the smallest scale that holds the largest value', () => {
    for (const max of maxima) {
      const word = scaleOfRow(max)!
      const mantissa = BigInt(word & 0xffff)
      const shift = BigInt(word >>> 16)
      // mantissa · 2^-shift · 127 >= max, and one less does not do.
      const target = exact(max) << shift
      expect((mantissa * 127n) << scale >= target, String(max)).toBe(true)
      expect(((mantissa - 1n) * 127n) << scale < target, String(max)).toBe(true)
      expect(mantissa <= 65535n && (mantissa >= 32768n || shift === 63n), `${max}: ${mantissa} ${shift}`).toBe(true)
    }
  })
  test('round halves away from zero, exactly', () => {
    const values = new Float64Array(64)
    const out = new Int8Array(64)
    let halves = 0
    for (const max of maxima) {
      const word = scaleOfRow(max)!
      const mantissa = word & 0xffff
      const step = mantissa * 2 ** -(word >>> 16)
      values.fill(0)
      values[0] = max
      values[1] = -max
      // Exact halves, their neighbours, and random values.
      for (let i = 2; i < 35; i += 3) {
        const half = (i + 0.5) * step * (i % 2 ? 1 : -1)
        if (Math.abs(half) > max) continue
        values[i] = half
        values[i + 1] = half * (1 - 2 ** -52)
        values[i + 2] = half * (1 + 2 ** -52)
        halves++
      }
      for (let i = 35; i < 64; i++) values[i] = (next() / 2147483648 - 1) * max
      quantiseRow(values, 64, word, out)
      expect([...out]).toEqual(Array.from(values, (value) => roundFraction(exact(value) << BigInt(word >>> 16), BigInt(mantissa) << scale)))
      expect(out.every((w) => w >= -127)).toBe(true)
    }
    expect(halves).toBeGreaterThan(1000)
  })
  test('of zeros have row word 0, and one beyond the largest scale is refused', () => {
    expect(scaleOfRow(0)).toBe(0)
    expect(scaleOfRow(127 * 65535)).toBe(65535)
    for (const max of [127 * 65535.01, 1e9, 3.4e38, Number.MAX_VALUE]) expect(scaleOfRow(max)).toBe(null)
  })
})

describe('4-bit rows', () => {
  test('take the largest shift that keeps d and m in 16 bits', () => {
    for (const [max, shift] of [
      [0, 63],
      [32767, 0],
      [32767.4, 0],
      [32767.5, null],
      [1, 14],
      [2 ** -24, 38],
      [0.99999, 14],
      [0.9999, 15],
      [1.5 * 2 ** 14, 0],
      [1e9, null],
    ] as const)
      expect(shiftOfRow(max), String(max)).toBe(shift)
  })
  test('round halves away from zero', () => {
    for (const [x, y] of [
      [0.5, 1],
      [-0.5, -1],
      [1.4999999999999998, 1],
      [0.49999999999999994, 0],
      [-2.5, -3],
      [3.25, 3],
      [0, 0],
    ])
      expect(roundAway(x) + 0).toBe(y)
  })
})

describe('8-bit groups', () => {
  test('take the largest shift that keeps d in 11 bits', () => {
    for (const [max, shift] of [
      [0, 63],
      [2047, 0],
      [2047.01, null],
      [1, 10],
      [1023.5, 1],
      [2 ** -24, 34],
      [1e38, null],
    ] as const)
      expect(shiftOfGroups8(max), String(max)).toBe(shift)
  })
  test('take the smallest d that holds the largest value', () => {
    for (const [max, shift, d] of [
      [127, 0, 1],
      [127.0001, 0, 2],
      [0, 5, 0],
      [1e-9, 5, 1],
      [259969, 0, 2047],
      [1, 10, 9],
    ] as const)
      expect(scaleOfGroup(max, shift), String(max)).toBe(d)
  })
})

describe('panels', () => {
  test.each([
    ['w8', 96, 33],
    ['w4', 96, 33],
    ['w4', 32, 16],
    ['w8', 32, 1],
    ['g8', 96, 33],
  ] as const)('%s rows of %d columns, %d of them, are read back and by the engine', (format, columns, rows) => {
    const next = random(7)
    const bytes = new Uint8Array(tensorBytes(format, rows, columns))
    const panels = new Uint32Array(bytes.buffer)
    const tiles = Array.from({ length: rows }, () => Uint32Array.from({ length: rowTileBytes(format, columns) / 4 }, next))
    // The scale of a g8 group is 16 bits in a word of 32.
    if (format === 'g8') for (const tile of tiles) for (let k = 8; k < tile.length; k += 9) tile[k] &= 0xffff
    for (const [row, tile] of tiles.entries()) scatterRow(format, columns, tile, row, panels)
    const weight: Tensor = { name: 'x', format, rows, columns, bits: 0, shard: 0, offset: 0, bytes: bytes.length, root: new Uint8Array(32) }
    for (const [row, tile] of tiles.entries()) {
      const back = new Uint32Array(tile.length)
      gatherRow(format, columns, panels, row, back)
      expect(back).toEqual(tile)
      const b = new Uint8Array(tile.buffer)
      const i16 = new Int16Array(tile.buffer)
      const expected = Array.from({ length: columns }, (_, column) => {
        const group = column >> 5
        const byte = b[group * 20 + ((column & 31) >> 3) * 4 + (column & 3)]
        const q = (column & 4) === 0 ? byte & 15 : byte >> 4
        if (format === 'w8') return new Int8Array(b.buffer)[column]
        // The low 12 bits of d, sign-extended.
        if (format === 'g8') return ((b[group * 36 + (column & 31)] << 24) >> 24) * (((b[group * 36 + 32] | (b[group * 36 + 33] << 8)) << 20) >> 20)
        return i16[group * 10 + 8] * (q - 8) + i16[group * 10 + 9]
      })
      expect(expected.map((_, column) => weightAt(bytes, weight, row, column))).toEqual(expected)
    }
  })
})

describe('vectors', () => {
  test('have as many bits as keep them below 2^23, or are refused', () => {
    for (const [max, bits] of [
      [1, 22],
      [0.99, 23],
      [0, 40],
      [2 ** 26 - 8, -3],
      [2 ** 26, null],
      [1e-9, 40],
      [8388607.4, 0],
      [8388607.5, -1],
    ] as const)
      expect(bitsOfNorm(max), String(max)).toBe(bits)
  })
  test('are padded with zeros to 64 bytes and refuse what an i32 cannot hold', () => {
    const bytes = vectorBytes(Float64Array.of(1, -2.5, 0.00001), 3, 16)!
    expect(bytes.length).toBe(64)
    expect([...new Int32Array(bytes.buffer)].slice(0, 5)).toEqual([65536, -163840, 1, 0, 0])
    expect(vectorBytes(Float64Array.of(32767.99), 1, 16)).not.toBe(null)
    expect(vectorBytes(Float64Array.of(-32768), 1, 16)).toBe(null)
    expect(vectorBytes(Float64Array.of(1e300), 1, 16)).toBe(null)
  })
})
