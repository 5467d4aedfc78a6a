// A conversation as the tokens a model reads; the same for answers computed here and by the swarm, since the same question must have the same hash.
import { EngineError } from '../../protocol/engine/engine.ts'
import type { Tokenizer } from '../../protocol/model/tokenizer.ts'
import type { Turn } from './messages.ts'

/** Throws EngineError with a sentence for people when the conversation does not fit the context. */
export function promptOf(tokenizer: Tokenizer, turns: Turn[], context: number, name: string): number[] {
  const prompt = tokenizer.hasTemplate ? tokenizer.encodeChat(turns) : tokenizer.encodePrompt(turns.map((turn) => turn.content).join('\n\n'))
  if (prompt.length >= context) {
    throw new EngineError(
      `This conversation has ${prompt.length.toLocaleString('en')} tokens, but ${name} can read at most ${context.toLocaleString('en')}. Start a new chat, or shorten the message.`,
    )
  }
  return prompt
}
