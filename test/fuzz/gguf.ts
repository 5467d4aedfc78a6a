// Feeds the importer mutated model files: each must become a whole, verifiable package or one ModelError sentence; quickly, reading nothing outside the file,
// writing no more than the file can hold. Any failure prints its number; `--only N` with the same seed runs that file alone.
//   node test/fuzz/gguf.ts --count 100000 --seed 1
import { createHash, hash } from 'node:crypto'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { random } from '../../protocol/engine/specimen.ts'
import { join, setSha256 } from '../../protocol/hash.ts'
import { importGguf, type RandomAccess } from '../../protocol/model/import.ts'
import { ModelError } from '../../protocol/model/manifest.ts'
import { verifyPackage } from '../../protocol/model/verify.ts'
import { type GgufContents, splitGguf, writeGguf } from '../tiny/gguf-writer.ts'
import { memorySink, memorySource } from '../tiny/memory.ts'
import { tinyContents } from '../tiny/models.ts'

export interface FuzzResult {
  count: number
  imported: number
  refused: number
  /** How many different sentences, digits and quoted names aside. */
  sentences: number
  slowestMs: number
  /** Largest package bytes per byte of file. */
  largestShare: number
  failures: string[]
}

type Next = () => number
type Files = { name: string; bytes: Uint8Array }[]

const bases: GgufContents[] = [
  { architecture: 'llama', format: 'Q4_0', llama3: true },
  { architecture: 'llama', format: 'Q4_1', embed: 'Q8_0', tokenizer: 'spm' },
  { architecture: 'llama', format: 'F16', linear: 4 },
  { architecture: 'qwen2', format: 'Q5_0', embed: 'Q5_1' },
  { architecture: 'qwen2', format: 'BF16' },
  { architecture: 'qwen3', format: 'Q8_0', embed: 'F32' },
  { architecture: 'gemma3', format: 'Q4_0', embed: 'Q8_0', linear: 8 },
].map((options) => tinyContents({ layers: 1, vocab: 290, ...options } as Parameters<typeof tinyContents>[0]))
const large = (['Q4_K', 'Q5_K', 'Q6_K'] as const).map((format) =>
  tinyContents({ architecture: 'llama', format, layers: 1, vocab: 290, ffn: 256, embed: 'Q4_K' }),
)

const extremes = [
  0n,
  1n,
  2n,
  31n,
  255n,
  256n,
  4096n,
  65535n,
  65536n,
  1n << 20n,
  (1n << 31n) - 1n,
  1n << 31n,
  (1n << 32n) - 1n,
  1n << 32n,
  1n << 53n,
  (1n << 63n) - 1n,
  1n << 63n,
  (1n << 64n) - 1n,
]
const halves = [0x0000, 0x0001, 0x7bff, 0x7c00, 0x7e00, 0x8000, 0xfbff, 0xfc00, 0xffff]

/** One change of a file's bytes. `head` is about where its data begin: most changes fall before it. */
function change(bytes: Uint8Array, head: number, next: Next): Uint8Array {
  const below = (n: number): number => (n <= 0 ? 0 : next() % n)
  const place = (): number => below(next() % 4 === 0 ? bytes.length : Math.min(head, bytes.length))
  const at = place()
  const span = 1 + below(next() % 3 === 0 ? 4000 : 24)
  const kind = below(11)
  const out = bytes.slice()
  const view = new DataView(out.buffer)
  if (kind === 0) out[at] ^= 1 << below(8)
  if (kind === 1) out[at] = next()
  if (kind === 2) return bytes.slice(0, at)
  if (kind === 3 && at + 8 <= out.length) view.setBigUint64(at, extremes[below(extremes.length)], true)
  if (kind === 4 && at + 4 <= out.length) view.setUint32(at, Number(extremes[below(extremes.length)] & 0xffffffffn), true)
  if (kind === 5) out.fill(next() % 2 ? 0 : 255, at, at + span)
  if (kind === 6) for (let i = at; i < Math.min(out.length, at + span); i++) out[i] = next()
  if (kind === 7) return join([bytes.subarray(0, at), bytes.subarray(at + span)])
  if (kind === 8) return join([bytes.subarray(0, at), bytes.subarray(place()).subarray(0, span), bytes.subarray(at)])
  if (kind === 9) out.copyWithin(at, place(), place())
  if (kind === 10 && at + 2 <= out.length) view.setUint16(at, halves[below(halves.length)], true)
  return out
}

/** A change of what a file says, written out properly otherwise: it gets past the parser. */
function restate(contents: GgufContents, next: Next): GgufContents {
  const below = (n: number): number => next() % n
  const metadata = contents.metadata.map((entry) => [...entry] as (typeof contents.metadata)[0])
  const tensors = contents.tensors.map((tensor) => ({ ...tensor, dims: [...tensor.dims] }))
  const entry = metadata[below(metadata.length)]
  const tensor = tensors[below(tensors.length)]
  const kind = below(9)
  const wild = [0, 1, -1, 2, 3, 31, 64, 1e9, 4294967295, Number.NaN, Number.POSITIVE_INFINITY, 1e-30, 0.5][below(13)]
  if (kind === 0) metadata.splice(metadata.indexOf(entry), 1)
  if (kind === 1) metadata.push(entry)
  if (kind === 2 && /32$/.test(entry[1])) entry[2] = wild
  if (kind === 3 && entry[1] === 'text')
    entry[2] = ['', 'x', '{% for a in b %}', '{{', 'llama', 'qwen3', 'gemma3', 'gpt2', '\u0000\n'.repeat(below(500))][below(9)]
  if (kind === 4 && entry[1].endsWith('[]')) entry[2] = Array.from(entry[2] as ArrayLike<unknown>).slice(0, below(300))
  if (kind === 5) tensor.dims[below(tensor.dims.length)] = [1, 31, 32, 64, 96, 4096, 2 ** 31, 2 ** 40][below(8)]
  if (kind === 6) tensor.type = below(40)
  if (kind === 7) tensor.name = tensors[below(tensors.length)].name
  if (kind === 8) tensors.splice(tensors.indexOf(tensor), 1)
  return { ...contents, metadata, tensors }
}

/** The files of case `number`. */
function mutant(next: Next): Files {
  const contents = next() % 40 === 0 ? large[next() % large.length] : bases[next() % bases.length]
  const said = next() % 4 === 0 ? restate(contents, next) : contents
  const files: Files = next() % 16 === 0 ? splitGguf(said, 2 + (next() % 3)) : [{ name: 'mutant.gguf', bytes: writeGguf(said) }]
  if (said !== contents && next() % 2) return files
  const one = files[next() % files.length]
  const head = Math.min(one.bytes.length, 9000)
  for (let changes = 1 + (next() % 3); changes > 0; changes--) one.bytes = change(one.bytes, head, next)
  if (files.length > 1 && next() % 4 === 0) files.splice(next() % files.length, 1)
  return files
}

export async function fuzzGguf(count: number, seed: number, only?: number): Promise<FuzzResult> {
  const result: FuzzResult = { count: 0, imported: 0, refused: 0, sentences: 0, slowestMs: 0, largestShare: 0, failures: [] }
  const sentences = new Set<string>()
  for (let number = only ?? 0; number < (only === undefined ? count : only + 1); number++) {
    const files = mutant(random(Math.imul(seed, 1_000_003) + number))
    const size = files.reduce((sum, file) => sum + file.bytes.length, 0)
    const fail = (why: string): number => result.failures.push(`file ${number} of seed ${seed}: ${why}`)
    const access = files.map(
      ({ name, bytes }): RandomAccess => ({
        name,
        size: bytes.length,
        async read(offset, length) {
          if (!(offset >= 0 && length >= 0 && offset + length <= bytes.length)) fail(`reads ${length} bytes at ${offset} of ${bytes.length}`)
          return bytes.slice(offset, offset + length)
        },
      }),
    )
    const sink = memorySink()
    const start = performance.now()
    try {
      const { manifest, modelId } = await importGguf(access, sink)
      result.imported++
      const written = [...sink.shards.values()].reduce((sum, shard) => sum + shard.length, 0)
      result.largestShare = Math.max(result.largestShare, written / size)
      if (number % 8 === 0) await verifyPackage(memorySource(manifest, sink.shards), modelId)
    } catch (error) {
      if (!(error instanceof ModelError)) fail(error instanceof Error ? (error.stack ?? error.message) : String(error))
      else if (error.message.length > 1200 || /\p{Cc}/u.test(error.message)) fail(`says ${JSON.stringify(error.message.slice(0, 1000))}`)
      else sentences.add(error.message.replace(/"(?:[^"\\]|\\.)*"/g, '""').replace(/\d+/g, '0'))
      result.refused++
    }
    const ms = performance.now() - start
    result.slowestMs = Math.max(result.slowestMs, ms)
    if (ms > 5000) fail(`took ${ms.toFixed(0)} ms`)
    result.count++
  }
  result.sentences = sentences.size
  return result
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { values } = parseArgs({ options: { count: { type: 'string', default: '100000' }, seed: { type: 'string', default: '1' }, only: { type: 'string' } } })
  setSha256(
    (bytes) => hash('sha256', bytes, 'buffer'),
    () => createHash('sha256'),
  )
  const start = performance.now()
  const result = await fuzzGguf(Number(values.count), Number(values.seed), values.only === undefined ? undefined : Number(values.only))
  console.log(
    JSON.stringify(
      {
        ...result,
        failures: result.failures.slice(0, 20),
        seconds: Math.round((performance.now() - start) / 1000),
        peakRssMiB: process.resourceUsage().maxRSS >> 10,
      },
      null,
      2,
    ),
  )
  if (result.failures.length > 0) process.exitCode = 1
}
