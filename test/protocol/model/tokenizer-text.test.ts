// Text to ids and back, against golden vectors of the Rust and C++ tokenizers and against a plain reading of llama.cpp's SentencePiece.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bpeMetadata, bpeVectors, open, spmMetadata, spmVectors } from './tokenizer-vectors.ts'

const text = fc.string({
  unit: fc.oneof(
    fc.constantFrom(' ', '\n', '\r', '\t', 'a', 'B', '1', "'s", '<', '|', '>', '▁', '\u200d', '\ufeff', '\u0085'),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
  ),
  maxLength: 60,
})

describe('byte-level BPE', () => {
  test.each(Object.keys(bpeVectors.ids))('cuts and merges as the reference does under the rule %s', (pre) => {
    const tokenizer = open(bpeMetadata({ 'tokenizer.ggml.pre': pre }))
    bpeVectors.texts.forEach((text, i) => {
      expect({ text, ids: tokenizer.encode(text) }).toEqual({ text, ids: bpeVectors.ids[pre]![i] })
    })
  })

  test('the vectors tell every rule from every other', () => {
    const pres = Object.keys(bpeVectors.ids)
    const same = pres.flatMap((a, i) =>
      pres
        .slice(i + 1)
        .filter((b) => JSON.stringify(bpeVectors.ids[a]) === JSON.stringify(bpeVectors.ids[b]))
        .map((b) => [a, b]),
    )
    expect(same).toEqual([])
  })

  test.each(['smollm', 'qwen2', 'llama-bpe', 'default', 'tekken'])('gives back every text under the rule %s', (pre) => {
    const tokenizer = open(bpeMetadata({ 'tokenizer.ggml.pre': pre }))
    fc.assert(
      fc.property(text, (text) => tokenizer.decode(tokenizer.encode(text)) === text),
      { numRuns: 300 },
    )
  })

  test('reads a lone surrogate as U+FFFD', () => {
    const tokenizer = open(bpeMetadata())
    expect(tokenizer.encode('a\ud800b\udc00')).toEqual(tokenizer.encode('a\ufffdb\ufffd'))
    expect(tokenizer.encode('')).toEqual([])
  })

  // A word without an end is the slowest case: one queue holds all of it. Several megabytes a second otherwise.
  test.each([
    ['letters', 'a', 1_000_000],
    ['digits', '7', 1_000_000],
    ['words', 'The quick brown fox. ', 1_000_000],
    ['spaces', ' ', 300_000],
    ['line ends', '\n', 300_000],
    ['emoji', '👩‍👩‍👧‍👦', 100_000],
    ['Chinese', '今天天气', 100_000],
    ['half a control token', '<|im_', 300_000],
  ])('takes a very long run of %s in seconds', (_, unit, length) => {
    const long = unit.repeat(Math.ceil(length / unit.length))
    const tokenizer = open(bpeMetadata({ 'tokenizer.ggml.pre': 'llama-bpe' }))
    expect(tokenizer.decode(tokenizer.encode(long)) === long).toBe(true)
  })
})

describe('SentencePiece', () => {
  test.each(spmVectors.cases.map((one) => one.name))('merges and falls back to bytes as sentencepiece does: %s', (name) => {
    const tokenizer = open(spmMetadata(name))
    const expected = spmVectors.cases.find((one) => one.name === name)!.ids
    let compared = 0
    spmVectors.texts.forEach((text, i) => {
      if (expected[i] === null) return
      compared++
      expect({ text, ids: tokenizer.encode(text) }).toEqual({ text, ids: expected[i] })
    })
    expect(compared).toBeGreaterThan(60)
  })

  test('gives back every text, ▁ read as a space', () => {
    for (const { name } of spmVectors.cases) {
      const tokenizer = open(spmMetadata(name))
      // A space before each user-defined token is part of this kind's encoding when it adds prefixes; none of these vocabularies has both.
      fc.assert(
        fc.property(text, (text) => tokenizer.decode(tokenizer.encode(text)) === text.replaceAll('▁', ' ')),
        { numRuns: 300 },
      )
    }
  })

  test('merges by score alone, leftmost first among equals, in any vocabulary', () => {
    const letters = ['▁', 'a', 'b', 'c']
    const pieces = fc.uniqueArray(fc.string({ unit: fc.constantFrom(...letters), minLength: 2, maxLength: 4 }), { maxLength: 30 })
    fc.assert(
      fc.property(
        pieces,
        fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 40, maxLength: 40 }),
        fc.string({ unit: fc.constantFrom(' ', 'a', 'b', 'c', 'd'), maxLength: 40 }),
        (pieces, ranks, text) => {
          const tokens = ['<unk>', '<s>', '</s>', ...letters, ...pieces]
          const scores = tokens.map((_, id) => -ranks[id]!)
          const tokenizer = open(
            new Map<string, unknown>([
              ['tokenizer.ggml.model', 'llama'],
              ['tokenizer.ggml.tokens', tokens],
              ['tokenizer.ggml.scores', scores],
              ['tokenizer.ggml.token_type', tokens.map((_, id) => [2, 3, 3][id] ?? 1)],
              ['tokenizer.ggml.add_space_prefix', false],
            ]),
          )
          expect(tokenizer.encode(text)).toEqual(naiveSentencePiece(text, tokens, scores))
        },
      ),
      { numRuns: 500 },
    )
  })

  test('never merges into a control, unknown or byte token that ordinary pieces could spell', () => {
    const tokens = ['<unk>', '<s>', '</s>', '<0x41>', '<', '/', 's', '>', '0', 'x', '4', '1', '</', 's>', '<0', 'x4', '1>', 'x41>', '<s', 'unk', '<unk', '▁']
    const tokenizer = open(
      new Map<string, unknown>([
        ['tokenizer.ggml.model', 'llama'],
        ['tokenizer.ggml.tokens', tokens],
        ['tokenizer.ggml.scores', tokens.map(() => 0)],
        ['tokenizer.ggml.token_type', tokens.map((_, id) => [2, 3, 3, 6][id] ?? 1)],
        ['tokenizer.ggml.add_space_prefix', false],
      ]),
    )
    expect(tokenizer.encode('</s><s><0x41>').map((id) => tokens[id])).toEqual(['</', 's>', '<s', '>', '<0', 'x41>'])
    expect(tokenizer.encode('A').map((id) => tokens[id])).toEqual(['<0x41>'])
    // One unknown token for a run of letters without bytes, as in sentencepiece.
    expect(tokenizer.encode('BC<s').map((id) => tokens[id])).toEqual(['<unk>', '<s'])
  })

  test.each([
    ['words', 'The quick brown fox. ', 1_000_000],
    ['one word', 'ab', 300_000],
    ['Chinese', '今天天气', 100_000],
    ['spaces', ' ', 300_000],
  ])('takes a very long run of %s in seconds', (_, unit, length) => {
    const long = unit.repeat(Math.ceil(length / unit.length))
    for (const { name } of spmVectors.cases) {
      const tokenizer = open(spmMetadata(name))
      expect(tokenizer.decode(tokenizer.encode(long)) === long).toBe(true)
    }
  })
})

/** llm_tokenizer_spm without its queue: of all neighbours that make a token, the best score, leftmost first, until there is none. */
function naiveSentencePiece(text: string, tokens: string[], scores: number[]): number[] {
  const ids = new Map(tokens.slice(3).map((token, i) => [token, i + 3]))
  const symbols = [...text.replaceAll(' ', '▁')]
  for (;;) {
    let best = -1
    for (let i = 0; i + 1 < symbols.length; i++) {
      const id = ids.get(symbols[i]! + symbols[i + 1]!)
      if (id !== undefined && (best < 0 || scores[id]! > scores[ids.get(symbols[best]! + symbols[best + 1]!)!]!)) best = i
    }
    if (best < 0) break
    symbols.splice(best, 2, symbols[best]! + symbols[best + 1]!)
  }
  const out: number[] = []
  for (const symbol of symbols) {
    const id = ids.get(symbol) ?? 0
    if (id !== 0 || out.at(-1) !== 0) out.push(id)
  }
  return out
}
