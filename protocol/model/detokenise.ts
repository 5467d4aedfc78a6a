// Token ids to text. Streaming: a code point whose bytes are spread over tokens appears when its last byte has come, never as a replacement character.
import { ModelError } from './manifest.ts'
import { type TokenizerData, TokenType } from './vocabulary.ts'

export interface StreamDecoder {
  /** Text that this token completes; '' for control tokens and for the first bytes of a code point. Throws ModelError for an id that is no token. */
  push(id: number): string
  /** Ends the text. What is left of a code point that was cut off is dropped, hence always ''; kept so that callers need not know. */
  end(): string
}

/** Returns a maker of decoders for these tokens. */
export function textDecoding(data: TokenizerData): () => StreamDecoder {
  const { tokens, types, kind, addSpacePrefix } = data
  const cache = new Map<number, Uint8Array>()
  const bytesOf = (id: number): Uint8Array => {
    const known = cache.get(id)
    if (known) return known
    const token = tokens[id]
    if (token === undefined) throw new ModelError(`token ${id} does not exist, the tokenizer has ${tokens.length} tokens`)
    const bytes = tokenBytes(token, types[id]!, kind)
    cache.set(id, bytes)
    return bytes
  }
  return () => {
    // ignoreBOM: U+FEFF is text like any other here.
    const utf8 = new TextDecoder('utf-8', { ignoreBOM: true })
    let atStart = addSpacePrefix
    return {
      push(id) {
        const text = utf8.decode(bytesOf(id), { stream: true })
        if (!atStart || text === '') return text
        atStart = false
        // The space that encoding put before the text.
        return text.startsWith(' ') ? text.slice(1) : text
      },
      end() {
        utf8.decode()
        return ''
      },
    }
  }
}

const utf8 = new TextEncoder()

/** The bytes a token stands for: none for control and unknown tokens. */
function tokenBytes(token: string, type: number, kind: 'bpe' | 'spm'): Uint8Array {
  if (type === TokenType.control || type === TokenType.unknown || type === TokenType.unused) return new Uint8Array()
  if (type === TokenType.byte) return Uint8Array.of(Number.parseInt(token.slice(3, 5), 16))
  if (kind === 'spm') return utf8.encode(token.replaceAll('▁', ' '))
  if (type === TokenType.userDefined) return utf8.encode(token)
  const bytes: number[] = []
  for (const letter of token) {
    const byte = byteOfLetter.get(letter)
    if (byte === undefined) bytes.push(...utf8.encode(letter))
    else bytes.push(byte)
  }
  return Uint8Array.from(bytes)
}

/** GPT-2's byte-level letters: printable Latin-1 stands for itself, the other 68 bytes for U+0100 onwards in order (github.com/openai/gpt-2, encoder.py). */
const byteOfLetter = (() => {
  const map = new Map<string, number>()
  let next = 256
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
    map.set(String.fromCharCode(printable ? byte : next++), byte)
  }
  return map
})()
