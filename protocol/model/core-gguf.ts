// What a GGUF's metadata say about the model: its core, the names of its tensors, and everything that would make it another function than the one our programs compute.
// Where llama.cpp has a default or a rule of its own, it is the same here. Whatever is not computed exactly is refused by name.
import { ropeFrequencies } from '../engine/tables.ts'
import { contextMax, headDimMax, licenceBytesMax, nameBytesMax } from '../limits.ts'
import type { Gguf, MetadataValue } from './gguf.ts'
import { checkCore, fractionBits } from './identity.ts'
import { type Architecture, architectures, type Core, ModelError } from './manifest.ts'

/** Typed look-ups in the metadata of one architecture, which name the key when something else is there. */
class Keys {
  private readonly metadata: ReadonlyMap<string, MetadataValue>
  readonly architecture: Architecture
  constructor(metadata: ReadonlyMap<string, MetadataValue>) {
    this.metadata = metadata
    const name = metadata.get('general.architecture')
    const found = architectures.find((a) => a === name)
    if (!found) {
      const is = name === undefined ? 'the file names no architecture' : `the architecture ${JSON.stringify(String(name).slice(0, 64))} is not supported`
      throw new ModelError(`${is}; supported are ${architectures.join(', ')}`)
    }
    this.architecture = found
  }

  /** Own keys begin with the architecture's name. */
  private named(key: string): [string, MetadataValue | undefined] {
    const full = `${this.architecture}.${key}`
    return [full, this.metadata.get(full)]
  }

  raw(key: string): MetadataValue | undefined {
    return this.named(key)[1]
  }

  text(key: string): string {
    const value = this.metadata.get(key) ?? ''
    if (typeof value !== 'string') throw new ModelError(`${key} in the file's metadata is not a text`)
    return value
  }

  integer(key: string, otherwise?: number): number {
    const [full, value] = this.named(key)
    if (value === undefined && otherwise !== undefined) return otherwise
    if (value === undefined) throw new ModelError(`the file's metadata lack ${full}`)
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
    throw new ModelError(`${full} in the file's metadata is not a whole number`)
  }

  /** A finite number. */
  real(key: string, otherwise?: number): number {
    const [full, value] = this.named(key)
    if (value === undefined && otherwise !== undefined) return otherwise
    if (value === undefined) throw new ModelError(`the file's metadata lack ${full}`)
    if (typeof value === 'number' && Number.isFinite(value)) return value
    throw new ModelError(`${full} in the file's metadata is not a finite number`)
  }

  /** Refuses a feature whose key is there with another value than the one that means it is absent. */
  refuse(key: string, absent: MetadataValue[], feature: string): void {
    const [full, value] = this.named(key)
    if (value !== undefined && !absent.includes(value)) throw new ModelError(`${full} is ${String(value).slice(0, 64)}: ${feature} is not supported`)
  }
}

const singles = new Float32Array(1)
/** IEEE-754 bits of the nearest single. */
export function bitsOfSingle(value: number): number {
  singles[0] = value
  return new Uint32Array(singles.buffer)[0]
}

/** `text` without control characters, cut to `max` bytes of UTF-8 between characters. */
function tidy(text: string, max: number): string {
  let out = ''
  let bytes = 0
  // Iterating by code points; an unpaired surrogate cannot occur in decoded UTF-8.
  for (const character of text) {
    const code = character.codePointAt(0)!
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4
    if (bytes > max) break
    out += code < 32 || code === 127 ? ' ' : character
  }
  return out.trim()
}

interface Rope {
  global: Uint8Array
  local: Uint8Array | null
}

function readRope(keys: Keys, headDim: number, factors: Uint32Array | null): Rope {
  const type = keys.raw('rope.scaling.type') ?? (keys.raw('rope.scale_linear') === undefined ? 'none' : 'linear')
  if (type !== 'none' && type !== 'linear')
    throw new ModelError(`the rotary scaling ${JSON.stringify(String(type).slice(0, 64))} is not supported; supported are linear and Llama 3's`)
  keys.refuse('rope.scaling.attn_factor', [1, 0], 'scaled attention')
  keys.refuse('rope.dimension_count', [headDim], `a rotary embedding of another width than the head's ${headDim}`)
  const factor = type === 'linear' ? keys.real('rope.scaling.factor', keys.real('rope.scale_linear', 1)) : 1
  // llama.cpp reads 0 as "not given".
  const scaled = factor !== 1 && factor !== 0
  if (scaled && factors) throw new ModelError('the file has both linear rotary scaling and rope_freqs.weight, which is not supported')
  const all = scaled ? new Uint32Array(headDim / 2).fill(bitsOfSingle(factor)) : factors
  const local = keys.architecture === 'gemma3' ? bitsOfSingle(keys.real('rope.freq_base_swa', 10000)) : null
  try {
    return {
      global: ropeFrequencies(bitsOfSingle(keys.real('rope.freq_base', 10000)), headDim, all),
      local: local === null ? null : ropeFrequencies(local, headDim, null),
    }
  } catch (error) {
    throw new ModelError(`the file's rotary embedding cannot be used: ${(error as Error).message}`)
  }
}

/**
 * The core of a model. `vocab` is the number of rows of the embedding, `factors` the IEEE-754 bits of rope_freqs.weight if there is one.
 * Throws ModelError.
 */
export function coreFromGguf(gguf: Pick<Gguf, 'metadata' | 'tensors'>, vocab: number, factors: Uint32Array | null): Core {
  const keys = new Keys(gguf.metadata)
  const { architecture } = keys
  const gemma = architecture === 'gemma3'
  const hidden = keys.integer('embedding_length')
  const heads = keys.integer('attention.head_count')
  if (heads === 0) throw new ModelError(`${architecture}.attention.head_count is 0`)
  // Gemma 3's heads are not hidden / heads wide; llama.cpp's default all the same.
  const headDim = keys.integer('attention.key_length', Math.floor(hidden / heads))
  // Before the tables of frequencies are made.
  if (headDim < 2 || headDim % 2 !== 0 || headDim > headDimMax)
    throw new ModelError(`the head width ${headDim} is not supported: expected an even number of at most ${headDimMax}`)
  keys.refuse('attention.value_length', [headDim], `a value width other than the key width ${headDim}`)
  keys.refuse('expert_count', [0], 'a mixture of experts')
  keys.refuse('attention.causal', [true], 'attention to later tokens')
  keys.refuse('attn_logit_softcapping', [0], 'soft capping')
  keys.refuse('final_logit_softcapping', [0], 'soft capping')
  keys.refuse('attention.scale', [0], 'an attention scale of its own')
  keys.refuse('logit_scale', [0, 1], 'a scale of the logits')
  keys.refuse('residual_scale', [0, 1], 'a scale of the residual')
  keys.refuse('embedding_scale', [0, 1], 'a scale of the embedding')
  keys.refuse('use_parallel_residual', [false], 'a parallel residual')
  if (factors && factors.length !== headDim / 2) throw new ModelError(`rope_freqs.weight has ${factors.length} values, expected ${headDim / 2}`)
  const rope = readRope(keys, headDim, factors)

  // Files of some Mistral models name a window and llama.cpp ignores it. Up to the window's length both readings agree, so that is where the context ends.
  const window = keys.integer('attention.sliding_window', 0)
  const context = Math.min(keys.integer('context_length'), contextMax, gemma || window === 0 ? contextMax : window)
  if (gemma && (window < 1 || window > contextMax)) throw new ModelError(`gemma3.attention.sliding_window is ${window}, expected 1 to ${contextMax}`)
  const layers = keys.integer('block_count')
  const core: Core = {
    version: 1,
    name: tidy(keys.text('general.name') || keys.text('general.basename'), nameBytesMax) || `unnamed ${architecture}`,
    architecture,
    licence: tidy(keys.text('general.license'), licenceBytesMax),
    hidden,
    ffn: keys.integer('feed_forward_length'),
    layers,
    heads,
    kvHeads: keys.integer('attention.head_count_kv', heads),
    headDim,
    vocab,
    context,
    epsBits: bitsOfSingle(keys.real('attention.layer_norm_rms_epsilon')),
    // Gemma 3 27B alone, told by its 62 layers as llama.cpp does, scales by 1/√(hidden / heads).
    attentionScaleOf: gemma && layers === 62 ? Math.floor(hidden / heads) : headDim,
    ropeGlobal: rope.global,
    ropeLocal: rope.local,
    slidingWindow: gemma ? window : 0,
    slidingPattern: gemma ? readPattern(keys) : 1,
    ...fractionBits(architecture),
    tied: !gguf.tensors.has('output.weight'),
  }
  checkCore(core)
  return core
}

/** Every n-th layer of Gemma 3 sees everything: 6, or as a file says (a number, or one flag a layer). */
function readPattern(keys: Keys): number {
  const value = keys.raw('attention.sliding_window_pattern')
  if (!Array.isArray(value)) return keys.integer('attention.sliding_window_pattern', 6)
  const pattern = (value as unknown[]).indexOf(false) + 1
  const regular = pattern > 1 && value.every((slides: unknown, l) => slides === ((l + 1) % pattern !== 0))
  if (!regular) throw new ModelError('gemma3.attention.sliding_window_pattern is irregular, which is not supported')
  return pattern
}

const layerNames: Record<string, string> = {
  attention_norm: 'attn_norm.weight',
  wq: 'attn_q.weight',
  wk: 'attn_k.weight',
  wv: 'attn_v.weight',
  bq: 'attn_q.bias',
  bk: 'attn_k.bias',
  bv: 'attn_v.bias',
  q_norm: 'attn_q_norm.weight',
  k_norm: 'attn_k_norm.weight',
  wo: 'attn_output.weight',
  attention_post_norm: 'post_attention_norm.weight',
  ffn_norm: 'ffn_norm.weight',
  w_gate: 'ffn_gate.weight',
  w_up: 'ffn_up.weight',
  w_down: 'ffn_down.weight',
  ffn_post_norm: 'post_ffw_norm.weight',
}

/** Name in the GGUF of a canonical tensor. */
export function sourceName(name: string): string {
  if (name === 'embed') return 'token_embd.weight'
  if (name === 'output_norm') return 'output_norm.weight'
  if (name === 'head') return 'output.weight'
  const [, layer, part] = name.split('.')
  return `blk.${layer}.${layerNames[part]}`
}
