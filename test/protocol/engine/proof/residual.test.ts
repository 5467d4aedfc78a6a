import { readFileSync } from 'node:fs'
import { beforeAll, expect, test } from 'vitest'
import { residualRoot, residualRoots, setResidualRoots } from '../../../../protocol/engine/proof/residual.ts'
import { rootsFrom } from '../../../../protocol/engine/proof/roots.ts'
import type { ListShape } from '../../../../protocol/engine/proof/table.ts'
import { traceListRoot, treeOf } from '../../../../protocol/engine/proof/tree.ts'
import { hex } from '../../../../protocol/hash.ts'
import { Boundaries } from '../../../../protocol/peer/boundaries.ts'
import { random } from '../../../tiny-package.ts'
import { ensureWasm } from '../../../wasm-build.ts'

const next = random(5)
const row = (count: number): Int32Array => Int32Array.from({ length: count }, () => next() | 0)
const rootOf = (values: Int32Array): Uint8Array => {
  const shape: ListShape = { type: 'i32', fields: 1, elements: values.length, perTile: 64 }
  return traceListRoot(shape, treeOf(shape, values).top)
}

beforeAll(() => ensureWasm())

test('a residual has the root that a trace gives it, of every width, alone and four at a time', async () => {
  const faster = await rootsFrom(await WebAssembly.compile(readFileSync(new URL('../../../../build/roots.wasm', import.meta.url))))
  for (const count of [1, 4, 15, 16, 17, 46, 47, 48, 62, 63, 64, 65, 127, 128, 130, 191, 193, 576, 640, 960, 2048, 4096, 4097, 8191, 8192]) {
    const rows = [row(count), row(count).fill(-1), row(count).fill(0), row(count)]
    const roots = rows.map((one) => hex(rootOf(one)))
    expect(rows.map((one) => hex(residualRoot(one)))).toEqual(roots)
    for (let some = 1; some <= 4; some++) expect(faster(rows.slice(0, some)).map(hex)).toEqual(roots.slice(0, some))
  }
  expect(() => faster([row(64), row(65)])).toThrow(RangeError)
  expect(() => faster(Array.from({ length: 5 }, () => row(64)))).toThrow(RangeError)
  expect(() => faster([row(8193)])).toThrow(RangeError)
})

test('records of rows that came, went and were cut are those of the rows that stayed, however they were hashed', () => {
  for (const together of [null, (rows: readonly Int32Array[]) => rows.map(rootOf)]) {
    if (together) setResidualRoots(together)
    const came = Array.from({ length: 40 }, () => row(100))
    const went = Array.from({ length: 40 }, () => row(100))
    const boundaries = new Boundaries(100, false, false)
    const joined = (rows: Int32Array[], from: number, to: number): Int32Array => Int32Array.from(rows.slice(from, to).flatMap((one) => [...one]))
    boundaries.came(0, joined(came, 0, 10))
    boundaries.went(0, joined(went, 0, 7))
    while (boundaries.waits) boundaries.work(4)
    boundaries.went(7, joined([...went.slice(7, 9), row(100)], 0, 3))
    boundaries.came(10, joined([row(100), row(100)], 0, 2))
    expect(boundaries.records(12)).toBeNull()
    boundaries.cut(9)
    boundaries.came(9, joined(came, 9, 40))
    boundaries.went(9, joined(went, 9, 40))
    boundaries.work(8)
    const records = boundaries.records(40)!
    for (let i = 0; i < 40; i++) {
      expect(hex(records.subarray(i * 64, i * 64 + 32))).toBe(hex(rootOf(came[i]!)))
      expect(hex(records.subarray(i * 64 + 32, i * 64 + 64))).toBe(hex(rootOf(went[i]!)))
    }
    expect(() => boundaries.came(42, row(100))).toThrow(RangeError)
  }
  expect(residualRoots([row(4)])).toHaveLength(1)
})
