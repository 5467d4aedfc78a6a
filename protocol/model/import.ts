// GGUF -> canonical package, row by row: a file of any size passes through a few megabytes of memory. The same file gives the same bytes, hence the same
// id, on every machine: see dequantise.ts for why. Cheap checks come first; the sink sees nothing before every shape has been checked. Refuses what it cannot import exactly.
import { sha256Stream } from '../hash.ts'
import { headDimMax, vocabMax } from '../limits.ts'
import { biasBits, bitsOfNorm, paddedRows, panelsBytes, rowTileBytes, scatterRow, vectorBytes } from './canonical.ts'
import { bitsOfSingle, coreFromGguf, sourceName } from './core-gguf.ts'
import { dequantiseRow, isFourBit } from './dequantise.ts'
import { type Gguf, type GgufTensor, openGguf, type RandomAccess } from './gguf.ts'
import { modelIdOf, shardRootOf } from './identity.ts'
import { layoutOf, type PlacedTensor } from './layout.ts'
import { type Core, type Manifest, type MatrixFormat, ModelError, panelRows, type Shard, type Tensor, type TensorFormat } from './manifest.ts'
import { bytesRoot } from './merkle.ts'
import { notFinite, packers } from './pack.ts'
import { MatrixTree, tensorRoot } from './tiles.ts'
import { encodeTokenizer, tokenizerFromGguf } from './tokenizer.ts'

export type { RandomAccess } from './gguf.ts'

/** Where shards go. Shards are opened one after another, each closed before the next; after an error the open one is left to its owner to discard. */
export interface PackageSink {
  open(shardName: string): Promise<{
    /** `bytes` are the caller's again once the promise is fulfilled. */
    write(bytes: Uint8Array): Promise<void>
    close(): Promise<void>
  }>
}

/**
 * `auto`: 4-bit groups where the source has them, 8-bit groups elsewhere. `g8`: 8-bit groups everywhere. `w8`: int8 rows for the matrices that bear one scale a row (rowRoles), the others as `auto`.
 * `w4`: as auto, but refuses a file whose layers are not all 4-bit sources.
 */
export type Weights = 'auto' | 'g8' | 'w8' | 'w4'

export interface ImportOptions {
  weights?: Weights
  /** Bytes of tensors read, and in all. */
  onProgress?: (done: number, total: number) => void
  signal?: AbortSignal
}

export interface ImportResult {
  manifest: Manifest
  /** 64 hexadecimal digits. */
  modelId: string
  /** One sentence for people: which formats were chosen, and why. */
  decision: string
}

/** Source bytes read at a time: large enough for disks and few awaits, small enough not to matter for memory. */
const readBytes = 4 << 20

/**
 * Imports a GGUF, whole or in parts (in any order). Throws ModelError in one sentence for a file that cannot be imported, what `read` and the sink throw, and the signal's reason.
 */
export async function importGguf(files: readonly RandomAccess[], sink: PackageSink, options: ImportOptions = {}): Promise<ImportResult> {
  const gguf = await openGguf(files, options.signal)
  const core = await readCoreOf(gguf)
  const tokenizer = tokenizerFromGguf(gguf.metadata)
  if (tokenizer.tokens.length !== core.vocab)
    throw new ModelError(`the tokenizer has ${tokenizer.tokens.length} tokens, but token_embd.weight has ${core.vocab} rows`)
  const tokenizerShard = encodeTokenizer(tokenizer)
  const { tensors, shards, sources } = plan(gguf, core, options.weights ?? 'auto')

  const total = sources.reduce((sum, source) => sum + source.bytes, 0)
  const job = new Job(gguf, core, options, total)
  const done: Tensor[] = []
  const doneShards: Shard[] = []
  for (const [index, { name }] of shards.entries()) {
    const writer = await sink.open(name)
    const hash = sha256Stream()
    let bytes = 0
    const write = async (part: Uint8Array): Promise<void> => {
      hash.update(part)
      bytes += part.length
      await writer.write(part)
    }
    let root: Uint8Array
    if (name === 'tokenizer') {
      await write(tokenizerShard)
      root = bytesRoot(tokenizerShard)
    } else {
      for (const [i, tensor] of tensors.entries()) if (tensor.shard === index) done.push(await job.tensor(tensor, sources[i], write))
      root = shardRootOf(done.filter((tensor) => tensor.shard === index).map((tensor) => tensor.root))
    }
    await writer.close()
    doneShards.push({ name, bytes, sha256: new Uint8Array(hash.digest()), root })
  }
  const manifest: Manifest = { core, tensors: done, shards: doneShards }
  return { manifest, modelId: modelIdOf(manifest), decision: decisionOf(tensors, sources, options.weights ?? 'auto') }
}

async function readCoreOf(gguf: Gguf): Promise<Core> {
  const embed = gguf.tensors.get('token_embd.weight')
  if (!embed) throw new ModelError('the file lacks the tensor token_embd.weight')
  const rows = embed.dims[1] ?? 1
  if (rows > vocabMax) throw new ModelError(`token_embd.weight has ${rows} rows, the limit is ${vocabMax} tokens`)
  const frequencies = gguf.tensors.get('rope_freqs.weight')
  let factors: Uint32Array | null = null
  if (frequencies) {
    const count = frequencies.dims[0]
    if (frequencies.dims.length !== 1 || count > headDimMax / 2)
      throw new ModelError(`rope_freqs.weight has shape ${frequencies.dims.join(' × ')}, expected at most ${headDimMax / 2} values`)
    const values = await readVector(gguf, frequencies)
    factors = Uint32Array.from(values, bitsOfSingle)
  }
  return coreFromGguf(gguf, rows, factors)
}

/** Reads a whole vector, exactly. */
async function readVector(gguf: Gguf, source: GgufTensor): Promise<Float64Array> {
  const bytes = await readExactly(gguf.files[source.file], source.offset, source.bytes)
  const values = new Float64Array(source.dims[0])
  const max = dequantiseRow(source.type, bytes, viewOf(bytes), 0, values.length, values)
  if (Number.isNaN(max)) throw notFinite(source)
  return values
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

async function readExactly(file: RandomAccess, offset: number, length: number): Promise<Uint8Array> {
  const bytes = await file.read(offset, length)
  if (bytes.length !== length) throw new ModelError(`${file.name} could not be read: ${bytes.length} bytes came at ${offset}, ${length} were expected`)
  return bytes
}

/** Names of tensors that some converters add and that no arithmetic reads. */
const ignored = /^blk\.\d+\.attn_rot_embd(\.weight)?$/

interface Plan {
  tensors: PlacedTensor[]
  shards: { name: string }[]
  /** By index of tensor. */
  sources: GgufTensor[]
}

/**
 * Matrices that `w8` makes int8 rows. What one scale a row costs depends on what a matrix is for, not on how far its rows spread: a row's rounding error is 6.4 to 8.9 · 10^(−5) of its
 * energy for every kind, clipping its largest weights gains nothing. SmolLM2-135M-Instruct Q4_1, KL divergence from the file as shipped over 768 tokens of three texts, one kind alone in
 * rows (where any change at all costs about 0.0009): w_gate 0.0010, wq and wo 0.0011, w_up 0.0013, wk and wv 0.0022, w_down 0.0023; the four kinds below together 0.0019, all seven 0.0051.
 */
const rowRoles = /^layers\.\d+\.(wq|wo|w_gate|w_up)$/

function matrixFormat(weights: Weights, name: string, source: GgufTensor): MatrixFormat {
  if (weights === 'w8' && rowRoles.test(name)) return 'w8'
  return weights !== 'g8' && isFourBit(source.type) ? 'w4' : 'g8'
}

/** Finds the source of each canonical tensor and checks shapes. Throws ModelError for what is missing, left over or of another shape. */
function plan(gguf: Gguf, core: Core, weights: Weights): Plan {
  // Bits of norms are known only once they have been read.
  const sources: GgufTensor[] = []
  const sourceOf = (name: string): GgufTensor => {
    const source = gguf.tensors.get(sourceName(name))
    if (!source) throw new ModelError(`the file lacks the tensor ${sourceName(name)}, which a ${core.architecture} model of ${core.layers} layers has`)
    return source
  }
  const { tensors, shards } = layoutOf(core, (name) => {
    const source = sourceOf(name)
    sources.push(source)
    const format: TensorFormat = isVector(name) ? 'v32' : matrixFormat(weights, name, source)
    if (weights === 'w4' && format === 'g8' && name.startsWith('layers.')) {
      throw new ModelError(
        `4-bit groups were asked for, but ${source.name} is stored as ${source.type.name}: putting weights on a new 4-bit grid cost 28 % perplexity when measured, so only Q4_0, Q4_1 and Q4_K are kept in 4 bits`,
      )
    }
    return { format, bits: isBias(name) ? biasBits : 0 }
  })
  for (const [i, { name, format, rows, columns }] of tensors.entries()) {
    const { dims } = sources[i]
    const expected = format === 'v32' ? [rows] : rows === 1 ? [columns] : [columns, rows]
    if (dims.length !== expected.length || dims.some((dim, d) => dim !== expected[d])) {
      throw new ModelError(`tensor ${sourceName(name)} has shape ${dims.join(' × ')}, expected ${expected.join(' × ')}`)
    }
  }
  const used = new Set(sources.map((source) => source.name))
  // Llama 3's factors, read already; no other architecture has them.
  if (core.architecture === 'llama') used.add('rope_freqs.weight')
  for (const name of gguf.tensors.keys()) {
    if (name.startsWith('rope_factors_')) throw new ModelError(`the rotary scaling longrope (${name}) is not supported`)
    if (!used.has(name) && !ignored.test(name))
      throw new ModelError(`the file has the tensor ${JSON.stringify(name)}, which is no part of a ${core.architecture} model of ${core.layers} layers`)
  }
  return { tensors, shards, sources }
}

const isBias = (name: string): boolean => /\.b[qkv]$/.test(name)
const isVector = (name: string): boolean => isBias(name) || name.endsWith('_norm')

type Write = (bytes: Uint8Array) => Promise<void>

/** Turns tensors into canonical bytes, one after another. */
class Job {
  private readonly gguf: Gguf
  private readonly core: Core
  private readonly options: ImportOptions
  private readonly total: number
  private done = 0
  constructor(gguf: Gguf, core: Core, options: ImportOptions, total: number) {
    this.gguf = gguf
    this.core = core
    this.options = options
    this.total = total
  }

  async tensor(tensor: PlacedTensor, source: GgufTensor, write: Write): Promise<Tensor> {
    if (tensor.format === 'v32') return this.vector(tensor, source, write)
    return { ...tensor, root: await this.matrix(tensor, source, write) }
  }

  private async read(source: GgufTensor, offset: number, length: number): Promise<Uint8Array> {
    this.options.signal?.throwIfAborted()
    const bytes = await readExactly(this.gguf.files[source.file], source.offset + offset, length)
    this.done += length
    this.options.onProgress?.(this.done, this.total)
    return bytes
  }

  private async vector(tensor: PlacedTensor, source: GgufTensor, write: Write): Promise<Tensor> {
    const bytes = await this.read(source, 0, source.bytes)
    const values = new Float64Array(tensor.rows)
    const max = dequantiseRow(source.type, bytes, viewOf(bytes), 0, tensor.rows, values)
    if (Number.isNaN(max)) throw notFinite(source)
    const bits = isBias(tensor.name) ? biasBits : bitsOfNorm(max)
    const canonical = bits === null ? null : vectorBytes(values, tensor.rows, bits)
    if (bits === null || !canonical)
      throw new ModelError(`tensor ${source.name} holds the value ±${max}, too large for ${isBias(tensor.name) ? 'a bias (32767)' : 'a norm (2^26)'}`)
    await write(canonical)
    return { ...tensor, bits, root: tensorRoot(tensor, canonical) }
  }

  private async matrix(tensor: PlacedTensor, source: GgufTensor, write: Write): Promise<Uint8Array> {
    const { rows, columns } = tensor
    const format = tensor.format as MatrixFormat
    const rowBytes = source.bytes / rows
    // Llama files interleave the two halves of each rotary pair (2i, 2i + 1); our engine pairs (i, i + headDim/2), as the other architectures' files do.
    const pairs = this.core.architecture === 'llama' && /\.w[qk]$/.test(tensor.name) ? this.core.headDim : 0
    const step = pairs || panelRows
    const chunkRows = Math.max(1, Math.floor(readBytes / rowBytes / step)) * step
    const panelWords = panelsBytes({ format, rows: panelRows, columns }) / 4

    const tile = new Uint32Array(rowTileBytes(format, columns) / 4)
    const tileBytes = new Uint8Array(tile.buffer)
    const packRow = packers[format](source, columns, tile)
    const words = new Uint32Array(paddedRows(rows))
    const tree = new MatrixTree(format, rows, columns)
    let panels = new Uint32Array()
    for (let start = 0; start < rows; start += chunkRows) {
      const count = Math.min(chunkRows, rows - start)
      const bytes = await this.read(source, start * rowBytes, count * rowBytes)
      const view = viewOf(bytes)
      const size = Math.ceil(count / panelRows) * panelWords
      // The last panel's padding must be zero: a fresh array for a last, shorter chunk (and for the first).
      if (panels.length !== size || count % panelRows !== 0) panels = new Uint32Array(size)
      for (let n = 0; n < count; n++) {
        const from = pairs ? unpaired(n, pairs) : n
        const word = packRow(bytes, view, from * rowBytes, start + from)
        words[start + n] = word
        tree.push(tileBytes, word)
        scatterRow(format, columns, tile, n, panels)
      }
      await write(new Uint8Array(panels.buffer))
    }
    await write(new Uint8Array(words.buffer))
    return tree.root()
  }
}

/** Row of the source that becomes row n: within each head row i was 2i, row headDim/2 + i was 2i + 1. */
function unpaired(n: number, headDim: number): number {
  const i = n % headDim
  const half = headDim / 2
  return n - i + (i < half ? 2 * i : 2 * (i - half) + 1)
}

/** "4-bit groups for 210 matrices (Q4_1) and 8-bit groups for the embedding (Q8_0), because …"; with int8 rows, which matrices each format has. */
function decisionOf(tensors: readonly PlacedTensor[], sources: readonly GgufTensor[], weights: Weights): string {
  const names = { w4: '4-bit groups', g8: '8-bit groups', w8: 'int8 rows' }
  const used = (['w4', 'g8', 'w8'] as const).filter((format) => tensors.some((tensor) => tensor.format === format))
  const parts = used.map((format) => {
    const indices = tensors.flatMap((tensor, i) => (tensor.format === format ? [i] : []))
    const types = [...new Set(indices.map((i) => sources[i].type.name))].join(', ')
    const only = indices.length === 1 ? (tensors[indices[0]].name === 'embed' ? 'the embedding' : tensors[indices[0]].name) : `${indices.length} matrices`
    const kinds = [...new Set(indices.map((i) => tensors[i].name.replace(/^layers\.\d+\./, '')))].join(', ')
    return `${names[format]} for ${only} (${weights === 'w8' && indices.length > 1 ? `${kinds}; ` : ''}${types})`
  })
  // Perplexities: meadow bench engine.
  const because: Record<Weights, string> = {
    auto: used.includes('w4')
      ? 'because 4-bit sources are kept as shipped, at half the memory of 8 bits, and everything else loses least in groups of 32'
      : 'because the file holds no 4-bit groups, and putting weights on a new 4-bit grid cost 28 % perplexity when measured, 8-bit groups next to nothing',
    g8: 'because you asked for 8-bit groups',
    w8: 'because you asked for int8 rows: one scale a row costs these matrices little, the others stay in groups of 32 (all together 0.1 to 0.4 % perplexity when measured)',
    w4: 'because you asked for 4-bit groups',
  }
  return `${parts.length > 2 ? `${parts.slice(0, -1).join(', ')} and ${parts.at(-1)}` : parts.join(' and ')}, ${because[weights]}`
}
