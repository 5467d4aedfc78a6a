// A manifest as bytes, and the name of a model: modelId = H("model", coreHash, tensorTableRoot, constTablesRoot, shardListHash), specification section 9.
// Decoding trusts nothing: what it returns is canonical, within limits.ts and laid out as layout.ts says; or it throws a ModelError that says what is wrong.
import { decode, encode } from '@ipld/dag-cbor'
import { constTables, epsilonOf } from '../engine/tables.ts'
import { equalBytes, hashTagged, hex, join, lengthPrefixed, u32 } from '../hash.ts'
import {
  attentionMax,
  columnsMultiple,
  contextMax,
  coreBytesMax,
  ffnMax,
  headDimMax,
  headDimMultiple,
  hiddenMax,
  layersMax,
  licenceBytesMax,
  manifestBytesMax,
  nameBytesMax,
  vocabMax,
} from '../limits.ts'
import { biasBits, normBitsMax, normBitsMin } from './canonical.ts'
import { layoutOf } from './layout.ts'
import { type Architecture, architectures, type Core, type Manifest, ModelError, type Shard, type Tensor, type TensorFormat } from './manifest.ts'
import { dataType, isHash, listKind, listRoot, treeTop, vectorRoot } from './merkle.ts'
import { tokenizerBytesMax } from './vocabulary.ts'

/** Canonical dag-cbor of the core; the ledger's registry keeps it. */
export const encodeCore = (core: Core): Uint8Array => encode(core)

/** Canonical dag-cbor. */
export const encodeManifest = (manifest: Manifest): Uint8Array => encode(manifest)

/** H("core", length, dag-cbor of the core). */
export const coreHashOf = (core: Core): Uint8Array => hashTagged('core', lengthPrefixed(encodeCore(core)))

const formatCode = { w8: dataType.w8, g8: dataType.g8, w4: dataType.w4, v32: dataType.i32 } as const

/** H("tensor", index u32, name, format u8, rows u32, columns u32, bits i8, root): a leaf of the tensor table. */
export const tensorEntryHash = (tensor: Tensor, index: number): Uint8Array =>
  hashTagged(
    'tensor',
    u32(index),
    lengthPrefixed(tensor.name),
    Uint8Array.of(formatCode[tensor.format]),
    u32(tensor.rows, tensor.columns),
    Uint8Array.of(tensor.bits & 255),
    tensor.root,
  )

export const tensorTableRootOf = (tensors: readonly Tensor[]): Uint8Array =>
  listRoot(listKind.tensors, tensors.length, 1, dataType.hash, treeTop(tensors.map(tensorEntryHash)))

/** Root of a shard that holds tensors: over their roots. */
export const shardRootOf = (tensorRoots: readonly Uint8Array[]): Uint8Array =>
  listRoot(listKind.shard, tensorRoots.length, 1, dataType.hash, treeTop(tensorRoots))

/** H("shards", count u32, then per shard: name, bytes u64, sha256, root). */
export const shardListHashOf = (shards: readonly Shard[]): Uint8Array =>
  hashTagged(
    'shards',
    u32(shards.length),
    ...shards.map((s) => join([lengthPrefixed(s.name), u32(s.bytes % 4294967296, Math.floor(s.bytes / 4294967296)), s.sha256, s.root])),
  )

let tablesRoot: Uint8Array | null = null
/** Root over the engine's constant tables: a model id names their arithmetic too. */
export function constTablesRoot(): Uint8Array {
  if (tablesRoot) return tablesRoot
  const tables = constTables()
  tablesRoot = vectorRoot(listKind.tables, tables, tables.length / 4)
  return tablesRoot
}

/** 64 hexadecimal digits. Hashes what the manifest says; that the bytes agree with it is verify.ts. */
export const modelIdOf = (manifest: Manifest): string =>
  hex(hashTagged('model', coreHashOf(manifest.core), tensorTableRootOf(manifest.tensors), constTablesRoot(), shardListHashOf(manifest.shards)))

const isBias = (name: string): boolean => /\.b[qkv]$/.test(name)

/** Reads a stranger's manifest. Throws ModelError. */
export function decodeManifest(bytes: Uint8Array): Manifest {
  if (bytes.length > manifestBytesMax) throw new ModelError(`the manifest has ${bytes.length} bytes, at most ${manifestBytesMax} are allowed`)
  const manifest = readManifest(fromCbor(bytes))
  // One manifest, one byte string: unsorted keys, long integers or anything else that means the same is refused.
  if (!equalBytes(encodeManifest(manifest), bytes)) throw new ModelError('the manifest is not in canonical form')
  return manifest
}

/** The same for a core alone. */
export function decodeCore(bytes: Uint8Array): Core {
  if (bytes.length > coreBytesMax) throw new ModelError(`the core has ${bytes.length} bytes, at most ${coreBytesMax} are allowed`)
  const core = readCore(fromCbor(bytes))
  if (!equalBytes(encodeCore(core), bytes)) throw new ModelError('the core is not in canonical form')
  return core
}

function fromCbor(bytes: Uint8Array): unknown {
  try {
    return decode(bytes)
  } catch (error) {
    throw new ModelError(`the manifest is not dag-cbor: ${error instanceof Error ? error.message : 'unreadable'}`)
  }
}

/** What `name` of the manifest must be, and is not. */
const wrong = (name: string, expected: string): ModelError => new ModelError(`${name} of the manifest is not ${expected}`)

function fields<K extends string>(value: unknown, name: string, keys: readonly K[]): Record<K, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Uint8Array) throw wrong(name, 'a map')
  const present = Object.keys(value)
  const extra = present.find((key) => !keys.includes(key as K))
  if (extra !== undefined) throw new ModelError(`${name} of the manifest has an unknown field ${JSON.stringify(extra.slice(0, 64))}`)
  const missing = keys.find((key) => !present.includes(key))
  if (missing !== undefined) throw new ModelError(`${name} of the manifest lacks the field ${missing}`)
  return value as Record<K, unknown>
}

function integer(value: unknown, name: string, min: number, max: number): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) throw wrong(name, `an integer from ${min} to ${max}`)
  return value
}

function list(value: unknown, name: string, length: number): unknown[] {
  if (!Array.isArray(value) || value.length !== length) throw wrong(name, `a list of ${length}`)
  return value
}

function hash(value: unknown, name: string): Uint8Array {
  if (!isHash(value)) throw wrong(name, 'a hash of 32 bytes')
  return value
}

function oneOf<T extends string>(value: unknown, name: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === value)
  if (found === undefined) throw wrong(name, `one of ${choices.join(', ')}`)
  return found
}

function text(value: unknown, name: string, bytesMax: number): string {
  if (typeof value !== 'string' || new TextEncoder().encode(value).length > bytesMax) throw wrong(name, `a text of at most ${bytesMax} bytes`)
  return value
}

const coreKeys = [
  'version',
  'name',
  'architecture',
  'licence',
  'hidden',
  'ffn',
  'layers',
  'heads',
  'kvHeads',
  'headDim',
  'vocab',
  'context',
  'epsBits',
  'attentionScaleOf',
  'ropeGlobal',
  'ropeLocal',
  'slidingWindow',
  'slidingPattern',
  'residualBits',
  'hiddenBits',
  'tied',
] as const

/** Fractional bits of residual and hidden: what keeps the largest activations seen in models of the architecture in range. */
export const fractionBits = (architecture: Architecture): { residualBits: number; hiddenBits: number } =>
  architecture === 'gemma3' ? { residualBits: 8, hiddenBits: 12 } : { residualBits: 12, hiddenBits: 16 }

function readCore(value: unknown): Core {
  const f = fields(value, 'core', coreKeys)
  const n = (name: (typeof coreKeys)[number], min: number, max: number): number => integer(f[name], `core.${name}`, min, max)
  if (f.ropeGlobal !== null && !(f.ropeGlobal instanceof Uint8Array)) throw wrong('core.ropeGlobal', 'a byte string')
  if (f.ropeLocal !== null && !(f.ropeLocal instanceof Uint8Array)) throw wrong('core.ropeLocal', 'a byte string or null')
  if (f.version !== 1) throw new ModelError('the manifest is of a version other than 1')
  if (typeof f.tied !== 'boolean') throw wrong('core.tied', 'true or false')
  const core: Core = {
    version: 1,
    name: text(f.name, 'core.name', nameBytesMax),
    architecture: oneOf(f.architecture, 'core.architecture', architectures),
    licence: text(f.licence, 'core.licence', licenceBytesMax),
    hidden: n('hidden', 32, hiddenMax),
    ffn: n('ffn', 32, ffnMax),
    layers: n('layers', 1, layersMax),
    heads: n('heads', 1, attentionMax / headDimMultiple),
    kvHeads: n('kvHeads', 1, attentionMax / headDimMultiple),
    headDim: n('headDim', headDimMultiple, headDimMax),
    vocab: n('vocab', 1, vocabMax),
    context: n('context', 1, contextMax),
    epsBits: n('epsBits', 0, 0x7f7fffff),
    attentionScaleOf: n('attentionScaleOf', 1, hiddenMax),
    ropeGlobal: f.ropeGlobal as Uint8Array,
    ropeLocal: f.ropeLocal as Uint8Array | null,
    slidingWindow: n('slidingWindow', 0, contextMax),
    slidingPattern: n('slidingPattern', 1, layersMax),
    residualBits: n('residualBits', 0, 16),
    hiddenBits: n('hiddenBits', 0, 16),
    tied: f.tied,
  }
  checkCore(core)
  return core
}

/** What the shapes of a model must satisfy together, whether they come from a manifest or from a GGUF. Throws ModelError. */
export function checkCore(core: Core): void {
  const { architecture, hidden, ffn, heads, kvHeads, headDim } = core
  const bad = (message: string): ModelError => new ModelError(`${message}, so this ${architecture} model cannot be run`)
  const atMost: [keyof Core & ('hidden' | 'ffn' | 'layers' | 'headDim' | 'vocab' | 'context'), number][] = [
    ['hidden', hiddenMax],
    ['ffn', ffnMax],
    ['layers', layersMax],
    ['headDim', headDimMax],
    ['vocab', vocabMax],
    ['context', contextMax],
  ]
  for (const [name, max] of atMost) if (core[name] > max || core[name] < 1) throw bad(`${name} is ${core[name]}, the limit is 1 to ${max}`)
  if (heads < 1 || heads * headDim > attentionMax) throw bad(`${heads} heads of ${headDim} are ${heads * headDim} wide, the limit is ${attentionMax}`)
  if (kvHeads < 1 || heads % kvHeads !== 0) throw bad(`${heads} heads cannot share ${kvHeads} key-value heads evenly`)
  if (headDim % headDimMultiple !== 0) throw bad(`heads of ${headDim} elements are not supported, only multiples of ${headDimMultiple}`)
  for (const [name, columns] of [
    ['hidden', hidden],
    ['ffn', ffn],
    ['heads · headDim', heads * headDim],
  ] as const) {
    if (columns % columnsMultiple !== 0) throw bad(`${name} is ${columns}, expected a multiple of ${columnsMultiple}`)
  }
  const bits = fractionBits(architecture)
  if (core.residualBits !== bits.residualBits || core.hiddenBits !== bits.hiddenBits)
    throw bad(`residualBits and hiddenBits are ${core.residualBits} and ${core.hiddenBits}, expected ${bits.residualBits} and ${bits.hiddenBits}`)
  const gemma = architecture === 'gemma3'
  if (core.ropeGlobal === null || core.ropeGlobal.length !== headDim * 3) throw bad(`the rotary frequencies are not ${headDim / 2} numbers of 6 bytes`)
  if (gemma !== (core.ropeLocal !== null) || (core.ropeLocal && core.ropeLocal.length !== headDim * 3))
    throw bad('the local rotary frequencies do not fit the architecture')
  if (gemma ? core.slidingWindow < 1 || core.slidingPattern < 2 : core.slidingWindow !== 0 || core.slidingPattern !== 1)
    throw bad('the sliding window does not fit the architecture')
  if (!gemma && core.attentionScaleOf !== headDim) throw bad(`attentionScaleOf is ${core.attentionScaleOf}, expected headDim ${headDim}`)
  try {
    for (const [length, inBits] of [
      [hidden, core.residualBits],
      [headDim, 16],
      [hidden, 8],
    ] as const)
      epsilonOf(core.epsBits, length, inBits)
  } catch (error) {
    throw bad((error as Error).message)
  }
  const bytes = encodeCore(core).length
  if (bytes > coreBytesMax) throw bad(`its core takes ${bytes} bytes, at most ${coreBytesMax} are allowed`)
}

const tensorKeys = ['name', 'format', 'rows', 'columns', 'bits', 'shard', 'offset', 'bytes', 'root'] as const
const shardKeys = ['name', 'bytes', 'sha256', 'root'] as const

function readManifest(value: unknown): Manifest {
  const f = fields(value, 'the top level', ['core', 'tensors', 'shards'])
  const core = readCore(f.core)
  const given = Array.isArray(f.tensors) ? f.tensors : []
  const layout = layoutOf(core, (name, index) => {
    const t = fields(given[index], `tensor ${name}`, tensorKeys)
    const format = oneOf<TensorFormat>(t.format, `the format of tensor ${name}`, isMatrix(name) ? ['w8', 'g8', 'w4'] : ['v32'])
    const [min, max] = format !== 'v32' ? [0, 0] : isBias(name) ? [biasBits, biasBits] : [normBitsMin, normBitsMax]
    return { format, bits: integer(t.bits, `bits of tensor ${name}`, min, max) }
  })
  const tensors = list(f.tensors, 'tensors', layout.tensors.length).map((item, i): Tensor => {
    const t = fields(item, `tensor ${i}`, tensorKeys)
    const placed = layout.tensors[i]
    for (const key of ['name', 'rows', 'columns', 'shard', 'offset', 'bytes'] as const) {
      if (t[key] !== placed[key]) throw wrong(`${key} of tensor ${placed.name}`, String(placed[key]))
    }
    return { ...placed, root: hash(t.root, `the root of tensor ${placed.name}`) }
  })
  const shards = list(f.shards, 'shards', layout.shards.length).map((item, i): Shard => {
    const s = fields(item, `shard ${i}`, shardKeys)
    const { name, bytes } = layout.shards[i]
    if (s.name !== name) throw wrong(`the name of shard ${i}`, name)
    const size = name === 'tokenizer' ? integer(s.bytes, `the size of shard ${name}`, 1, tokenizerBytesMax) : bytes
    if (s.bytes !== size) throw wrong(`the size of shard ${name}`, String(size))
    const root = hash(s.root, `the root of shard ${name}`)
    const own = tensors.filter((t) => t.shard === i).map((t) => t.root)
    if (name !== 'tokenizer' && !equalBytes(root, shardRootOf(own))) throw wrong(`the root of shard ${name}`, 'the root over its tensors')
    return { name, bytes: size, sha256: hash(s.sha256, `the SHA-256 of shard ${name}`), root }
  })
  return { core, tensors, shards }
}

/** Matrices are `embed`, `head` and w… of layers; norms and biases are vectors. */
const isMatrix = (name: string): boolean => name === 'embed' || name === 'head' || /\.w(q|k|v|o|_gate|_up|_down)$/.test(name)
