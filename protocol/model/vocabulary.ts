// What a tokenizer is as data, and the bytes of the `tokenizer` shard: canonical dag-cbor whose long lists are packed into byte strings,
// so that 49,152 tokens and 48,900 merges open in milliseconds. Decoding trusts nothing: it is a stranger's shard until its checks have passed.
// It refuses to guess: what a GGUF leaves out is settled in vocabulary-gguf.ts, once, at import.
import { decode, encode } from '@ipld/dag-cbor'
import { equalBytes } from '../hash.ts'
import { ModelError } from './manifest.ts'

/** Gemma 3 has 262,144 rows and 64 spare ones in some files; everything else we import is smaller. */
export const vocabMax = 262400
export const tokenBytesMax = 1024
export const templateBytesMax = 65536
/** Llama 3 carries 280,147 merges for 128,256 tokens, the most of any model we import. */
export const mergesMax = 1048576
/** All tokens' text together. Gemma's 262,144 tokens take 2.6 MB. */
const tokensBytesMax = 16 * 1024 * 1024
/** Longest tokenizer shard that is looked at: packed lists at their limits. */
export const tokenizerBytesMax = tokensBytesMax + vocabMax * 7 + mergesMax * 8 + templateBytesMax + 4096

/** GGUF's token types (tokenizer.ggml.token_type), the same numbers. */
export const TokenType = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const

export interface TokenizerData {
  /** `bpe`: GPT-2 byte-level pairs in the order of `merges`. `spm`: SentencePiece pairs by the score of what they make, bytes as the fallback. */
  kind: 'bpe' | 'spm'
  /** Name of the rule that cuts text into words before pairs are merged (pretokenise.ts); '' for spm. */
  pre: string
  /** Token text by id, as GGUF spells it: byte-level letters for bpe, ▁ for space for spm, plain text for control and user-defined tokens. */
  tokens: string[]
  /** A TokenType for each token. */
  types: Uint8Array
  /** bpe: 2 · count token ids, (left, right) of each merge, best first. */
  merges: Uint32Array
  /** spm: IEEE-754 bits of each token's f32 score. */
  scores: Uint32Array
  bos: number | null
  eos: number | null
  /** End of turn, end of message: what a chat model writes instead of eos. */
  eot: number | null
  eom: number | null
  unknown: number | null
  padding: number | null
  /** A prompt starts with bos. */
  addBos: boolean
  /** spm: a space goes before text that starts a prompt or follows a special token. */
  addSpacePrefix: boolean
  /** Jinja source of the chat template. */
  template: string | null
}

const ids = ['bos', 'eos', 'eot', 'eom', 'unknown', 'padding'] as const
const fields: string[] = ['version', 'kind', 'pre', 'text', 'sizes', 'types', 'merges', 'scores', ...ids, 'addBos', 'addSpacePrefix', 'template']

/** Bytes of the `tokenizer` shard. The same data gives the same bytes everywhere. Throws ModelError when the data break a limit. */
export function encodeTokenizer(data: TokenizerData): Uint8Array {
  checkTokenizer(data)
  // In Node the library gives a Buffer, whose slice() is a view; callers get plain bytes.
  return new Uint8Array(
    encode({
      version: 1,
      kind: data.kind,
      pre: data.pre,
      text: new TextEncoder().encode(data.tokens.join('')),
      sizes: pack(Uint32Array.from(data.tokens, utf8Length), 2),
      types: data.types,
      merges: pack(data.merges, 4),
      scores: pack(data.scores, 4),
      ...Object.fromEntries(ids.map((name) => [name, data[name]])),
      addBos: data.addBos,
      addSpacePrefix: data.addSpacePrefix,
      template: data.template,
    }),
  )
}

/** Inverse of encodeTokenizer. Throws ModelError on anything encodeTokenizer would not have written. */
export function decodeTokenizer(bytes: Uint8Array): TokenizerData {
  if (bytes.length > tokenizerBytesMax) throw bad(`is ${bytes.length} bytes long, at most ${tokenizerBytesMax} are allowed`)
  const map = open(bytes)
  if (map.version !== 1) throw bad(`has version ${String(map.version)}, expected 1`)
  for (const name of Object.keys(map)) if (!fields.includes(name)) throw bad(`has an unknown field ${JSON.stringify(name.slice(0, 64))}`)
  const text = bytesOf(map, 'text')
  const sizes = unpack(bytesOf(map, 'sizes'), 2, 'sizes')
  if (sizes.length > vocabMax) throw bad(`has ${sizes.length} tokens, at most ${vocabMax} are allowed`)
  const data = {
    kind: map.kind,
    pre: map.pre,
    tokens: cutTokens(text, sizes),
    types: new Uint8Array(bytesOf(map, 'types')),
    merges: unpack(bytesOf(map, 'merges'), 4, 'merges'),
    scores: unpack(bytesOf(map, 'scores'), 4, 'scores'),
    ...Object.fromEntries(ids.map((name) => [name, map[name]])),
    addBos: map.addBos,
    addSpacePrefix: map.addSpacePrefix,
    template: map.template,
  } as TokenizerData
  checkTokenizer(data)
  // The byte strings have one reading each (cutTokens, unpack), so the data are canonical when their dag-cbor is.
  if (!equalBytes(encode(map), bytes)) throw bad('is not in canonical form')
  return data
}

/** Throws ModelError naming the first rule the data break. */
export function checkTokenizer(data: TokenizerData): void {
  const { kind, tokens, types, merges, scores, template } = data
  const count = tokens.length
  if (kind !== 'bpe' && kind !== 'spm') throw bad(`is of kind ${String(kind)}, expected bpe or spm`)
  if (typeof data.pre !== 'string' || data.pre.length > 64) throw bad('names its pre-tokenizer with something other than a short string')
  if (count === 0 || count > vocabMax) throw bad(`has ${count} tokens, between 1 and ${vocabMax} are allowed`)
  if (types.length !== count) throw bad(`has ${types.length} token types for ${count} tokens`)
  const wrongType = types.findIndex((type) => type < 1 || type > 6)
  if (wrongType >= 0) throw bad(`gives token ${wrongType} the type ${types[wrongType]}, expected 1 to 6`)
  if (kind === 'bpe' ? scores.length > 0 : scores.length !== count) throw bad(`has ${scores.length} scores for ${count} tokens of kind ${kind}`)
  if (kind === 'spm' && merges.length > 0) throw bad('has merges, which kind spm does without')
  if (merges.length % 2 || merges.length > 2 * mergesMax) throw bad(`has ${merges.length / 2} merges, at most ${mergesMax} are allowed`)
  const wrongMerge = merges.findIndex((id) => id >= count)
  if (wrongMerge >= 0) throw bad(`names token ${merges[wrongMerge]} in merge ${wrongMerge >> 1}, but has only ${count} tokens`)
  // An all-ones exponent is an infinity or not a number: neither can be put in order.
  const wrongScore = scores.findIndex((bits) => ((bits >>> 23) & 255) === 255)
  if (wrongScore >= 0) throw bad(`gives token ${wrongScore} a score that is not a finite number`)
  for (let id = 0; id < count; id++) {
    if (!tokens[id]!.isWellFormed()) throw bad(`has a token ${id} that is not Unicode text`)
    const bytes = utf8Length(tokens[id]!)
    if (bytes > tokenBytesMax) throw bad(`has a token ${id} of ${bytes} bytes, at most ${tokenBytesMax} are allowed`)
    if (types[id] === TokenType.byte && !/^<0x[0-9A-F]{2}>$/.test(tokens[id]!))
      throw bad(`calls token ${id} a byte, but spells it ${JSON.stringify(tokens[id])}`)
  }
  for (const name of ids) {
    const id = data[name]
    if (id !== null && !(Number.isInteger(id) && id >= 0 && id < count)) throw bad(`names ${String(id)} as its ${name} token, but has only ${count} tokens`)
  }
  if (typeof data.addBos !== 'boolean' || typeof data.addSpacePrefix !== 'boolean') throw bad('has addBos or addSpacePrefix that is neither true nor false')
  if (data.addBos && data.bos === null) throw bad('asks for a BOS token before each prompt, but names none')
  if (template !== null && typeof template !== 'string') throw bad('has a chat template that is not text')
  if (template?.isWellFormed() === false) throw bad('has a chat template that is not Unicode text')
  const templateBytes = template === null ? 0 : utf8Length(template)
  if (templateBytes > templateBytesMax) throw bad(`has a chat template of ${templateBytes} bytes, at most ${templateBytesMax} are allowed`)
}

const bad = (what: string): ModelError => new ModelError(`the tokenizer ${what}`)

function open(bytes: Uint8Array): Record<string, unknown> {
  let value: unknown
  try {
    value = decode(bytes)
  } catch (error) {
    throw bad(`is not dag-cbor: ${(error as Error).message}`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad('is not a dag-cbor map')
  return value as Record<string, unknown>
}

function bytesOf(map: Record<string, unknown>, name: string): Uint8Array {
  const value = map[name]
  if (!(value instanceof Uint8Array)) throw bad(`has no byte string ${name}`)
  return value
}

/** Cuts one UTF-8 text into tokens of the given byte sizes. Decoding once and slicing is 3x as fast as a decoder call per token, measured. */
function cutTokens(bytes: Uint8Array, sizes: Uint32Array): string[] {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw bad('has tokens that are not UTF-8')
  }
  const tokens = new Array<string>(sizes.length)
  let at = 0
  for (let id = 0; id < sizes.length; id++) {
    const start = at
    let left = sizes[id]!
    while (left > 0 && at < text.length) {
      const unit = text.charCodeAt(at)
      const surrogate = unit >= 0xd800 && unit < 0xdc00
      left -= unit < 0x80 ? 1 : unit < 0x800 ? 2 : surrogate ? 4 : 3
      at += surrogate ? 2 : 1
    }
    if (left !== 0) throw bad(`has a token ${id} whose size does not fit its text`)
    tokens[id] = text.slice(start, at)
  }
  if (at !== text.length) throw bad('has more text than its tokens take')
  return tokens
}

function utf8Length(text: string): number {
  let length = 0
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    // Each half of a surrogate pair counts 2.
    length += unit < 0x80 ? 1 : unit < 0x800 || (unit & 0xf800) === 0xd800 ? 2 : 3
  }
  return length
}

/** Little-endian integers of `width` bytes. */
function pack(values: Uint32Array, width: 2 | 4): Uint8Array {
  const bytes = new Uint8Array(values.length * width)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < values.length; i++) {
    if (width === 2) view.setUint16(i * 2, values[i]!, true)
    else view.setUint32(i * 4, values[i]!, true)
  }
  return bytes
}

function unpack(bytes: Uint8Array, width: 2 | 4, name: string): Uint32Array {
  if (bytes.length % width) throw bad(`has ${bytes.length} bytes of ${name}, expected a multiple of ${width}`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const values = new Uint32Array(bytes.length / width)
  for (let i = 0; i < values.length; i++) values[i] = width === 2 ? view.getUint16(i * 2, true) : view.getUint32(i * 4, true)
  return values
}
