// The words worker as the page sees it: promises instead of messages.
import type { Turn } from '../workers/messages.ts'
import type { OpenedWords, WordsReply, WordsRequest } from '../workers/words.ts'
import { Channel, type Without } from './channel.ts'

export class Words {
  private readonly channel: Channel<WordsRequest, WordsReply>
  private streams = 0
  private readonly storage: boolean

  /** `storage` false: this browser's store is not even opened (embed). */
  constructor(worker: Worker, storage = true) {
    this.storage = storage
    this.channel = new Channel(worker)
  }

  private async call<K extends WordsReply['kind']>(message: Without<WordsRequest, 'id'>, kind: K): Promise<Extract<WordsReply, { kind: K }>> {
    let answer: WordsReply | null = null
    await this.channel.send(message, (reply) => {
      answer = reply
      return reply.kind === kind
    }).ended
    return answer as unknown as Extract<WordsReply, { kind: K }>
  }

  /** Throws WorkerError with a sentence: the relay is away, or a hash is wrong. */
  async open(modelId: string): Promise<OpenedWords> {
    return (await this.call({ kind: 'open', modelId, storage: this.storage }, 'opened')).opened
  }

  /** Throws WorkerError when the conversation is longer than the context. */
  async prompt(modelId: string, turns: Turn[]): Promise<number[]> {
    return (await this.call({ kind: 'prompt', modelId, turns }, 'prompt')).tokens
  }

  /** Text of an answer's tokens, piece by piece, in order. */
  stream(modelId: string): (tokens: number[], end?: boolean) => Promise<string> {
    const stream = ++this.streams
    return async (tokens, end = false) => (await this.call({ kind: 'decode', modelId, stream, tokens, end }, 'text')).text
  }

  close(): void {
    this.channel.close(new DOMException('Stopped.', 'AbortError'))
  }
}
