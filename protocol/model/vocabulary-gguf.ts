// Tokenizer data from a GGUF's metadata. Everything that llama.cpp decides while it loads a file (defaults of the two kinds, tokens that look like
// control tokens but are not marked so) is decided here, so that the package means one thing whoever reads it later.
import { ModelError } from './manifest.ts'
import { wordRule } from './pretokenise.ts'
import { checkTokenizer, mergesMax, type TokenizerData, TokenType, vocabMax } from './vocabulary.ts'

/** Names under which models end a turn, a message or a text. Such a token ends an answer, and is a control token whatever its file calls it. */
export const stopNames = [
  '<|im_end|>',
  '<|eot_id|>',
  '<|eom_id|>',
  '<|end|>',
  '<|end_of_text|>',
  '<|endoftext|>',
  '<end_of_turn>',
  '</s>',
  '<EOT>',
  '<end_of_utterance>',
  '<｜end▁of▁sentence｜>',
]

/** llama.cpp's rule and Hugging Face's habit: what is spelled like this steers the model, and files that call it ordinary text are mistaken. */
const controlLooking = /^<(\|[^\s|<>]+\||｜[^\s｜<>]+｜)>$/u

/**
 * Reads `tokenizer.*` keys. Arrays may be plain or typed; numbers may be bigint.
 * Throws ModelError when a key is missing, of the wrong type, out of its limits, or names a kind of tokenizer that is not supported.
 */
export function tokenizerFromGguf(metadata: ReadonlyMap<string, unknown>): TokenizerData {
  const read = new Reader(metadata)
  const model = read.text('tokenizer.ggml.model')
  if (model === null) throw new ModelError('the file has no tokenizer: tokenizer.ggml.model is missing')
  if (model !== 'gpt2' && model !== 'llama') {
    throw new ModelError(
      `the tokenizer model ${JSON.stringify(model.slice(0, 64))} is not supported; supported are gpt2 (byte-level BPE) and llama (SentencePiece)`,
    )
  }
  const kind = model === 'gpt2' ? 'bpe' : 'spm'
  const pre = kind === 'bpe' ? (read.text('tokenizer.ggml.pre') ?? 'default') : ''
  const rule = kind === 'bpe' ? wordRule(pre) : null

  const tokens = read.texts('tokenizer.ggml.tokens', vocabMax)
  if (!tokens || tokens.length === 0) throw new ModelError('the tokenizer has no tokens: tokenizer.ggml.tokens is missing or empty')
  const ids = new Map<string, number>()
  tokens.forEach((token, id) => {
    const earlier = ids.get(token)
    if (earlier !== undefined && token !== '')
      throw new ModelError(`the tokenizer has the token ${JSON.stringify(token.slice(0, 64))} twice, as ${earlier} and ${id}`)
    ids.set(token, id)
  })

  const tokenId = (name: string, otherwise: number | null): number | null => {
    const id = read.integer(`tokenizer.ggml.${name}_token_id`)
    if (id === null) return otherwise !== null && otherwise < tokens.length ? otherwise : null
    if (id >= 0 && id < tokens.length) return id
    throw new ModelError(`tokenizer.ggml.${name}_token_id is ${id}, but the tokenizer has only ${tokens.length} tokens`)
  }
  const spm = kind === 'spm'
  const bos = tokenId('bos', spm ? 1 : null)
  const eos = tokenId('eos', spm ? 2 : null)
  const eot = tokenId('eot', null)
  const eom = tokenId('eom', null)
  const template = read.text('tokenizer.chat_template')
  const data: TokenizerData = {
    kind,
    pre,
    tokens,
    types: tokenTypes(read, tokens, [bos, eos, eot, eom]),
    merges: spm ? new Uint32Array() : mergePairs(read, ids),
    scores: spm ? tokenScores(read, tokens.length) : new Uint32Array(),
    bos,
    eos,
    eot,
    eom,
    unknown: tokenId('unknown', spm ? 0 : null),
    padding: tokenId('padding', null),
    addBos: (read.flag('tokenizer.ggml.add_bos_token') ?? (spm || rule!.addBos)) && bos !== null,
    addSpacePrefix: spm && (read.flag('tokenizer.ggml.add_space_prefix') ?? true),
    template: template === '' ? null : template,
  }
  checkTokenizer(data)
  return data
}

function tokenTypes(read: Reader, tokens: string[], named: (number | null)[]): Uint8Array {
  const given = read.numbers('tokenizer.ggml.token_type', tokens.length)
  const types = Uint8Array.from(tokens, (_, id) => given?.[id] ?? TokenType.normal)
  for (let id = 0; id < tokens.length; id++) {
    const token = tokens[id]!
    // llama.cpp's "undefined" (0), and a token without text, can neither be read nor written.
    if (types[id] === 0 || token === '') types[id] = TokenType.unused
    if (types[id] === TokenType.control || types[id] === TokenType.byte) continue
    const marked = named.includes(id) && /^[<[].*[>\]]$/u.test(token)
    if (marked || stopNames.includes(token) || controlLooking.test(token)) types[id] = TokenType.control
  }
  return types
}

/** "left right" strings to pairs of ids. A space stands between the two, the left one being at least one letter long (a byte-level token holds no space). */
function mergePairs(read: Reader, ids: Map<string, number>): Uint32Array {
  const merges = read.texts('tokenizer.ggml.merges', mergesMax)
  if (!merges) throw new ModelError('the tokenizer has no merges: tokenizer.ggml.merges is missing')
  const pairs = new Uint32Array(merges.length * 2)
  merges.forEach((merge, rank) => {
    const space = merge.indexOf(' ', 1)
    const left = ids.get(merge.slice(0, space))
    const right = ids.get(merge.slice(space + 1))
    if (space < 0 || left === undefined || right === undefined) {
      throw new ModelError(`merge ${rank} of the tokenizer is ${JSON.stringify(merge.slice(0, 64))}, expected two of its tokens with a space between them`)
    }
    pairs[2 * rank] = left
    pairs[2 * rank + 1] = right
  })
  return pairs
}

function tokenScores(read: Reader, count: number): Uint32Array {
  const scores = read.numbers('tokenizer.ggml.scores', count)
  if (!scores) throw new ModelError('the tokenizer has no scores: tokenizer.ggml.scores is missing, and SentencePiece needs them')
  return new Uint32Array(Float32Array.from(scores).buffer)
}

/** Typed look-ups that name the key when something else is there. */
class Reader {
  private readonly metadata: ReadonlyMap<string, unknown>
  constructor(metadata: ReadonlyMap<string, unknown>) {
    this.metadata = metadata
  }

  text(key: string): string | null {
    const value = this.metadata.get(key)
    if (value === undefined || typeof value === 'string') return value ?? null
    throw wrong(key, 'text')
  }

  flag(key: string): boolean | null {
    const value = this.metadata.get(key)
    if (value === undefined || typeof value === 'boolean') return value ?? null
    throw wrong(key, 'true or false')
  }

  integer(key: string): number | null {
    const value = this.metadata.get(key)
    if (value === undefined) return null
    const number = typeof value === 'bigint' ? Number(value) : value
    if (typeof number === 'number' && Number.isSafeInteger(number)) return number
    throw wrong(key, 'an integer')
  }

  texts(key: string, max: number): string[] | null {
    const value = this.metadata.get(key)
    if (value === undefined) return null
    if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) throw wrong(key, 'a list of texts')
    if (value.length > max) throw new ModelError(`${key} has ${value.length} entries, at most ${max} are allowed`)
    return value
  }

  numbers(key: string, count: number): ArrayLike<number> | null {
    const value = this.metadata.get(key)
    if (value === undefined) return null
    const typed =
      value instanceof Int32Array || value instanceof Float32Array || value instanceof Uint32Array || value instanceof Uint8Array || value instanceof Int8Array
    if (!typed && !(Array.isArray(value) && value.every((item) => typeof item === 'number'))) throw wrong(key, 'a list of numbers')
    const numbers = value as ArrayLike<number>
    if (numbers.length < count) throw new ModelError(`${key} has ${numbers.length} entries for ${count} tokens`)
    return numbers
  }
}

const wrong = (key: string, expected: string): ModelError => new ModelError(`${key} in the file's metadata is not ${expected}`)
