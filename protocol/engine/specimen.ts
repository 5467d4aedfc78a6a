// Specimen models: random canonical packages made from a seed alone, small enough to run anywhere. Devices are tested on them before they earn
// (selftest.ts), engines are compared on them (test/). Weights are scaled like those of a trained model, so activations stay in range and every op does real work.
import type { Architecture, Core, Manifest, ModelSource, Tensor, TensorFormat } from '../model/manifest.ts'
import { tensorBytes } from '../model/manifest.ts'
import { modelTensors } from './program.ts'
import { ropeFrequencies } from './tables.ts'

/** A 32-bit generator with one word of state (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return (t ^ (t >>> 14)) >>> 0
  }
}

/** IEEE-754 single bits. */
const f32 = { tenThousand: 0x461c4000, million: 0x49742400, tenMillionths: 0x358637bd, hundredThousandths: 0x3727c5ac }

/** A small model of an architecture: odd sizes (vocab 301, ffn 160), several layers, gemma3 with both kinds of layer. */
export function specimenCore(architecture: Architecture, change: Partial<Core> = {}): Core {
  const headDim = change.headDim ?? 32
  const gemma = architecture === 'gemma3'
  return {
    version: 1,
    name: `specimen-${architecture}`,
    architecture,
    licence: 'Apache-2.0',
    hidden: 96,
    ffn: 160,
    layers: gemma ? 7 : 3,
    heads: 6,
    kvHeads: 2,
    headDim,
    vocab: 301,
    context: 512,
    epsBits: gemma ? f32.tenMillionths : f32.hundredThousandths,
    attentionScaleOf: headDim,
    ropeGlobal: ropeFrequencies(gemma ? f32.million : f32.tenThousand, headDim, null),
    ropeLocal: gemma ? ropeFrequencies(f32.tenThousand, headDim, null) : null,
    slidingWindow: gemma ? 20 : 0,
    slidingPattern: gemma ? 6 : 1,
    residualBits: gemma ? 8 : 12,
    hiddenBits: gemma ? 12 : 16,
    tied: architecture !== 'qwen2',
    ...change,
  }
}

/** Fills one tensor: `wild` uses every byte value, so scales, shifts and nibbles take their extremes. */
function fill(bytes: Uint8Array, tensor: Tensor, next: () => number, wild: boolean): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (tensor.format === 'v32') {
    const bias = tensor.bits === 16
    for (let i = 0; i < tensor.rows; i++)
      view.setInt32(i * 4, bias ? (next() % 65536) - 32768 : (1 << 21) + (next() % (1 << 22)) * (next() % 8 === 0 ? -1 : 1), true)
    return
  }
  for (let i = 0; i < bytes.length; i++) bytes[i] = next() >>> 24
  if (wild) return
  const padded = Math.ceil(tensor.rows / 16) * 16
  const words = bytes.length - padded * 4
  if (tensor.format === 'w8') {
    for (let i = 0; i < words; i++) if (bytes[i] === 128) bytes[i] = 0
    // weights about ±1/√K: 127 · 2^16 · 2^-shift
    for (let n = 0; n < padded; n++)
      view.setUint32(words + n * 4, n < tensor.rows ? (32768 + (next() % 32768)) | ((25 + (tensor.columns > 128 ? 1 : 0)) << 16) : 0, true)
  } else if (tensor.format === 'g8') {
    for (let at = 0; at < words; at += 544) {
      for (let i = 0; i < 512; i++) if (bytes[at + i] === 128) bytes[at + i] = 0
      for (let r = 0; r < 16; r++) view.setInt16(at + 512 + r * 2, 600 + (next() % 1400), true)
    }
    for (let n = 0; n < padded; n++) view.setUint32(words + n * 4, (20 + (next() & 1)) << 16, true)
  } else {
    for (let at = 0; at < words; at += 320) {
      for (let r = 0; r < 16; r++) view.setInt16(at + 256 + r * 2, (next() % 8 === 0 ? -1 : 1) * (8000 + (next() % 20000)), true)
      for (let r = 0; r < 16; r++) view.setInt16(at + 288 + r * 2, (next() % 20000) - 10000, true)
    }
    for (let n = 0; n < padded; n++) view.setUint32(words + n * 4, (20 + (next() & 1)) << 16, true)
  }
}

/** A model held in memory. `format` of matrices by name; default: all three (embed and head g8, wo w8, the rest w4). */
export function specimenPackage(
  core: Core,
  seed = 1,
  format: (name: string) => TensorFormat = (name) => (name === 'embed' || name === 'head' ? 'g8' : name.endsWith('.wo') ? 'w8' : 'w4'),
  wild = false,
): ModelSource {
  const next = random(seed)
  const names = ['embed', ...Array.from({ length: core.layers }, (_, l) => `layer-${l}`), 'head', 'tokenizer']
  const shardOf = (name: string): number => (name === 'embed' ? 0 : name.startsWith('layers.') ? 1 + Number(name.split('.')[1]) : core.layers + 1)
  const sizes = names.map(() => 0)
  const none = new Uint8Array(32)
  const tensors: Tensor[] = modelTensors(core).map(({ name, rows, columns }) => {
    const kind: TensorFormat = columns === null ? 'v32' : format(name)
    const bits = kind === 'v32' ? (/\.b[qkv]$/.test(name) ? 16 : 22) : 0
    const bytes = tensorBytes(kind, rows, columns ?? 1)
    const shard = shardOf(name)
    const offset = sizes[shard]
    sizes[shard] += bytes
    return { name, format: kind, rows, columns: columns ?? 1, bits, shard, offset, bytes, root: none }
  })
  const shards = sizes.map((size) => new Uint8Array(size))
  for (const tensor of tensors) fill(shards[tensor.shard].subarray(tensor.offset, tensor.offset + tensor.bytes), tensor, next, wild)
  const manifest: Manifest = { core, tensors, shards: names.map((name, i) => ({ name, bytes: sizes[i], sha256: none, root: none })) }
  return { manifest, readShard: async (index, into) => into.set(shards[index]) }
}
