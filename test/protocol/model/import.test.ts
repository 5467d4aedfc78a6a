import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { rowWord, weightAt } from '../../../protocol/engine/ops/weights.ts'
import { createReferenceEngine } from '../../../protocol/engine/reference.ts'
import { ropeFrequencies } from '../../../protocol/engine/tables.ts'
import { dequantiseRow, sourceTypes } from '../../../protocol/model/dequantise.ts'
import { decodeManifest, encodeManifest, modelIdOf } from '../../../protocol/model/identity.ts'
import { importGguf, type Weights } from '../../../protocol/model/import.ts'
import { type Architecture, architectures, ModelError, type Tensor } from '../../../protocol/model/manifest.ts'
import { openTokenizer } from '../../../protocol/model/tokenizer.ts'
import { verifyPackage } from '../../../protocol/model/verify.ts'
import { type FormatName, formatNames } from '../../tiny/formats.ts'
import { type Entry, type GgufContents, splitGguf, writeGguf } from '../../tiny/gguf-writer.ts'
import { importBytes, memoryFile, memorySink, memorySource } from '../../tiny/memory.ts'
import { type TinyOptions, tinyContents } from '../../tiny/models.ts'

const tiny = (options: Partial<TinyOptions> = {}): GgufContents => tinyContents({ architecture: 'llama', format: 'Q4_0', ...options })
const make = (options: Partial<TinyOptions> = {}): Uint8Array => writeGguf(tiny(options))

const bytesOf = (shards: Map<string, Uint8Array>, names: { name: string }[], tensor: Tensor): Uint8Array =>
  shards.get(names[tensor.shard].name)!.subarray(tensor.offset, tensor.offset + tensor.bytes)

/** Value of a canonical weight. */
function valueAt(bytes: Uint8Array, tensor: Tensor, row: number, column: number): number {
  const { mantissa, shift } = rowWord(bytes, tensor, row)
  return (weightAt(bytes, tensor, row, column) * (tensor.format === 'w8' ? mantissa : 1)) / 2 ** shift
}

/** Made once by test/vectors/make-tiny-ids.ts (x86-64, Node 24): a machine that gets another id has other arithmetic. */
const golden = JSON.parse(readFileSync(new URL('../../vectors/tiny-ids.json', import.meta.url), 'utf8')) as Record<string, string>
const matrix = architectures.flatMap((architecture) => formatNames.map((format) => [architecture, format] as const))

describe('every architecture in every format', () => {
  test.each(matrix)('%s %s becomes a package whose every hash holds', async (architecture: Architecture, format: FormatName) => {
    const bytes = make({ architecture, format })
    const { manifest, modelId, source, shards } = await importBytes(bytes)
    expect(modelId).toBe(golden[`${architecture} ${format}`])
    expect(await verifyPackage(source, modelId)).toBe(modelId)
    expect(decodeManifest(encodeManifest(manifest))).toEqual(manifest)
    expect(manifest.shards.map((shard) => shard.bytes)).toEqual(manifest.shards.map((shard) => shards.get(shard.name)!.length))
    const matrices = manifest.tensors.filter((tensor) => tensor.format !== 'v32')
    expect(new Set(matrices.map((tensor) => tensor.format))).toEqual(new Set([['Q4_0', 'Q4_1', 'Q4_K'].includes(format) ? 'w4' : 'g8']))
    const tokenizer = openTokenizer(shards.get('tokenizer')!)
    const text = 'Is the sea in the hat? ✓'
    const ids = tokenizer.encode(text)
    expect(tokenizer.decode(ids)).toBe(text)
    expect(ids.length).toBeLessThan(new TextEncoder().encode(text).length)
  })

  const choices: [Architecture, FormatName, Weights][] = [
    ...matrix.map(([architecture, format]): [Architecture, FormatName, Weights] => [architecture, format, 'auto']),
    ['llama', 'F16', 'w8'],
    ['qwen3', 'Q4_K', 'w8'],
    ['llama', 'Q4_1', 'g8'],
  ]
  test.each(choices)('%s %s keeps the weights of its file (%s)', async (architecture, format, weights) => {
    const contents = tiny({ architecture, format, layers: 1 })
    const { manifest, shards } = await importBytes(writeGguf(contents), { weights })
    const { headDim } = manifest.core
    for (const [name, sourceName] of [
      ['layers.0.wq', 'blk.0.attn_q.weight'],
      ['layers.0.wk', 'blk.0.attn_k.weight'],
      ['layers.0.w_down', 'blk.0.ffn_down.weight'],
      ['embed', 'token_embd.weight'],
    ]) {
      const tensor = manifest.tensors.find((t) => t.name === name)!
      const written = contents.tensors.find((t) => t.name === sourceName)!
      const bytes = bytesOf(shards, manifest.shards, tensor)
      const values = new Float64Array(tensor.columns)
      const type = sourceTypes.get(written.type)!
      for (let row = 0; row < tensor.rows; row += name === 'embed' ? 37 : name.endsWith('down') ? 3 : 1) {
        // Llama files interleave pairs: our row i of a head is its row 2i, row headDim/2 + i its row 2i + 1.
        const i = row % headDim
        const half = headDim / 2
        const from = architecture === 'llama' && /w[qk]$/.test(name) ? row - i + (i < half ? 2 * i : 2 * (i - half) + 1) : row
        const max = dequantiseRow(type, written.data, new DataView(written.data.buffer), (from * written.data.length) / tensor.rows, tensor.columns, values)
        // Half a step of int8 with the smallest scale that holds the largest value; of w4, half a step of d (times 8) and of m; of Q8_0, half a step of d times 128.
        const { mantissa, shift } = rowWord(bytes, tensor, row)
        const step = 2 ** -shift
        const error = (column: number): number => {
          if (tensor.format === 'w8') return (mantissa * step) / 2
          if (tensor.format === 'w4') return 4.5 * step
          if (format === 'Q8_0') return 64 * step // d is rounded, w is as shipped, −128 too
          const group = values.subarray(column & ~31, (column & ~31) + 32)
          return (group.reduce((most, v) => Math.max(most, Math.abs(v)), 0) / 127 + step) / 2
        }
        expect(step * 1023).toBeLessThan(tensor.format === 'g8' ? max / (format === 'Q8_0' ? 1 : 127) : Number.POSITIVE_INFINITY)
        const off = values.findIndex((value, column) => Math.abs(valueAt(bytes, tensor, row, column) - value) > error(column) * (1 + 1e-12))
        expect(off, `${name} row ${row}`).toBe(-1)
      }
    }
  })
})

describe('the id', () => {
  test('is the same again, whole or split, in any order and however reads are cut', async () => {
    const contents = tiny({ format: 'Q4_1', embed: 'Q8_0' })
    const whole = await importBytes(writeGguf(contents))
    const again = await importBytes(writeGguf(contents))
    expect(again.modelId).toBe(whole.modelId)
    const parts = splitGguf(contents, 4).map((part) => memoryFile(part.bytes, part.name))
    const split = await importBytes([parts[2], parts[0], parts[3], parts[1]])
    expect(split.modelId).toBe(whole.modelId)
    expect(split.manifest).toEqual(whole.manifest)
    expect(split.shards).toEqual(whole.shards)
    const older = await importBytes(writeGguf({ ...contents, version: 2 }))
    expect(older.modelId).toBe(whole.modelId)
  })
  test('does not depend on which SHA-256 is used', async () => {
    const { setSha256 } = await import('../../../protocol/hash.ts')
    const { sha256 } = await import('@noble/hashes/sha2.js')
    const portable = await importBytes(make())
    try {
      setSha256((bytes) => hash('sha256', bytes, 'buffer'))
      expect((await importBytes(make())).modelId).toBe(portable.modelId)
    } finally {
      setSha256(sha256, () => sha256.create())
    }
  })
  test('differs for every seed, name, format choice and metadata that matter', async () => {
    const named = (change: Entry[]): GgufContents => ({
      ...tiny(),
      metadata: tiny().metadata.map((entry) => change.find(([key]) => key === entry[0]) ?? entry),
    })
    const files = [
      make(),
      make({ seed: 2 }),
      make({ layers: 3 }),
      make({ llama3: true }),
      make({ linear: 4 }),
      make({ tied: true }),
      make({ context: 256 }),
      make({ tokenizer: 'spm' }),
      writeGguf(named([['general.name', 'text', 'Another']])),
      writeGguf(named([['general.license', 'text', 'mit']])),
      writeGguf(named([['llama.rope.freq_base', 'f32', 50000]])),
      writeGguf(named([['llama.attention.layer_norm_rms_epsilon', 'f32', 1e-6]])),
      writeGguf(named([['tokenizer.ggml.eos_token_id', 'u32', 0]])),
    ]
    const ids = await Promise.all(files.map(async (file) => (await importBytes(file)).modelId))
    ids.push((await importBytes(make(), { weights: 'w8' })).modelId, (await importBytes(make(), { weights: 'g8' })).modelId)
    expect(new Set(ids).size).toBe(files.length + 2)
  })
  test('no longer fits when any byte of the package changes', async () => {
    const { manifest, shards, modelId } = await importBytes(make({ layers: 1, vocab: 288 }))
    let changed = 0
    for (const [name, bytes] of shards) {
      for (let at = 0; at < bytes.length; at += name.startsWith('layer') ? 97 : 211) {
        bytes[at] ^= 1 << (at & 7)
        await expect(verifyPackage(memorySource(manifest, shards), modelId)).rejects.toThrow(/has SHA-256/)
        bytes[at] ^= 1 << (at & 7)
        changed++
      }
    }
    expect(changed).toBeGreaterThan(300)
    expect(await verifyPackage(memorySource(manifest, shards), modelId)).toBe(modelId)
  })
  test('no longer fits when the changed byte’s SHA-256 is mended: then the roots tell, or the padding rule', async () => {
    const { manifest, shards, modelId } = await importBytes(make({ layers: 1, vocab: 290 }))
    for (const [index, shard] of manifest.shards.entries()) {
      const bytes = shards.get(shard.name)!
      for (let at = 0; at < bytes.length; at += 331) {
        bytes[at] ^= 4
        const mended = { ...manifest, shards: manifest.shards.map((s, i) => (i === index ? { ...s, sha256: hash('sha256', bytes, 'buffer') } : s)) }
        expect(modelIdOf(mended)).not.toBe(modelId)
        await expect(verifyPackage(memorySource(mended, shards))).rejects.toThrow(/root of|padding|beyond/)
        bytes[at] ^= 4
      }
    }
  })
})

describe('what the model is', () => {
  test('llama 3 scales its frequencies by rope_freqs.weight', async () => {
    const { manifest } = await importBytes(make({ llama3: true }))
    const factors = new Uint32Array(Float32Array.from({ length: 16 }, (_, i) => (i * 2 < 16 ? 1 : 1 + i)).buffer)
    expect(manifest.core.ropeGlobal).toEqual(ropeFrequencies(0x461c4000, 32, factors))
    expect(manifest.core.ropeGlobal).not.toEqual(ropeFrequencies(0x461c4000, 32, null))
  })
  test('gemma 3 has a window, two frequency tables and its own fractions', async () => {
    const { manifest } = await importBytes(make({ architecture: 'gemma3', linear: 8 }))
    const { core } = manifest
    expect(core).toMatchObject({ slidingWindow: 16, slidingPattern: 6, residualBits: 8, hiddenBits: 12, attentionScaleOf: 32, tied: true, layers: 6 })
    expect(core.ropeGlobal).toEqual(ropeFrequencies(0x49742400, 32, new Uint32Array(16).fill(0x41000000)))
    expect(core.ropeLocal).toEqual(ropeFrequencies(0x461c4000, 32, null))
  })
  test('name and licence are cut and cleaned', async () => {
    const contents = tiny()
    const metadata = contents.metadata.map((entry): Entry => (entry[0] === 'general.name' ? ['general.name', 'text', `a\nb${'é'.repeat(200)}`] : entry))
    const { manifest } = await importBytes(writeGguf({ ...contents, metadata }))
    expect(manifest.core.name).toBe(`a b${'é'.repeat(62)}`)
    expect(manifest.core.licence).toBe('apache-2.0')
  })
  test('a context beyond the limit is cut', async () => {
    expect((await importBytes(make({ context: 131072 }))).manifest.core.context).toBe(32768)
  })
  test.each(architectures)('%s runs: logits that differ from token to token', async (architecture) => {
    const { source } = await importBytes(make({ architecture, format: 'Q4_1', embed: 'Q8_0' }))
    const engine = await createReferenceEngine(source, {})
    const rows = [1, 70, 80, 90].map((token, position) => ({ sequence: 0, position, token }))
    const { logits } = await engine.run(
      rows,
      rows.map(() => 'logits'),
    )
    expect(new Set(logits.map((row) => row!.indexOf(row!.reduce((a, b) => Math.max(a, b))))).size).toBeGreaterThan(1)
    for (const row of logits) expect(row!.every((v) => Math.abs(v) < 2 ** 26)).toBe(true)
    await engine.close()
  })
})

describe('the choice of weights', () => {
  test('is told in a sentence', async () => {
    expect((await importBytes(make({ format: 'Q4_1', embed: 'Q8_0' }))).decision).toMatch(
      /^4-bit groups for 14 matrices \(Q4_1\) and 8-bit groups for 2 matrices \(Q8_0\), because 4-bit sources are kept as shipped/,
    )
    expect((await importBytes(make({ format: 'Q4_0' }))).decision).toMatch(/^4-bit groups for 16 matrices \(Q4_0\), because /)
    expect((await importBytes(make({ format: 'F16' }))).decision).toMatch(/^8-bit groups for 16 matrices \(F16\), because the file holds no 4-bit groups/)
    // Rows are named matrix by matrix, and so is what stays in groups.
    expect((await importBytes(make({ format: 'Q4_0', embed: 'Q8_0' }), { weights: 'w8' })).decision).toMatch(
      /^4-bit groups for 6 matrices \((?=.*w_down)(?=.*wk)(?=.*wv)[\w, ]+; Q4_0\), 8-bit groups for 2 matrices \(embed, head; Q8_0\) and int8 rows for 8 matrices \((?=.*w_gate)(?=.*w_up)(?=.*wq)(?=.*wo)[\w, ]+; Q4_0\), because you asked for int8 rows: /,
    )
  })
  test('can be 8-bit groups for any file', async () => {
    const { manifest, source, modelId } = await importBytes(make({ format: 'Q4_1' }), { weights: 'g8' })
    expect(manifest.tensors.every((tensor) => tensor.format === 'g8' || tensor.format === 'v32')).toBe(true)
    expect(await verifyPackage(source)).toBe(modelId)
  })
  test.each([
    ['Q4_1', 'w4'],
    ['F16', 'g8'],
  ] as const)('can be int8 rows: of %s the matrices that bear one scale a row, the others in %s', async (format, other) => {
    for (const architecture of architectures) {
      const { manifest, source, modelId } = await importBytes(make({ architecture, format }), { weights: 'w8' })
      const matrices = manifest.tensors.filter((tensor) => tensor.format !== 'v32')
      const formatsOf = (names: RegExp): string[] => [...new Set(matrices.filter((tensor) => names.test(tensor.name)).map((tensor) => tensor.format))]
      expect(formatsOf(/\.(wq|wo|w_gate|w_up)$/)).toEqual(['w8'])
      expect(formatsOf(/\.(wk|wv|w_down)$|^embed$|^head$/)).toEqual([other])
      expect(await verifyPackage(source)).toBe(modelId)
    }
  })
  test('keeps 8-bit sources as shipped where one shift holds all scales of a row', async () => {
    const contents = tiny({ format: 'Q8_0', layers: 1 })
    const written = contents.tensors.find((tensor) => tensor.name === 'blk.0.ffn_up.weight')!
    // Scales 2^-9 times 1 and 1.5, alternating; one negative.
    for (let at = 0; at < written.data.length; at += 34) written.data.set([0, at % 68 === 0 ? 0x18 : 0x9a], at)
    const { manifest, shards } = await importBytes(writeGguf(contents))
    const tensor = manifest.tensors.find((t) => t.name === 'layers.0.w_up')!
    const values = new Float64Array(tensor.columns)
    for (let row = 0; row < tensor.rows; row++) {
      dequantiseRow(sourceTypes.get(8)!, written.data, new DataView(written.data.buffer), (row * written.data.length) / tensor.rows, tensor.columns, values)
      expect(Array.from(values, (_, column) => valueAt(bytesOf(shards, manifest.shards, tensor), tensor, row, column) + 0)).toEqual(
        Array.from(values, (v) => v + 0),
      )
    }
  })
  test('cannot be 4 bits for other sources, with the reason', async () => {
    await expect(importBytes(make({ format: 'Q8_0' }), { weights: 'w4' })).rejects.toThrow(/Q8_0: putting weights on a new 4-bit grid cost 28 %/)
    const mixed = await importBytes(make({ format: 'Q4_0', embed: 'Q8_0' }), { weights: 'w4' })
    expect(mixed.manifest.tensors.find((tensor) => tensor.name === 'embed')!.format).toBe('g8')
  })
})

describe('a model that cannot be imported is refused in one sentence, before anything is written:', () => {
  const change = (entries: Entry[], contents = tiny()): GgufContents => {
    const kept = contents.metadata.filter(([key]) => !entries.some((entry) => entry[0] === key))
    return { ...contents, metadata: [...kept, ...entries.filter((entry) => entry[2] !== undefined)] }
  }
  const without = (name: string): GgufContents => ({ ...tiny(), tensors: tiny().tensors.filter((tensor) => tensor.name !== name) })
  const reshaped = (name: string, dims: number[]): GgufContents => ({
    ...tiny(),
    tensors: tiny().tensors.map((tensor) => (tensor.name === name ? { ...tensor, dims } : tensor)),
  })
  const extra = (name: string): GgufContents => ({ ...tiny(), tensors: [...tiny().tensors, { name, dims: [32], type: 0, data: new Uint8Array(128) }] })
  const cases: [string, GgufContents, RegExp][] = [
    ['no architecture', change([['general.architecture', 'text', undefined]]), /names no architecture; supported are llama, qwen2, qwen3, gemma3/],
    ['unknown architecture', change([['general.architecture', 'text', 'mamba']]), /architecture "mamba" is not supported/],
    ['architecture that is a number', change([['general.architecture', 'u32', 3]]), /architecture "3" is not supported/],
    ['missing key', change([['llama.block_count', 'u32', undefined]]), /lack llama.block_count/],
    ['key of another type', change([['llama.block_count', 'text', '2']]), /llama.block_count in the file's metadata is not a whole number/],
    ['list for a count', change([['llama.attention.head_count_kv', 'u32[]', [2, 2]]]), /head_count_kv in the file's metadata is not a whole number/],
    ['too many layers', change([['llama.block_count', 'u32', 1e9]]), /layers is 1000000000, the limit is 1 to 128/],
    ['no layers', change([['llama.block_count', 'u32', 0]]), /layers is 0/],
    ['no heads', change([['llama.attention.head_count', 'u32', 0]]), /head_count is 0/],
    ['heads that do not divide', change([['llama.attention.head_count_kv', 'u32', 3]]), /4 heads cannot share 3/],
    ['no key-value heads', change([['llama.attention.head_count_kv', 'u32', 0]]), /cannot share 0/],
    ['wide residual', change([['llama.embedding_length', 'u32', 16384]]), /hidden is 16384, the limit is 1 to 8192/],
    ['columns that are no multiple of 32', tiny({ format: 'F32', ffn: 80 }), /ffn is 80, expected a multiple of 32/],
    [
      'odd head width',
      change([
        ['llama.attention.key_length', 'u32', 17],
        ['llama.attention.value_length', 'u32', 17],
      ]),
      /head width 17/,
    ],
    [
      'head width of no 32',
      tiny({ format: 'F32', headDim: 80 }),
      /^heads of 80 elements are not supported, only multiples of 32, so this llama model cannot be run$/,
    ],
    ['values of another width than keys', change([['llama.attention.value_length', 'u32', 64]]), /value_length is 64/],
    ['epsilon NaN', change([['llama.attention.layer_norm_rms_epsilon', 'f32', Number.NaN]]), /epsilon in the file's metadata is not a finite number/],
    ['epsilon negative', change([['llama.attention.layer_norm_rms_epsilon', 'f32', -1]]), /epsilon/],
    ['epsilon huge', change([['llama.attention.layer_norm_rms_epsilon', 'f32', 1e30]]), /epsilon/],
    ['rotary base 0', change([['llama.rope.freq_base', 'f32', 0]]), /rotary base must be/],
    ['rotary base infinite', change([['llama.rope.freq_base', 'f32', Number.POSITIVE_INFINITY]]), /freq_base in the file's metadata is not a finite number/],
    ['yarn', change([['llama.rope.scaling.type', 'text', 'yarn']]), /rotary scaling "yarn" is not supported/],
    [
      'rotary scaling below reason',
      change([
        ['llama.rope.scaling.type', 'text', 'linear'],
        ['llama.rope.scaling.factor', 'f32', 1e-9],
      ]),
      /rotary factor/,
    ],
    ['partial rotary', change([['llama.rope.dimension_count', 'u32', 8]]), /dimension_count is 8/],
    ['mixture of experts', change([['llama.expert_count', 'u32', 8]]), /mixture of experts is not supported/],
    ['soft capping', change([['gemma3.final_logit_softcapping', 'f32', 30]], tiny({ architecture: 'gemma3' })), /soft capping is not supported/],
    ['gemma without a window', change([['gemma3.attention.sliding_window', 'u32', undefined]], tiny({ architecture: 'gemma3' })), /sliding_window is 0/],
    [
      'irregular windows',
      change([['gemma3.attention.sliding_window_pattern', 'bool[]', [true, false, true, true, true, false]]], tiny({ architecture: 'gemma3' })),
      /irregular/,
    ],
    ['missing embedding', without('token_embd.weight'), /lacks the tensor token_embd.weight/],
    ['missing tensor', without('blk.1.attn_q.weight'), /lacks the tensor blk.1.attn_q.weight, which a llama model of 2 layers has/],
    ['tensor of another shape', reshaped('blk.0.ffn_up.weight', [96, 64]), /blk.0.ffn_up.weight has shape 96 × 64, expected 64 × 96/],
    ['tensor of three dimensions', reshaped('blk.0.ffn_up.weight', [64, 48, 2]), /64 × 48 × 2/],
    ['embedding of another width', reshaped('token_embd.weight', [320, 64]), /token/],
    ['left-over tensor', extra('blk.0.attn_norm.bias'), /"blk.0.attn_norm.bias", which is no part of a llama model/],
    ['longrope', extra('rope_factors_long.weight'), /longrope/],
    ['too many rotary factors', extra('rope_freqs.weight'), /rope_freqs.weight has 32 values, expected 16/],
    ['no tokenizer', change([['tokenizer.ggml.model', 'text', undefined]]), /no tokenizer/],
    [
      'tokens that do not fit the embedding',
      change([['tokenizer.ggml.tokens', 'text[]', (tiny().metadata.find(([key]) => key === 'tokenizer.ggml.tokens')![2] as string[]).slice(0, 300)]]),
      /300 tokens, but token_embd.weight has 320 rows/,
    ],
    ['unknown tokenizer', change([['tokenizer.ggml.model', 'text', 't5']]), /"t5" is not supported/],
  ]
  test.each(cases)('%s', async (_name, contents, message) => {
    const sink = memorySink()
    const error = await importGguf([memoryFile(writeGguf(contents))], sink).then(
      () => null,
      (e: unknown) => e,
    )
    expect(error).toBeInstanceOf(ModelError)
    expect((error as Error).message).toMatch(message)
    expect((error as Error).message.length).toBeLessThan(400)
    expect(sink.shards.size).toBe(0)
  })

  test.each(['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q4_K', 'Q5_K', 'Q6_K'] as const)(
    'NaN in a %s matrix, naming tensor and row',
    async (format) => {
      const contents = tiny({ format })
      const { data, dims, type } = contents.tensors.find((tensor) => tensor.name === 'blk.1.ffn_gate.weight')!
      const rowBytes = data.length / dims[1]
      const at = 5 * rowBytes + (format === 'Q6_K' ? 208 : 0)
      data.set(format === 'F32' ? [0, 0, 0xc0, 0x7f] : format === 'BF16' ? [0xc0, 0x7f] : [0, 0x7e], at)
      expect(sourceTypes.get(type)!.name).toBe(format)
      await expect(importBytes(writeGguf(contents))).rejects.toThrow(
        new RegExp(`tensor blk.1.ffn_gate.weight \\(${format}\\) has a value that is NaN or infinite in row 5`),
      )
    },
  )
  test('values beyond every scale', async () => {
    const set = (name: string, value: number): Uint8Array => {
      const contents = tiny({ architecture: 'qwen2', format: 'F32' })
      new DataView(contents.tensors.find((tensor) => tensor.name === name)!.data.buffer).setFloat32(0, value, true)
      return writeGguf(contents)
    }
    const up = (value: number, weights: Weights) => importBytes(set('blk.0.ffn_up.weight', value), { weights })
    for (const value of [1e7, 3e38]) {
      await expect(up(value, 'w8')).rejects.toThrow(/row 0 of tensor blk.0.ffn_up.weight holds the value ±\d[\d.e+]+, the limit is 8322945/)
      await expect(up(value, 'auto')).rejects.toThrow(/row 0 of tensor blk.0.ffn_up.weight has a scale as large as ±\d[\d.e+]+, the limit is 2047/)
    }
    // Just at the limit: 127 · 2047.
    await expect(up(259969, 'auto')).resolves.toBeDefined()
    await expect(up(259970, 'auto')).rejects.toThrow(/the limit is 2047/)
    await expect(importBytes(set('blk.0.attn_norm.weight', 1e8))).rejects.toThrow(/blk.0.attn_norm.weight holds the value/)
    await expect(importBytes(set('blk.0.attn_q.bias', 40000))).rejects.toThrow(/too large for a bias/)
    await expect(importBytes(set('output_norm.weight', Number.POSITIVE_INFINITY))).rejects.toThrow(
      /output_norm.weight \(F32\) has a value that is NaN or infinite/,
    )
  })
})

describe('while importing', () => {
  test('progress ends at the whole, and the signal stops it', async () => {
    const steps: [number, number][] = []
    await importBytes(make(), { onProgress: (done, total) => steps.push([done, total]) })
    expect(steps.at(-1)![0]).toBe(steps.at(-1)![1])
    expect(steps.every(([done], i) => i === 0 || done > steps[i - 1][0])).toBe(true)
    const controller = new AbortController()
    const stopped = importBytes(make(), { signal: controller.signal, onProgress: (done) => done > 10000 && controller.abort(new Error('enough')) })
    await expect(stopped).rejects.toThrow('enough')
  })
  test('a file that shrinks and a sink that is full are reported', async () => {
    const bytes = make()
    const file = { ...memoryFile(bytes), read: async (offset: number, length: number) => bytes.slice(offset, Math.min(offset + length, 30000)) }
    await expect(importBytes([file])).rejects.toThrow(/could not be read/)
    const full = { open: async () => ({ write: () => Promise.reject(new Error('disk full')), close: async () => {} }) }
    await expect(importGguf([memoryFile(bytes)], full)).rejects.toThrow('disk full')
  })
  test('large rows are read in many chunks with the same result as small ones', async () => {
    // 1,280 rows of 2,048 F32 columns are 10 MB: three reads.
    const contents = tiny({ format: 'F32', embed: 'F32', hidden: 2048, ffn: 32, heads: 64, kvHeads: 32, headDim: 32, layers: 1, vocab: 1280 })
    const { source, modelId, manifest, shards } = await importBytes(writeGguf(contents))
    expect(await verifyPackage(source)).toBe(modelId)
    const written = contents.tensors.find((tensor) => tensor.name === 'token_embd.weight')!
    const embed = manifest.tensors[0]
    const values = new Float32Array(written.data.buffer)
    for (const row of [0, 511, 512, 513, 1023, 1024, 1279]) {
      for (const column of [0, 7, 2047])
        expect(Math.abs(valueAt(bytesOf(shards, manifest.shards, embed), embed, row, column) - values[row * 2048 + column])).toBeLessThan(2e-4)
    }
  })
})
