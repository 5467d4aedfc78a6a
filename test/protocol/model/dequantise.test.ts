import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { fromHex } from '../../../protocol/hash.ts'
import { createGroups, dequantiseRow, isFourBit, powerOfTwo, readGroups, type SourceType, sourceTypes } from '../../../protocol/model/dequantise.ts'

// Values by gguf-py, llama.cpp's own package: test/vectors/make-gguf-formats.py.
const golden = JSON.parse(readFileSync(new URL('../../vectors/gguf-formats.json', import.meta.url), 'utf8')) as Record<
  string,
  { bytes: string; values: number[] }
>
const types = [...sourceTypes.values()]
const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
const scaleAt: Record<string, number[]> = { Q4_0: [0], Q4_1: [0, 2], Q5_0: [0], Q5_1: [0, 2], Q8_0: [0], Q4_K: [0, 2], Q5_K: [0, 2], Q6_K: [208] }

const read = (type: SourceType, bytes: Uint8Array): { max: number; values: Float64Array } => {
  const values = new Float64Array(512)
  return { max: dequantiseRow(type, bytes, viewOf(bytes), 0, 512, values), values }
}

test.each(types)('$name reads as llama.cpp reads it, to the last bit', (type) => {
  const { max, values } = read(type, fromHex(golden[type.name].bytes))
  expect(Array.from(values, (v) => v + 0)).toEqual(golden[type.name].values.map((v) => v + 0))
  expect(max).toBe(Math.max(...golden[type.name].values.map(Math.abs)))
})

test('the vectors are not vacuous: each format has both signs and hundreds of different values', () => {
  for (const { name } of types) {
    const { values } = golden[name]
    expect(new Set(values).size, name).toBeGreaterThan(100)
    expect(Math.min(...values), name).toBeLessThan(0)
    expect(Math.max(...values), name).toBeGreaterThan(0)
  }
})

test.each(types.filter(isFourBit))('groups of $name are d·(q − 8) + m with the shipped nibbles', (type) => {
  const bytes = fromHex(golden[type.name].bytes)
  const groups = createGroups(512)
  const max = readGroups(type, bytes, viewOf(bytes), 0, 512, groups)
  const nibbles = new Uint8Array(groups.nibbles.buffer)
  for (let column = 0; column < 512; column++) {
    const byte = nibbles[(column >> 5) * 16 + ((column & 31) >> 3) * 4 + (column & 3)]
    const q = (column & 4) === 0 ? byte & 15 : byte >> 4
    expect(groups.d[column >> 5] * (q - 8) + groups.m[column >> 5] + 0).toBe(golden[type.name].values[column] + 0)
  }
  expect(max).toBe(Math.max(...[...groups.d, ...groups.m].map(Math.abs)))
})

describe('NaN and infinity', () => {
  test.each(types.filter((type) => scaleAt[type.name]))('in any scale of $name are reported', (type) => {
    for (const at of scaleAt[type.name]) {
      for (const bits of [0x7c00, 0xfc00, 0x7e00, 0xffff]) {
        const bytes = fromHex(golden[type.name].bytes)
        viewOf(bytes).setUint16(type.bytes + at, bits, true)
        // A scale of NaN counts only where something is multiplied by it, which is everywhere: NaN · 0 is NaN.
        if (type.values * 2 > 512) continue
        expect(read(type, bytes).max, `${bits} at ${at}`).toBeNaN()
        if (isFourBit(type)) expect(readGroups(type, bytes, viewOf(bytes), 0, 512, createGroups(512))).toBeNaN()
      }
    }
  })
  test.each([
    ['F32', [0x7f800000, 0xff800000, 0x7fc00001]],
    ['F16', [0x7c00, 0xfc00, 0x7e01]],
    ['BF16', [0x7f80, 0xff80, 0x7fc1]],
  ] as const)('among values of %s are reported', (name, patterns) => {
    const type = types.find((t) => t.name === name)!
    for (const bits of patterns) {
      const bytes = fromHex(golden[name].bytes)
      if (type.bytes === 4) viewOf(bytes).setUint32(400, bits, true)
      else viewOf(bytes).setUint16(400, bits, true)
      expect(read(type, bytes).max).toBeNaN()
    }
  })
})

test('powers of two are exact', () => {
  for (let k = -1022; k <= 1023; k++) expect(powerOfTwo(k)).toBe(2 ** k)
})
