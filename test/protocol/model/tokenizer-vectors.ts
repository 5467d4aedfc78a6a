// Opening of the golden vectors in test/vectors/tokenizer, and tokenizers made from their small vocabularies by the same path a GGUF takes.
import { readFileSync } from 'node:fs'
import { encodeTokenizer, type Message, openTokenizer, type Tokenizer, tokenizerFromGguf } from '../../../protocol/model/tokenizer.ts'

const read = <T>(name: string): T => JSON.parse(readFileSync(new URL(`../../vectors/tokenizer/${name}.json`, import.meta.url), 'utf8')) as T

export interface BpeVectors {
  tokens: string[]
  merges: string[]
  texts: string[]
  ids: Record<string, number[][]>
}

export interface SpmVectors {
  texts: string[]
  cases: { name: string; addSpacePrefix: boolean; tokens: string[]; scores: number[]; types: number[]; ids: (number[] | null)[] }[]
}

export interface ChatVectors {
  control: string[]
  markers: string[]
  styles: Record<string, string>
  chats: Message[][]
  cases: { style: string; chat: number; text: string; ids: number[] }[]
}

export interface RealVectors {
  texts: string[]
  ids: number[][]
  chats: Message[][]
  chatIds: number[][]
  prose: string
  proseIds: number[]
}

export const bpeVectors = read<BpeVectors>('bpe')
export const spmVectors = read<SpmVectors>('spm')
export const chatVectors = read<ChatVectors>('chat')
export const realVectors = read<RealVectors>('smollm2')

export const control = 3
export const userDefined = 4

/** Metadata of the small byte-level vocabulary, with the chat vectors' control tokens and markers behind it. */
export function bpeMetadata(changes: Record<string, unknown> = {}): Map<string, unknown> {
  const { tokens, merges } = bpeVectors
  const { control: controls, markers } = chatVectors
  return new Map<string, unknown>(
    Object.entries({
      'tokenizer.ggml.model': 'gpt2',
      'tokenizer.ggml.pre': 'smollm',
      'tokenizer.ggml.tokens': [...tokens, ...controls, ...markers],
      'tokenizer.ggml.token_type': Int32Array.from([...tokens.map(() => 1), ...controls.map(() => control), ...markers.map(() => userDefined)]),
      'tokenizer.ggml.merges': merges,
      'tokenizer.ggml.bos_token_id': tokens.length,
      'tokenizer.ggml.eos_token_id': tokens.length + 1,
      'tokenizer.ggml.add_bos_token': false,
      ...changes,
    }).filter(([, value]) => value !== undefined),
  )
}

export function spmMetadata(name: string, changes: Record<string, unknown> = {}): Map<string, unknown> {
  const found = spmVectors.cases.find((one) => one.name === name)!
  return new Map<string, unknown>(
    Object.entries({
      'tokenizer.ggml.model': 'llama',
      'tokenizer.ggml.pre': 'default',
      'tokenizer.ggml.tokens': found.tokens,
      'tokenizer.ggml.scores': Float32Array.from(found.scores),
      'tokenizer.ggml.token_type': found.types,
      'tokenizer.ggml.add_space_prefix': found.addSpacePrefix,
      ...changes,
    }).filter(([, value]) => value !== undefined),
  )
}

export const open = (metadata: Map<string, unknown>): Tokenizer => openTokenizer(encodeTokenizer(tokenizerFromGguf(metadata)))
