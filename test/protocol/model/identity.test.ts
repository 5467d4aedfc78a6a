import { encode } from '@ipld/dag-cbor'
import { beforeAll, describe, expect, test } from 'vitest'
import { random } from '../../../protocol/engine/specimen.ts'
import { hashTagged, hex, lengthPrefixed, u32 } from '../../../protocol/hash.ts'
import { coreBytesMax } from '../../../protocol/limits.ts'
import {
  constTablesRoot,
  coreHashOf,
  decodeCore,
  decodeManifest,
  encodeCore,
  encodeManifest,
  modelIdOf,
  shardListHashOf,
  tensorTableRootOf,
} from '../../../protocol/model/identity.ts'
import { type Core, type Manifest, ModelError, type Tensor } from '../../../protocol/model/manifest.ts'
import { writeGguf } from '../../tiny/gguf-writer.ts'
import { importBytes } from '../../tiny/memory.ts'
import { tinyContents } from '../../tiny/models.ts'

let manifest: Manifest
let gemma: Manifest
beforeAll(async () => {
  manifest = (await importBytes(writeGguf(tinyContents({ architecture: 'qwen2', format: 'Q4_0', embed: 'Q8_0', layers: 1 })))).manifest
  gemma = (await importBytes(writeGguf(tinyContents({ architecture: 'gemma3', format: 'Q4_0', layers: 2 })))).manifest
})

const withCore = (change: Partial<Record<keyof Core, unknown>>): Uint8Array => encode({ ...manifest, core: { ...manifest.core, ...change } })
const withTensor = (index: number, change: Partial<Record<keyof Tensor, unknown>>): Uint8Array =>
  encode({ ...manifest, tensors: manifest.tensors.map((t, i) => (i === index ? { ...t, ...change } : t)) })

test('a manifest is read back as it was written, and so is a core', () => {
  for (const m of [manifest, gemma]) {
    expect(decodeManifest(encodeManifest(m))).toEqual(m)
    expect(decodeCore(encodeCore(m.core))).toEqual(m.core)
    expect(encodeCore(m.core).length).toBeLessThan(coreBytesMax)
  }
})

test('the id is H("model", core, tensors, tables, shards)', () => {
  const shards = hashTagged(
    'shards',
    u32(manifest.shards.length),
    ...manifest.shards.flatMap((s) => [lengthPrefixed(s.name), u32(s.bytes, 0), s.sha256, s.root]),
  )
  expect(hex(shardListHashOf(manifest.shards))).toBe(hex(shards))
  expect(modelIdOf(manifest)).toBe(hex(hashTagged('model', coreHashOf(manifest.core), tensorTableRootOf(manifest.tensors), constTablesRoot(), shards)))
})

test('every field that the core and the tensors have is part of the id', () => {
  const id = modelIdOf(manifest)
  const other = (value: unknown): unknown => {
    if (typeof value === 'number') return value + 1
    if (typeof value === 'boolean') return !value
    if (value instanceof Uint8Array) return value.map((b, i) => (i === value.length - 1 ? b ^ 1 : b))
    return value === null ? new Uint8Array(3) : `${value}x`
  }
  for (const [key, value] of Object.entries(manifest.core))
    expect(modelIdOf({ ...manifest, core: { ...manifest.core, [key]: other(value) } }), key).not.toBe(id)
  for (const key of ['name', 'rows', 'columns', 'bits', 'root'] as const) {
    const tensors = manifest.tensors.map((t, i) => (i === 3 ? { ...t, [key]: other(t[key]) } : t))
    expect(modelIdOf({ ...manifest, tensors }), key).not.toBe(id)
  }
  for (const key of ['name', 'bytes', 'sha256', 'root'] as const) {
    const shards = manifest.shards.map((s, i) => (i === 1 ? { ...s, [key]: other(s[key]) } : s))
    expect(modelIdOf({ ...manifest, shards }), key).not.toBe(id)
  }
})

describe('a stranger’s manifest is refused', () => {
  const cases: [string, () => Uint8Array, RegExp][] = [
    ['empty', () => new Uint8Array(), /not dag-cbor/],
    ['too long', () => new Uint8Array((1 << 20) + 1), /1048577 bytes, at most 1048576/],
    ['of nested lists', () => new Uint8Array(1 << 20).fill(0x81), /not dag-cbor|not a map/],
    ['a list', () => encode([1]), /not a map/],
    ['with an unknown field', () => encode({ ...manifest, extra: 1 }), /unknown field "extra"/],
    ['without a field', () => encode({ core: manifest.core, tensors: [] }), /lacks the field shards/],
    ['of another version', () => withCore({ version: 2 }), /version other than 1/],
    ['with a core field too many', () => withCore({ ['x' as keyof Core]: 1 }), /unknown field "x"/],
    ['of an unknown architecture', () => withCore({ architecture: 'mamba' }), /core.architecture of the manifest is not one of/],
    ['with a width beyond the limit', () => withCore({ hidden: 1 << 20 }), /core.hidden of the manifest is not an integer from 32 to 8192/],
    ['with a fraction', () => withCore({ hidden: 64.5 }), /core.hidden/],
    ['with another width', () => withCore({ hidden: 96 }), /of tensor embed is not|bytes of tensor|columns of tensor/],
    ['with more layers than tensors', () => withCore({ layers: 5 }), /tensor layers.1.wq of the manifest is not a map/],
    ['with a long name', () => withCore({ name: 'x'.repeat(129) }), /core.name of the manifest is not a text of at most 128 bytes/],
    ['with other fractions', () => withCore({ residualBits: 8 }), /residualBits and hiddenBits are 8 and 16/],
    ['with frequencies missing', () => withCore({ ropeGlobal: new Uint8Array(6) }), /rotary frequencies are not 16 numbers/],
    ['with frequencies null', () => withCore({ ropeGlobal: null }), /ropeGlobal|rotary frequencies/],
    ['with local frequencies that nothing reads', () => withCore({ ropeLocal: new Uint8Array(48) }), /local rotary frequencies/],
    ['with a window that nothing reads', () => withCore({ slidingWindow: 5 }), /sliding window/],
    ['with epsilon NaN', () => withCore({ epsBits: 0x7fc00000 }), /core.epsBits/],
    ['with a huge epsilon', () => withCore({ epsBits: 0x7f000000 }), /epsilon/],
    ['with tied as a number', () => withCore({ tied: 1 }), /core.tied of the manifest is not true or false/],
    ['with a tensor elsewhere', () => withTensor(2, { offset: 64 }), /offset of tensor layers.0.wq of the manifest is not/],
    ['with a vector as matrix', () => withTensor(1, { format: 'w8' }), /format of tensor layers.0.attention_norm/],
    ['with a tensor renamed', () => withTensor(1, { name: 'x' }), /name of tensor layers.0.attention_norm/],
    [
      'with bits beyond the bounds',
      () => withTensor(1, { bits: 41 }),
      /bits of tensor layers.0.attention_norm of the manifest is not an integer from -3 to 40/,
    ],
    ['with a short root', () => withTensor(1, { root: new Uint8Array(31) }), /root of tensor layers.0.attention_norm of the manifest is not a hash/],
    [
      'with another tensor root than its shard’s',
      () => withTensor(1, { root: new Uint8Array(32) }),
      /root of shard layer-0 of the manifest is not the root over its tensors/,
    ],
    ['with a shard too many', () => encode({ ...manifest, shards: [...manifest.shards, manifest.shards[0]] }), /shards of the manifest is not a list of 4/],
    [
      'with a shard of another name',
      () => encode({ ...manifest, shards: manifest.shards.map((s) => ({ ...s, name: `../${s.name}` })) }),
      /name of shard 0 of the manifest is not embed/,
    ],
    [
      'with a tokenizer without end',
      () => encode({ ...manifest, shards: manifest.shards.map((s) => (s.name === 'tokenizer' ? { ...s, bytes: 2 ** 40 } : s)) }),
      /size of shard tokenizer/,
    ],
    ['in another byte order of its keys', () => Uint8Array.from([0xa3, ...encodeManifest(manifest).subarray(1)].reverse()), /not dag-cbor|not a map/],
  ]
  test.each(cases)('%s', (_name, make, message) => {
    let error: unknown
    try {
      decodeManifest(make())
    } catch (e) {
      error = e
    }
    expect(error).toBeInstanceOf(ModelError)
    expect((error as Error).message).toMatch(message)
  })

  test('whatever byte is changed: nothing but a ModelError, or another manifest in canonical form', () => {
    const next = random(11)
    let refused = 0
    for (const good of [encodeManifest(manifest), encodeManifest(gemma)]) {
      for (let i = 0; i < 2000; i++) {
        const bytes = good.slice(0, next() % 20 === 0 ? next() % good.length : good.length)
        for (let changes = 1 + (next() % 3); changes > 0; changes--) bytes[next() % 3 === 0 ? next() % bytes.length : next() % 700] = next()
        try {
          expect(encodeManifest(decodeManifest(bytes))).toEqual(bytes)
        } catch (error) {
          expect(error).toBeInstanceOf(ModelError)
          refused++
        }
      }
    }
    expect(refused).toBeGreaterThan(2000)
  })
})
