import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gguf as keptParser } from '@huggingface/gguf'
import { describe, expect, test } from 'vitest'
import { openGguf, type RandomAccess } from '../../../protocol/model/gguf.ts'
import { ModelError } from '../../../protocol/model/manifest.ts'
import { type Entry, type GgufContents, splitGguf, writeGguf } from '../../tiny/gguf-writer.ts'
import { memoryFile } from '../../tiny/memory.ts'
import { tinyContents } from '../../tiny/models.ts'

const open = (bytes: Uint8Array) => openGguf([memoryFile(bytes)])
const none: GgufContents = { metadata: [], tensors: [] }
const tensor = (change: Partial<GgufContents['tensors'][0]> = {}): GgufContents['tensors'][0] => ({
  name: 't',
  dims: [32, 2],
  type: 8,
  data: new Uint8Array(68),
  ...change,
})

/** The one sentence, which must not take long or much to say. */
async function refusal(bytes: Uint8Array | RandomAccess[]): Promise<string> {
  const error = await openGguf(bytes instanceof Uint8Array ? [memoryFile(bytes)] : bytes).then(
    () => null,
    (e: unknown) => e,
  )
  expect(error).toBeInstanceOf(ModelError)
  return (error as Error).message
}

describe('a good file', () => {
  test.each(['llama', 'gemma3'] as const)('%s reads as @huggingface/gguf reads it', async (architecture) => {
    const bytes = writeGguf(tinyContents({ architecture, format: 'Q4_0' }))
    const folder = await mkdtemp(join(tmpdir(), 'meadow-gguf-'))
    try {
      await writeFile(join(folder, 'tiny.gguf'), bytes)
      const kept = await keptParser(join(folder, 'tiny.gguf'), { allowLocalFile: true })
      const own = await open(bytes)
      const plain = (value: unknown): unknown => (ArrayBuffer.isView(value) ? Array.from(value as never) : value)
      for (const [key, value] of own.metadata) expect(plain(value), key).toEqual(kept.metadata[key as keyof typeof kept.metadata])
      expect(own.metadata.size).toBe(Object.keys(kept.metadata).length - 3)
      expect([...own.tensors.values()].map((t) => [t.name, t.dims.map(BigInt), t.offset])).toEqual(
        kept.tensorInfos.map((t) => [t.name, t.shape, Number(kept.tensorDataOffset + t.offset)]),
      )
    } finally {
      await rm(folder, { recursive: true })
    }
  })
  test('has values of every type', async () => {
    const metadata: Entry[] = [
      ['a', 'u8', 200],
      ['b', 'i8', -3],
      ['c', 'u16', 60000],
      ['d', 'i16', -300],
      ['e', 'u32', 4e9],
      ['f', 'i32', -5],
      ['g', 'f32', 0.1],
      ['h', 'bool', true],
      ['i', 'text', '\ufeffgrüße'],
      ['j', 'u64', 7],
      ['k', 'i64', -7],
      ['l', 'f64', 0.1],
      ['m', 'u64', 2n ** 63n],
      ['n', 'bool[]', [true, false]],
      ['o', 'i8[]', [-1, 2]],
      ['p', 'text[]', ['', 'x']],
      ['q', 'i64[]', [-1n]],
      ['r', 'f32[]', [0.5]],
      ['s', 'u16[]', []],
    ]
    const read = await open(writeGguf({ metadata, tensors: [] }))
    const expected = {
      a: 200,
      b: -3,
      c: 60000,
      d: -300,
      e: 4e9,
      f: -5,
      g: Math.fround(0.1),
      h: true,
      i: '\ufeffgrüße',
      j: 7,
      k: -7,
      l: 0.1,
      m: 2n ** 63n,
      n: [true, false],
    }
    for (const [key, value] of Object.entries(expected)) expect(read.metadata.get(key), key).toEqual(value)
    expect(read.metadata.get('o')).toEqual(Int8Array.of(-1, 2))
    expect(read.metadata.get('p')).toEqual(['', 'x'])
    expect(read.metadata.get('q')).toEqual(BigInt64Array.of(-1n))
    expect(read.metadata.get('s')).toEqual(new Uint16Array())
  })
  test('may be of version 2, or aligned otherwise', async () => {
    const contents: GgufContents = { version: 2, alignment: 128, metadata: [['general.alignment', 'u32', 128]], tensors: [tensor(), tensor({ name: 'u' })] }
    const { tensors } = await open(writeGguf(contents))
    expect([...tensors.values()].map((t) => t.offset % 128)).toEqual([0, 0])
    expect(tensors.get('u')!.offset - tensors.get('t')!.offset).toBe(128)
  })
  test('with more metadata than the first read is read on', async () => {
    const texts = Array.from({ length: 200_000 }, (_, i) => `token ${i}`)
    const { metadata } = await open(writeGguf({ metadata: [['x', 'text[]', texts]], tensors: [tensor()] }))
    expect(metadata.get('x')).toEqual(texts)
  })
})

describe('a hostile file is refused in one sentence:', () => {
  const first = (bytes: Uint8Array, at: number, value: bigint): Uint8Array => {
    new DataView(bytes.buffer).setBigUint64(at, value, true)
    return bytes
  }
  const cases: [string, () => Uint8Array, RegExp][] = [
    ['empty', () => new Uint8Array(), /no GGUF file/],
    ['another kind of file', () => new TextEncoder().encode('<!doctype html> this is a page, no model'), /no GGUF file/],
    ['version 1', () => writeGguf({ ...none, version: 1 }), /version 1; 2 and 3 are supported/],
    ['big-endian', () => writeGguf({ ...none, version: 0x03000000 }), /big-endian/],
    ['absurd tensor count', () => writeGguf({ ...none, tensorCount: 2n ** 63n }), /claims \d+ tensors, at most 4096/],
    ['absurd key count', () => writeGguf({ ...none, keyCount: 2n ** 64n - 1n }), /metadata keys, at most 4096/],
    ['more tensors than are there', () => writeGguf({ ...none, tensorCount: 100 }), /ends too early: the number of dimensions of tensor/],
    ['more keys than are there', () => writeGguf({ ...none, keyCount: 3 }), /ends too early/],
    [
      'endless key',
      () => first(writeGguf({ metadata: [['abc', 'u8', 1]], tensors: [] }), 24, 2n ** 62n),
      /name of metadata key 0 .*claims \d+ bytes, at most 256/,
    ],
    [
      'endless text',
      () => first(writeGguf({ metadata: [['abc', 'text', 'x']], tensors: [] }), 24 + 8 + 3 + 4, 2n ** 40n),
      /"abc" .*claims 1099511627776 bytes, at most/,
    ],
    [
      'text behind the end',
      () => first(writeGguf({ metadata: [['abc', 'text', 'x']], tensors: [] }), 24 + 8 + 3 + 4, 1000n),
      /ends too early: "abc" takes 1000 bytes/,
    ],
    ['endless list', () => first(writeGguf({ metadata: [['abc', 'u8[]', [1]]], tensors: [] }), 24 + 8 + 3 + 8, 2n ** 40n), /entries of "abc", at most/],
    [
      'list of numbers behind the end',
      () => first(writeGguf({ metadata: [['abc', 'u64[]', [1]]], tensors: [] }), 24 + 8 + 3 + 8, 1_000_000n),
      /ends too early: "abc" takes 8000000 bytes/,
    ],
    [
      'list of texts behind the end',
      () => first(writeGguf({ metadata: [['abc', 'text[]', ['x']]], tensors: [] }), 24 + 8 + 3 + 8, 1_000_000n),
      /ends too early: "abc" takes 8000000 bytes/,
    ],
    ['list of lists', () => writeGguf({ metadata: [['abc', 'u32[]', [9]]], tensors: [] }).map((b, i) => (i === 24 + 8 + 3 + 4 ? 9 : b)), /list of lists/],
    ['unknown value type', () => writeGguf({ metadata: [['abc', 'u8', 1]], tensors: [] }).map((b, i) => (i === 24 + 8 + 3 ? 13 : b)), /unknown type 13/],
    [
      'flag that is neither',
      () => writeGguf({ metadata: [['abc', 'bool', true]], tensors: [] }).map((b, i) => (i === 24 + 8 + 3 + 4 ? 2 : b)),
      /"abc" is 2, expected 0 or 1/,
    ],
    ['broken UTF-8', () => writeGguf({ metadata: [['abc', 'text', 'xy']], tensors: [] }).map((b, i) => (i === 24 + 8 + 3 + 4 + 8 ? 0xff : b)), /not UTF-8/],
    [
      'key twice',
      () =>
        writeGguf({
          metadata: [
            ['a', 'u8', 1],
            ['a', 'u8', 2],
          ],
          tensors: [],
        }),
      /key "a" twice/,
    ],
    ['alignment of no power of two', () => writeGguf({ metadata: [['general.alignment', 'u32', 48]], tensors: [] }), /general.alignment .*48/],
    ['alignment of 0', () => writeGguf({ metadata: [['general.alignment', 'u32', 0]], tensors: [] }), /general.alignment/],
    ['alignment in words', () => writeGguf({ metadata: [['general.alignment', 'text', 'no']], tensors: [] }), /general.alignment/],
    ['tensor twice', () => writeGguf({ metadata: [], tensors: [tensor(), tensor()] }), /tensor "t" twice/],
    ['tensor of no dimensions', () => writeGguf({ metadata: [], tensors: [tensor({ dims: [] })] }), /0 dimensions/],
    ['tensor of five dimensions', () => writeGguf({ metadata: [], tensors: [tensor({ dims: [32, 1, 1, 1, 1] })] }), /5 dimensions/],
    ['dimension 0', () => writeGguf({ metadata: [], tensors: [tensor({ dims: [32, 0] })] }), /dimension 1 of tensor "t" is 0/],
    ['absurd dimension', () => writeGguf({ metadata: [], tensors: [tensor({ dims: [32, 2 ** 40] })] }), /dimension 1/],
    [
      'dimensions whose product is absurd',
      () => writeGguf({ metadata: [], tensors: [tensor({ dims: [2 ** 31, 2 ** 31, 2 ** 31, 2 ** 31] })] }),
      /more than tiny.gguf has room for/,
    ],
    ['unknown tensor type', () => writeGguf({ metadata: [], tensors: [tensor({ type: 77 })] }), /unknown type 77/],
    [
      'known but unsupported tensor type',
      () => writeGguf({ metadata: [], tensors: [tensor({ type: 10 })] }),
      /stored as Q2_K, which cannot be imported; supported are F32/,
    ],
    ['row that is no whole number of blocks', () => writeGguf({ metadata: [], tensors: [tensor({ dims: [33, 2] })] }), /rows of 33 values/],
    ['offset past the end', () => writeGguf({ metadata: [], tensors: [tensor({ offset: 2n ** 40n })] }), /starts at offset 1099511627776/],
    ['offset near 2^64', () => writeGguf({ metadata: [], tensors: [tensor({ offset: 2n ** 64n - 32n })] }), /starts at offset/],
    ['offset off the alignment', () => writeGguf({ metadata: [], tensors: [tensor({ offset: 4 })] }), /multiple of 32/],
    ['tensor past the end', () => writeGguf({ metadata: [], tensors: [tensor({ offset: 64 })] }), /ends at byte \d+, but/],
    ['overlap', () => writeGguf({ metadata: [], tensors: [tensor(), tensor({ name: 'u', offset: 32 })] }), /"t" and "u" of tiny.gguf overlap/],
    ['the same place twice', () => writeGguf({ metadata: [], tensors: [tensor(), tensor({ name: 'u', offset: 0 })] }), /overlap/],
  ]
  test.each(cases)('%s', async (_name, make, message) => {
    expect(await refusal(make())).toMatch(message)
  })

  test('every truncation of a whole model', async () => {
    const bytes = writeGguf(tinyContents({ architecture: 'llama', format: 'Q4_0', layers: 1 }))
    for (let length = 0; length < bytes.length - 32; length += length < 600 ? 1 : 997)
      expect(await refusal(bytes.subarray(0, length))).toMatch(/ends|no GGUF|has only|starts at offset|room for/)
  })
  test('metadata without end do not fill the memory', async () => {
    // A file that claims to be 1 TiB of text lists.
    const head = writeGguf({ metadata: [['a', 'text[]', []]], tensors: [], keyCount: 4000 })
    let read = 0
    const file: RandomAccess = {
      name: 'endless.gguf',
      size: 2 ** 40,
      async read(offset, length) {
        read = Math.max(read, offset + length)
        const bytes = new Uint8Array(length)
        const view = new DataView(bytes.buffer)
        bytes.set(head.subarray(0, Math.min(length, head.length)))
        // The list has 2^20 entries, each an empty text; behind it come keys without a name, all alike.
        view.setBigUint64(24 + 8 + 1 + 8, 2n ** 20n, true)
        return bytes
      },
    }
    expect(await refusal([file])).toMatch(/twice|limit/)
    expect(read).toBeLessThanOrEqual(64 << 20)
  })
})

describe('a split file', () => {
  const contents = tinyContents({ architecture: 'llama', format: 'Q8_0' })
  const parts = splitGguf(contents, 3)
  const files = parts.map((part) => memoryFile(part.bytes, part.name))

  test('is put together in any order of its parts', async () => {
    const whole = await open(writeGguf(contents))
    for (const order of [
      [0, 1, 2],
      [2, 0, 1],
    ]) {
      const read = await openGguf(order.map((i) => files[i]))
      expect([...read.tensors.keys()]).toEqual([...whole.tensors.keys()])
      expect(read.files.map((file) => file.name)).toEqual(parts.map((part) => part.name))
    }
  })
  test.each([
    ['a missing part', () => [files[0], files[2]], /one of 3 parts, but 2 files were given/],
    ['a single part', () => [files[0]], /one of 3 parts, but 1 file was given/],
    ['a doubled part', () => [files[0], files[1], files[1]], /both say they are part 2 of 3/],
    [
      'a part under another part’s name',
      () => [files[0], memoryFile(parts[1].bytes, parts[2].name), memoryFile(parts[2].bytes, 'x.gguf')],
      /says inside that it is part 2 of 3/,
    ],
    ['a whole file among them', () => [memoryFile(writeGguf(contents)), files[1], files[2]], /one of 1 parts, but 3 files/],
    ['no file', () => [], /no file/],
    [
      'a tensor in two parts',
      () => splitGguf({ ...contents, tensors: [...contents.tensors, contents.tensors[0]] }, 3).map((p) => memoryFile(p.bytes, p.name)),
      /a second time/,
    ],
  ] as const)('with %s is refused', async (_name, make, message) => {
    expect(await refusal([...make()])).toMatch(message)
  })
})
