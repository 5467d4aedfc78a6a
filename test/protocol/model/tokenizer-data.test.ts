// The tokenizer as data: the shard's bytes, what a GGUF may say, and one clear sentence for everything it may not. And ids to text, token by token.
import { decode, encode } from '@ipld/dag-cbor'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeTokenizer, openTokenizer, tokenizerFromGguf } from '../../../protocol/model/tokenizer.ts'
import { decodeTokenizer, tokenizerBytesMax } from '../../../protocol/model/vocabulary.ts'
import { bpeMetadata, bpeVectors, chatVectors, open, spmMetadata, spmVectors } from './tokenizer-vectors.ts'

const bytes = encodeTokenizer(tokenizerFromGguf(bpeMetadata({ 'tokenizer.chat_template': 'x' })))
const refused = (sentence: string) => expect.objectContaining({ name: 'ModelError', message: expect.stringContaining(sentence) })

describe('the tokenizer shard', () => {
  test('holds all of the data and is the same bytes each time', () => {
    for (const metadata of [bpeMetadata(), bpeMetadata({ 'tokenizer.chat_template': '{{ 1 }}' }), ...spmVectors.cases.map(({ name }) => spmMetadata(name))]) {
      const data = tokenizerFromGguf(metadata)
      const shard = encodeTokenizer(data)
      expect(decodeTokenizer(shard)).toEqual(data)
      expect(encodeTokenizer(decodeTokenizer(shard))).toEqual(shard)
    }
  })

  test('is the same for typed and plain arrays, numbers and bigints', () => {
    const { tokens } = bpeVectors
    const plain = bpeMetadata({ 'tokenizer.ggml.bos_token_id': BigInt(tokens.length) })
    plain.set('tokenizer.ggml.token_type', [...(plain.get('tokenizer.ggml.token_type') as Int32Array)])
    expect(encodeTokenizer(tokenizerFromGguf(plain))).toEqual(encodeTokenizer(tokenizerFromGguf(bpeMetadata())))
  })

  const broken: [string, Record<string, unknown>, string][] = [
    ['another version', { version: 2 }, 'the tokenizer has version 2, expected 1'],
    ['an unknown field', { extra: 1 }, 'the tokenizer has an unknown field "extra"'],
    ['another kind', { kind: 'wordpiece' }, 'the tokenizer is of kind wordpiece, expected bpe or spm'],
    ['text that is not bytes', { text: 'abc' }, 'the tokenizer has no byte string text'],
    [
      'text that is not UTF-8',
      { text: Uint8Array.of(255), sizes: Uint8Array.of(1, 0), types: Uint8Array.of(1), merges: new Uint8Array() },
      'the tokenizer has tokens that are not UTF-8',
    ],
    [
      'a token cut inside a letter',
      { text: Uint8Array.of(0xc3, 0xa9), sizes: Uint8Array.of(1, 0, 1, 0), types: Uint8Array.of(1, 1) },
      'the tokenizer has a token 0 whose size does not fit its text',
    ],
    ['more sizes than text', { text: new Uint8Array(), sizes: Uint8Array.of(1, 0) }, 'the tokenizer has a token 0 whose size does not fit its text'],
    ['more text than sizes', { text: Uint8Array.of(97, 98), sizes: Uint8Array.of(1, 0) }, 'the tokenizer has more text than its tokens take'],
    ['half a size', { sizes: Uint8Array.of(1) }, 'the tokenizer has 1 bytes of sizes, expected a multiple of 2'],
    ['no tokens', { text: new Uint8Array(), sizes: new Uint8Array(), types: new Uint8Array() }, 'the tokenizer has 0 tokens, between 1 and 262400 are allowed'],
    ['too many tokens', { text: new Uint8Array(), sizes: new Uint8Array(262401 * 2) }, 'the tokenizer has 262401 tokens, at most 262400 are allowed'],
    [
      'a token of 1,025 bytes',
      { text: new Uint8Array(1025).fill(97), sizes: Uint8Array.of(1, 4), types: Uint8Array.of(1), merges: new Uint8Array(), bos: null, eos: null },
      'the tokenizer has a token 0 of 1025 bytes, at most 1024 are allowed',
    ],
    ['too few types', { types: Uint8Array.of(1) }, 'token types for'],
    ['a type of its own', { types: new Uint8Array(decodeTokenizer(bytes).types.length).fill(7) }, 'the tokenizer gives token 0 the type 7, expected 1 to 6'],
    ['a merge of no token', { merges: Uint8Array.of(0, 0, 0, 0, 255, 255, 255, 127) }, 'the tokenizer names token 2147483647 in merge 0'],
    ['half a merge', { merges: Uint8Array.of(0, 0, 0, 0) }, 'the tokenizer has 0.5 merges'],
    ['scores on a BPE', { scores: Uint8Array.of(0, 0, 0, 0) }, 'scores for'],
    ['a BOS of no token', { bos: 1e9 }, 'the tokenizer names 1000000000 as its bos token'],
    ['a BOS that is text', { bos: 'x' }, 'the tokenizer names x as its bos token'],
    ['a BOS that is missing', { bos: undefined }, 'the tokenizer names undefined as its bos token'],
    ['BOS wanted and not named', { addBos: true, bos: null }, 'the tokenizer asks for a BOS token before each prompt, but names none'],
    ['a flag that is a number', { addBos: 1 }, 'the tokenizer has addBos or addSpacePrefix that is neither true nor false'],
    ['a template of 65,537 bytes', { template: 'x'.repeat(65537) }, 'the tokenizer has a chat template of 65537 bytes, at most 65536 are allowed'],
    ['a template that is a number', { template: 5 }, 'the tokenizer has a chat template that is not text'],
    ['an unknown pre-tokenizer', { pre: 'wolf' }, 'the pre-tokenizer "wolf" is not supported; supported are default, gpt-2, '],
  ]
  test.each(broken)('with %s is refused', (_, changes, sentence) => {
    const map = Object.fromEntries(Object.entries({ ...(decode(bytes) as object), ...changes }).filter(([, value]) => value !== undefined))
    expect(() => openTokenizer(encode(map))).toThrow(refused(sentence))
  })

  test('that is no dag-cbor, not canonical or absurdly long is refused', () => {
    expect(() => openTokenizer(new Uint8Array())).toThrow(refused('the tokenizer is not dag-cbor'))
    expect(() => openTokenizer(encode([1]))).toThrow(refused('the tokenizer is not a dag-cbor map'))
    expect(() => openTokenizer(bytes.subarray(0, 1000))).toThrow(refused('the tokenizer is not dag-cbor'))
    expect(() => openTokenizer(new Uint8Array(tokenizerBytesMax + 1))).toThrow(refused('the tokenizer is '))
    // The same map with its first two entries exchanged: valid CBOR, another order.
    const keys = Object.keys(decode(bytes) as object)
    expect(keys[0]).toBe('bos')
    const swapped = new Uint8Array(bytes)
    const first = bytes.subarray(1, 8) // 63 "bos" 19 xxxx
    const second = bytes.subarray(8, 15) // 63 "eos" 19 xxxx
    swapped.set(second, 1)
    swapped.set(first, 8)
    expect(() => openTokenizer(swapped)).toThrow(expect.objectContaining({ name: 'ModelError' }))
  })

  test('opens or is refused with a ModelError, whatever its bytes', () => {
    const small = encodeTokenizer(
      tokenizerFromGguf(
        new Map<string, unknown>([
          ['tokenizer.ggml.model', 'gpt2'],
          ['tokenizer.ggml.tokens', ['a', 'b', 'ab']],
          ['tokenizer.ggml.merges', ['a b']],
        ]),
      ),
    )
    let opened = 0
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(small.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }), fc.boolean(), (edits, cut) => {
        const mutated = new Uint8Array(small).slice(0, cut ? edits[0]![0] : undefined)
        for (const [at, byte] of edits) if (at < mutated.length) mutated[at] = byte
        try {
          openTokenizer(mutated).encode('abba <|x|>')
          opened++
        } catch (error) {
          expect((error as Error).name).toBe('ModelError')
        }
      }),
      { numRuns: 20_000 },
    )
    expect(opened).toBeGreaterThan(0)
  })
})

describe('the metadata of a GGUF', () => {
  const cases: [string, Map<string, unknown>, string][] = [
    ['without a tokenizer', new Map(), 'the file has no tokenizer: tokenizer.ggml.model is missing'],
    [
      'of another kind',
      bpeMetadata({ 'tokenizer.ggml.model': 'bert' }),
      'the tokenizer model "bert" is not supported; supported are gpt2 (byte-level BPE) and llama (SentencePiece)',
    ],
    ['with an unknown rule', bpeMetadata({ 'tokenizer.ggml.pre': 'wolf' }), 'the pre-tokenizer "wolf" is not supported; supported are default'],
    ['without tokens', bpeMetadata({ 'tokenizer.ggml.tokens': undefined }), 'the tokenizer has no tokens: tokenizer.ggml.tokens is missing or empty'],
    ['with tokens that are numbers', bpeMetadata({ 'tokenizer.ggml.tokens': [1, 2] }), "tokenizer.ggml.tokens in the file's metadata is not a list of texts"],
    ['with a token twice', bpeMetadata({ 'tokenizer.ggml.tokens': ['a', 'b', 'a'] }), 'the tokenizer has the token "a" twice, as 0 and 2'],
    [
      'with too many tokens',
      bpeMetadata({ 'tokenizer.ggml.tokens': Array.from({ length: 262401 }, (_, i) => `t${i}`) }),
      'tokenizer.ggml.tokens has 262401 entries, at most 262400 are allowed',
    ],
    [
      'with a token of 2 KiB',
      bpeMetadata({
        'tokenizer.ggml.tokens': ['a', 'b'.repeat(2048)],
        'tokenizer.ggml.merges': [],
        'tokenizer.ggml.bos_token_id': 0,
        'tokenizer.ggml.eos_token_id': 0,
      }),
      'the tokenizer has a token 1 of 2048 bytes, at most 1024 are allowed',
    ],
    ['with too few types', bpeMetadata({ 'tokenizer.ggml.token_type': [1] }), 'tokenizer.ggml.token_type has 1 entries for'],
    ['without merges', bpeMetadata({ 'tokenizer.ggml.merges': undefined }), 'the tokenizer has no merges: tokenizer.ggml.merges is missing'],
    [
      'with a merge of one part',
      bpeMetadata({ 'tokenizer.ggml.merges': ['ab'] }),
      'merge 0 of the tokenizer is "ab", expected two of its tokens with a space between them',
    ],
    ['with a merge of no token', bpeMetadata({ 'tokenizer.ggml.merges': ['a qqqqqq'] }), 'merge 0 of the tokenizer is "a qqqqqq"'],
    ['with an id of no token', bpeMetadata({ 'tokenizer.ggml.eos_token_id': 99999 }), 'tokenizer.ggml.eos_token_id is 99999, but the tokenizer has only'],
    ['with an id that is text', bpeMetadata({ 'tokenizer.ggml.eos_token_id': '2' }), "tokenizer.ggml.eos_token_id in the file's metadata is not an integer"],
    [
      'with a flag that is a number',
      bpeMetadata({ 'tokenizer.ggml.add_bos_token': 1 }),
      "tokenizer.ggml.add_bos_token in the file's metadata is not true or false",
    ],
    [
      'with an endless template',
      bpeMetadata({ 'tokenizer.chat_template': 'é'.repeat(40000) }),
      'the tokenizer has a chat template of 80000 bytes, at most 65536 are allowed',
    ],
    ['without scores', spmMetadata('llama', { 'tokenizer.ggml.scores': undefined }), 'the tokenizer has no scores: tokenizer.ggml.scores is missing'],
    ['with too few scores', spmMetadata('llama', { 'tokenizer.ggml.scores': new Float32Array(3) }), 'tokenizer.ggml.scores has 3 entries for 700 tokens'],
    [
      'with a score that is no number',
      spmMetadata('llama', { 'tokenizer.ggml.scores': new Float32Array(700).fill(Number.NaN) }),
      'the tokenizer gives token 0 a score that is not a finite number',
    ],
    [
      'with a byte spelled oddly',
      spmMetadata('llama', { 'tokenizer.ggml.token_type': spmVectors.cases[0]!.types.map((type, id) => (id === 500 ? 6 : type)) }),
      'the tokenizer calls token 500 a byte, but spells it',
    ],
  ]
  test.each(cases)('%s is refused', (_, metadata, sentence) => {
    expect(() => tokenizerFromGguf(metadata)).toThrow(refused(sentence))
  })

  test('that calls a control token ordinary is corrected', () => {
    const { tokens } = bpeVectors
    const { control } = chatVectors
    const careless = tokenizerFromGguf(bpeMetadata({ 'tokenizer.ggml.token_type': undefined }))
    control.forEach((name, i) => {
      // <start_of_turn> alone is neither spelled like one nor ends anything.
      expect([name, careless.types[tokens.length + i]]).toEqual([name, name === '<start_of_turn>' ? 1 : 3])
    })
  })

  test('names what ends an answer', () => {
    const { tokens } = bpeVectors
    const id = (name: string) => tokens.length + chatVectors.control.indexOf(name)
    expect(open(bpeMetadata()).stopIds).toEqual([id('<|end_of_text|>'), id('<|im_end|>'), id('<|eot_id|>'), id('<end_of_turn>')])
    expect(open(bpeMetadata({ 'tokenizer.ggml.eot_token_id': id('<|user|>') })).stopIds).toContain(id('<|user|>'))
    expect(open(spmMetadata('llama')).stopIds).toEqual([2])
  })

  test('has defaults that differ by kind', () => {
    expect(tokenizerFromGguf(spmMetadata('llama', { 'tokenizer.ggml.add_space_prefix': undefined }))).toMatchObject({
      bos: 1,
      eos: 2,
      unknown: 0,
      addBos: true,
      addSpacePrefix: true,
    })
    expect(tokenizerFromGguf(bpeMetadata({ 'tokenizer.ggml.pre': 'llama-bpe', 'tokenizer.ggml.add_bos_token': undefined }))).toMatchObject({
      addBos: true,
      addSpacePrefix: false,
    })
    expect(tokenizerFromGguf(bpeMetadata({ 'tokenizer.ggml.pre': undefined }))).toMatchObject({ pre: 'default', addBos: false, unknown: null })
  })
})

describe('decoding', () => {
  const tokenizers = () => [open(bpeMetadata()), ...spmVectors.cases.map(({ name }) => open(spmMetadata(name)))]

  test('token by token gives the same text, and no letter before its last byte', () => {
    for (const tokenizer of tokenizers()) {
      for (const text of ['👩‍👩‍👧‍👦 é 你好 \u{10ffff}', ' two  spaces', ...bpeVectors.texts.slice(0, 60)]) {
        const decoder = tokenizer.decoder()
        let shown = ''
        for (const id of tokenizer.encode(text)) {
          shown += decoder.push(id)
          expect(text.startsWith(shown)).toBe(true)
        }
        expect(shown + decoder.end()).toBe(text)
      }
    }
  })

  test('drops a letter that was cut off and keeps replacement characters that were meant', () => {
    const tokenizer = open(bpeMetadata())
    const ids = tokenizer.encode('ok 𝔘')
    const cut = ids.slice(0, -1)
    expect(tokenizer.decode(ids)).toBe('ok 𝔘')
    expect(tokenizer.decode(cut)).toBe('ok ')
    expect(tokenizer.decode(tokenizer.encode('\ufffd'))).toBe('\ufffd')
  })

  test('hides control tokens and shows user-defined ones', () => {
    const tokenizer = open(bpeMetadata())
    const special = (name: string) => bpeVectors.tokens.length + [...chatVectors.control, ...chatVectors.markers].indexOf(name)
    expect(tokenizer.decode([special('<|im_start|>'), ...tokenizer.encode('hi'), special('<think>'), special('<|im_end|>')])).toBe('hi<think>')
    expect(open(spmMetadata('llama')).decode([1, ...open(spmMetadata('llama')).encode('hi'), 0, 2])).toBe('hi')
  })

  test('refuses an id that is no token', () => {
    const tokenizer = open(bpeMetadata())
    for (const id of [-1, 1e9, 0.5, Number.NaN])
      expect(() => tokenizer.decode([id])).toThrow(refused(`token ${id} does not exist, the tokenizer has ${tokenizer.vocab} tokens`))
  })
})
