// The tokenizer of a model as callers see it: text and chats to ids, ids to text. Opened from the bytes of the package's `tokenizer` shard.
// Special tokens come only from the template and from here, never from what a person or a document says.
import { textEncoding } from './bytepair.ts'
import { chatRenderer, type Day, defaultDay, type Message } from './chat.ts'
import { type StreamDecoder, textDecoding } from './detokenise.ts'
import { ModelError } from './manifest.ts'
import { decodeTokenizer, type TokenizerData, TokenType } from './vocabulary.ts'
import { stopNames } from './vocabulary-gguf.ts'

export type { Message } from './chat.ts'
export type { StreamDecoder } from './detokenise.ts'
export { encodeTokenizer, type TokenizerData } from './vocabulary.ts'
export { tokenizerFromGguf } from './vocabulary-gguf.ts'

export interface Tokenizer {
  /** Number of tokens. */
  readonly vocab: number
  readonly hasTemplate: boolean
  readonly bos: number | null
  /** A prompt starts with bos; encodePrompt and encodeChat put it there, encode does not. */
  readonly addsBos: boolean
  /** Tokens that end an answer, ascending. */
  readonly stopIds: number[]
  /** Ids of a text, without bos. What looks like a control token in it is ordinary text: no id is ever a control token's. Lone surrogates read as U+FFFD. */
  encode(text: string): number[]
  /**
   * Ids of a chat up to where the answer begins, by the model's template. The template's own markers become control tokens, the messages' never do.
   * Throws ModelError without a template, when it refuses the messages (roles that do not alternate, say), or when it fails.
   */
  encodeChat(messages: readonly Message[]): number[]
  /** A question, through the template if there is one; else the text itself to be continued. Throws ModelError for a system text without a template. */
  encodePrompt(text: string, system?: string): number[]
  /** Text of ids without control tokens. Throws ModelError for an id that is no token. */
  decode(ids: ArrayLike<number>): string
  decoder(): StreamDecoder
}

/**
 * Opens the bytes of a `tokenizer` shard. `today` is what templates that write a date are told (Llama's own default otherwise).
 * Throws ModelError when the bytes are not a tokenizer in canonical form.
 */
export function openTokenizer(bytes: Uint8Array, today: Day = defaultDay): Tokenizer {
  const data = decodeTokenizer(bytes)
  const { tokens, bos, template } = data
  const control = new Map(idsOfType(data, TokenType.control).map((id) => [tokens[id]!, id]))
  const markers = new Map(templateMarkers(data).map((id) => [tokens[id]!, id]))
  const encode = textEncoding(data, new Set(markers.values()))
  const makeDecoder = textDecoding(data)
  const startId = data.addBos ? bos : null
  const rules = { control, markers, bosToken: textOf(data, bos), eosToken: textOf(data, data.eos), day: today }
  let render: ReturnType<typeof chatRenderer> | null = null

  const encodeChat = (messages: readonly Message[]): number[] => {
    if (template === null) throw new ModelError('this model has no chat template; it can only continue a text')
    render ??= chatRenderer({ template, ...rules })
    const ids = render(messages).flatMap((part) => ('text' in part ? encode(part.text) : [part.special]))
    // Most templates write bos themselves; twice would be once too often.
    return startId !== null && ids[0] !== startId ? [startId, ...ids] : ids
  }

  return {
    vocab: tokens.length,
    hasTemplate: template !== null,
    bos,
    addsBos: data.addBos,
    stopIds: stopIdsOf(data),
    encode,
    encodeChat,
    encodePrompt(text, system) {
      if (template !== null) return encodeChat([...(system ? [{ role: 'system', content: system }] : []), { role: 'user', content: text }])
      if (system) throw new ModelError('this model has no chat template, so it takes no system text')
      return [...(startId === null ? [] : [startId]), ...encode(text)]
    },
    decode(ids) {
      const decoder = makeDecoder()
      let text = ''
      for (let i = 0; i < ids.length; i++) text += decoder.push(ids[i]!)
      return text + decoder.end()
    },
    decoder: makeDecoder,
  }
}

function idsOfType({ types }: TokenizerData, type: number): number[] {
  return Array.from(types, (_, id) => id).filter((id) => types[id] === type)
}

/**
 * User-defined tokens by which the template structures a prompt, such as Qwen's `<think>` and `<tool_call>`. Their files call them text,
 * so text could forge a part of the prompt with them; like control tokens they are kept for the template (and for answers quoted back).
 */
function templateMarkers(data: TokenizerData): number[] {
  const { template, tokens } = data
  if (template === null) return []
  return idsOfType(data, TokenType.userDefined).filter((id) => /^[<[]\S+[>\]]$/u.test(tokens[id]!) && template.includes(tokens[id]!))
}

function stopIdsOf(data: TokenizerData): number[] {
  const { tokens, types, eos, eot, eom } = data
  const named = stopNames.map((name) => tokens.indexOf(name)).filter((id) => id >= 0 && types[id] === TokenType.control)
  return [...new Set([...[eos, eot, eom].filter((id) => id !== null), ...named])].sort((a, b) => a - b)
}

function textOf({ tokens }: TokenizerData, id: number | null): string {
  return id === null ? '' : tokens[id]!
}
