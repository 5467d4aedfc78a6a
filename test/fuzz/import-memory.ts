// How much memory the import of a large file takes: a file of a 70B-like width that exists only as a function, so that nothing but the importer holds bytes.
//   node test/fuzz/import-memory.ts [--layers 7]   4.6 GB by default; prints the peak resident set and fails above 1 GB
import { createHash, hash } from 'node:crypto'
import { parseArgs } from 'node:util'
import { setSha256 } from '../../protocol/hash.ts'
import { importGguf, type RandomAccess } from '../../protocol/model/import.ts'
import { halfBits } from '../tiny/formats.ts'
import { type GgufContents, writeGguf } from '../tiny/gguf-writer.ts'
import { tinyContents } from '../tiny/models.ts'

const { values } = parseArgs({ options: { layers: { type: 'string', default: '7' } } })
const layers = Number(values.layers)
const shape = { hidden: 8192, ffn: 28672, heads: 64, kvHeads: 8, headDim: 128, layers, vocab: 128256, tied: false }

/** The tiny model's metadata with a large model's shape; data lengths without data. */
function contents(): GgufContents & { sizes: number[] } {
  const tiny = tinyContents({ architecture: 'llama', format: 'Q4_K', layers: 1, vocab: shape.vocab, hidden: 256, ffn: 256, embed: 'Q4_K', tied: false })
  const numbers: Record<string, number> = {
    'llama.block_count': layers,
    'llama.embedding_length': shape.hidden,
    'llama.feed_forward_length': shape.ffn,
    'llama.attention.head_count': shape.heads,
    'llama.attention.head_count_kv': shape.kvHeads,
    'llama.attention.key_length': shape.headDim,
    'llama.attention.value_length': shape.headDim,
  }
  const kv = shape.kvHeads * shape.headDim
  const dims: Record<string, number[]> = {
    attn_q: [shape.hidden, shape.hidden],
    attn_k: [shape.hidden, kv],
    attn_v: [shape.hidden, kv],
    attn_output: [shape.hidden, shape.hidden],
    ffn_gate: [shape.hidden, shape.ffn],
    ffn_up: [shape.hidden, shape.ffn],
    ffn_down: [shape.ffn, shape.hidden],
  }
  const none = new Uint8Array()
  const matrix = (name: string, d: number[]) => ({ name, dims: d, type: 12, data: none })
  const norm = (name: string) => ({ name, dims: [shape.hidden], type: 0, data: none })
  const tensors = [
    matrix('token_embd.weight', [shape.hidden, shape.vocab]),
    ...Array.from({ length: layers }, (_, l) => [
      norm(`blk.${l}.attn_norm.weight`),
      norm(`blk.${l}.ffn_norm.weight`),
      ...Object.entries(dims).map(([name, d]) => matrix(`blk.${l}.${name}.weight`, d)),
    ]).flat(),
    norm('output_norm.weight'),
    matrix('output.weight', [shape.hidden, shape.vocab]),
  ]
  const sizes = tensors.map(({ dims: d, type }) => (type === 0 ? d[0] * 4 : ((d[0] * d[1]) / 256) * 144))
  let offset = 0
  const placed = tensors.map((tensor, i) => {
    const at = offset
    offset += Math.ceil(sizes[i] / 32) * 32
    return { ...tensor, offset: at }
  })
  return { metadata: tiny.metadata.map(([key, type, value]) => [key, type, numbers[key] ?? value]), tensors: placed, sizes }
}

setSha256(
  (bytes) => hash('sha256', bytes, 'buffer'),
  () => createHash('sha256'),
)
const file = contents()
const header = writeGguf(file)
const spans = file.tensors.map((tensor, i) => ({
  from: header.length + Number(tensor.offset),
  to: header.length + Number(tensor.offset) + file.sizes[i],
  norm: tensor.type === 0,
}))
const size = spans.at(-1)!.to
/** One Q4_K block over and over, its nibbles changed by position; norms are 1. */
const block = Uint8Array.from({ length: 144 }, (_, i) => (i * 89) & 255)
new DataView(block.buffer).setUint16(0, halfBits(0.0005), true)
new DataView(block.buffer).setUint16(2, halfBits(0.004), true)
const access: RandomAccess = {
  name: 'large.gguf',
  size,
  async read(offset, length) {
    if (offset === 0) {
      const bytes = new Uint8Array(length)
      bytes.set(header.subarray(0, length))
      return bytes
    }
    const span = spans.find((s) => offset >= s.from && offset < s.to)!
    if (span.norm) return new Uint8Array(new Float32Array(length / 4).fill(1).buffer)
    const bytes = new Uint8Array(length)
    for (let at = 0; at < length; at += 144) {
      bytes.set(block, at)
      bytes[at + 16] = offset / 144 + at
    }
    return bytes
  },
}
let written = 0
const start = performance.now()
const { modelId } = await importGguf([access], {
  open: async () => ({
    write: async (bytes) => {
      written += bytes.length
    },
    close: async () => {},
  }),
})
const peak = process.resourceUsage().maxRSS / 1024
console.log(
  JSON.stringify({ fileBytes: size, packageBytes: written, seconds: Math.round((performance.now() - start) / 1000), peakRssMiB: Math.round(peak), modelId }),
)
if (peak > 1024) process.exitCode = 1
