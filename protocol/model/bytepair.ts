// Text to token ids, by @huggingface/tokenizers: its word splitting, its merge queue, its byte fallback.
// What it gets from us is the order of merges and a vocabulary without control tokens, so that no text can ever become one.
import { BPE, Tokenizer as TokenizerPipeline } from '@huggingface/tokenizers'
import { ModelError } from './manifest.ts'
import { wordRule } from './pretokenise.ts'
import { type TokenizerData, TokenType } from './vocabulary.ts'

/** Turns text that holds no special tokens into ids. */
export type TextEncoding = (text: string) => number[]

/** Rank of the pair's merge, lower first; undefined when the two do not merge. */
type PairRank = (left: string, right: string) => number | undefined

/**
 * Builds the encoding of ordinary text. `withheld` are user-defined tokens that text must not become either (chat.ts says why).
 * Throws ModelError when the vocabulary is inconsistent.
 */
export function textEncoding(data: TokenizerData, withheld: ReadonlySet<number>): TextEncoding {
  const { tokens, types, kind } = data
  const ids = new Map<string, number>()
  const added: { id: number; content: string; special: boolean; normalized: boolean }[] = []
  for (let id = 0; id < tokens.length; id++) {
    const type = types[id]
    if (type === TokenType.normal || (type === TokenType.byte && kind === 'spm')) ids.set(tokens[id]!, id)
    // SentencePiece files spell the space in a user-defined token either way; the text it must match has a plain one.
    else if (type === TokenType.userDefined && !withheld.has(id)) {
      added.push({ id, content: kind === 'spm' ? tokens[id]!.replaceAll('▁', ' ') : tokens[id]!, special: false, normalized: false })
    }
  }
  const unknown = kind === 'spm' && data.unknown !== null ? tokens[data.unknown]! : null
  const model = new BPE({
    type: 'BPE',
    vocab: {},
    merges: [],
    byte_fallback: kind === 'spm',
    fuse_unk: kind === 'spm',
    unk_token: unknown ?? undefined,
  } as never)
  model.tokens_to_ids = ids
  model.unk_token_id = unknown === null ? undefined : data.unknown!
  if (kind === 'bpe') model.ignore_merges = wordRule(data.pre).wholeWords
  rankPairs(model, kind === 'bpe' ? ranksOfMerges(data, ids) : ranksOfScores(data))

  const { normalizer, pre_tokenizer } = kind === 'bpe' ? byteLevelPipeline(data.pre) : sentencePipeline(data)
  const pipeline = new TokenizerPipeline(
    { normalizer, pre_tokenizer, model: { type: 'BPE', vocab: {}, merges: [] }, post_processor: null, decoder: null, added_tokens: added },
    {},
  )
  pipeline.model = model
  return (text) => {
    if (text === '') return []
    try {
      // A lone surrogate has no UTF-8; it reads as U+FFFD, as it would after a round through bytes.
      return pipeline.encode(text.toWellFormed(), { add_special_tokens: false }).ids
    } catch (error) {
      throw new ModelError(`a text of ${text.length} characters cannot be tokenised: ${(error as Error).message}`)
    }
  }
}

function byteLevelPipeline(pre: string): { normalizer: null; pre_tokenizer: object } {
  // The library's own ByteLevel pattern and Digits read \s and \d as ECMAScript does; Split reads them as Rust does. Hence use_regex: false.
  const splits = wordRule(pre).patterns.map((pattern) => ({ type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated' }))
  return { normalizer: null, pre_tokenizer: { type: 'Sequence', pretokenizers: [...splits, { type: 'ByteLevel', add_prefix_space: false, use_regex: false }] } }
}

function sentencePipeline(data: TokenizerData): { normalizer: object; pre_tokenizer: object | null } {
  const escape = { type: 'Replace', pattern: { String: ' ' }, content: '▁' }
  const normalizers = data.addSpacePrefix ? [{ type: 'Prepend', prepend: '▁' }, escape] : [escape]
  // When no token has ▁ after anything else, no merge reaches over the start of a word: cutting there changes nothing and lets words be cached.
  const cuttable = !data.tokens.some((token, id) => data.types[id] === TokenType.normal && /[^▁]▁/u.test(token))
  return {
    normalizer: { type: 'Sequence', normalizers },
    pre_tokenizer: cuttable ? { type: 'Split', pattern: { Regex: '▁+[^▁]*' }, behavior: 'Isolated' } : null,
  }
}

/** GPT-2: a pair's rank is its line in the list of merges, the first of two equal lines. A merge that makes no ordinary token is left out, or its letters would be lost. */
function ranksOfMerges({ tokens, merges }: TokenizerData, ids: ReadonlyMap<string, number>): PairRank {
  const ranks = new Map<string, Map<string, number>>()
  for (let i = 0; i < merges.length; i += 2) {
    const left = tokens[merges[i]!]!
    const right = tokens[merges[i + 1]!]!
    const ofLeft = ranks.get(left)
    if (!ofLeft) ranks.set(left, new Map([[right, i]]))
    else if (!ofLeft.has(right)) ofLeft.set(right, i)
  }
  return (left, right) => {
    const rank = ranks.get(left)?.get(right)
    return rank !== undefined && ids.has(left + right) ? rank : undefined
  }
}

/**
 * SentencePiece: a pair merges when the two together are an ordinary token, the best score first, the leftmost of equals first (the queue's own tie-break).
 * This is llama.cpp's llm_tokenizer_spm; a list of merges derived from the scores would break ties between pairs that make the same token another way.
 */
function ranksOfScores({ tokens, types, scores }: TokenizerData): PairRank {
  const values = new Float32Array(scores.buffer, scores.byteOffset, scores.length)
  const normal = tokens.flatMap((_, id) => (types[id] === TokenType.normal ? [id] : []))
  const sorted = [...new Set(normal.map((id) => values[id]!))].sort((a, b) => b - a)
  const rankOfScore = new Map(sorted.map((score, rank) => [score, rank]))
  const ranks = new Map(normal.map((id) => [tokens[id]!, rankOfScore.get(values[id]!)!]))
  const lengthMax = normal.reduce((max, id) => Math.max(max, tokens[id]!.length), 0)
  return (left, right) => (left.length + right.length > lengthMax ? undefined : ranks.get(left + right))
}

interface PairNode {
  token: string
  next: PairNode
  bias: number
  score: number
}

/**
 * Replaces the one method by which the library's BPE asks for the rank of a pair. Its own is a map from JSON texts of pairs, which takes 3x as long to
 * fill (51 against 16 ms for 48,900 merges, measured) and cannot give two pairs the same rank. The library's version is pinned; golden vectors stand guard.
 */
function rankPairs(model: BPE, rank: PairRank): void {
  Object.assign(model, {
    add_node(queue: { push(node: PairNode): unknown }, node: PairNode): void {
      const found = rank(node.token, node.next.token)
      if (found === undefined) return
      node.score = found + node.bias
      queue.push(node)
    },
  })
}
