// What crosses between the page and the words worker: text to tokens and back, for answers that the swarm computes. It holds a tokenizer, never weights.
import type { ModelFacts } from '../../protocol/peer/machine.ts'
import type { Turn, WireError } from './messages.ts'

export interface OpenedWords {
  facts: ModelFacts
  stopIds: number[]
}

export type WordsRequest = {
  id: number
} /** Reads manifest and tokenizer: from this browser's store where they are (`storage` allowing), else from the relay into memory. Answered with `opened`. */ & (
  | { kind: 'open'; modelId: string; storage: boolean }
  /** Answered with `prompt`. */
  | { kind: 'prompt'; modelId: string; turns: Turn[] }
  /** Tokens that follow those of the same stream; answered with `text`. A stream begins with its first tokens, and `end` forgets it. */
  | { kind: 'decode'; modelId: string; stream: number; tokens: number[]; end: boolean }
)

export type WordsReply = { id: number } & (
  | { kind: 'opened'; opened: OpenedWords }
  | { kind: 'prompt'; tokens: number[] }
  | { kind: 'text'; text: string }
  | { kind: 'failed'; error: WireError }
)
