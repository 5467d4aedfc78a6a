// From a prompt to tokens, over any engine: prefill in batches, then one row a token. No clock here: hosts time what they see.
import { EngineError, type Row, type SegmentEngine, type Want } from './engine.ts'
import { checkSampler, type NoiseKey, type Sampler, sample } from './sampler.ts'

export interface Request {
  /** Token ids, BOS included where the model wants one. */
  prompt: number[]
  sampler: Sampler
  key: NoiseKey
  /** Most tokens to make, stop token included. */
  maxTokens: number
  stopIds: readonly number[]
  /** Rows per prefill batch, default the engine's rowsMax. Changes no result. */
  batch?: number
}

/** `eos`: the last token is a stop id; `length`: maxTokens made; `context`: the model's context is full. */
export type Stop = 'eos' | 'length' | 'context'

export type Progress = { kind: 'prefill'; done: number; total: number } | { kind: 'token'; token: number } | { kind: 'stop'; stop: Stop }

/**
 * One conversation on one engine: keeps what is cached and re-uses the common prefix of the next prompt.
 */
export class Session {
  private cached: number[] = []
  readonly engine: SegmentEngine
  readonly sequence: number
  constructor(engine: SegmentEngine, sequence = 0) {
    this.engine = engine
    this.sequence = sequence
  }

  /** Tokens whose keys and values are cached. */
  get cachedLength(): number {
    return this.cached.length
  }

  forget(): void {
    this.engine.truncate(this.sequence, 0)
    this.cached = []
  }

  /**
   * Yields progress of the prefill, then tokens, then why it stopped. Throws EngineError (prompt empty or longer than the context, device lost) and SamplerError;
   * throws the signal's reason when aborted, leaving the session usable.
   */
  async *generate(request: Request, signal?: AbortSignal): AsyncGenerator<Progress> {
    const { prompt, sampler, key, maxTokens, stopIds } = request
    const { context } = this.engine.manifest.core
    checkSampler(sampler)
    if (prompt.length === 0) throw new EngineError('the prompt holds no tokens')
    if (prompt.length >= context)
      throw new EngineError(`the prompt has ${prompt.length} tokens, the model's context holds ${context} (one must be left for the answer)`)
    if (!(Number.isInteger(maxTokens) && maxTokens >= 1)) throw new EngineError(`maxTokens is ${maxTokens}, must be a positive integer`)

    let common = 0
    while (common < this.cached.length && common < prompt.length - 1 && this.cached[common] === prompt[common]) common++
    this.engine.truncate(this.sequence, common)
    this.cached.length = common

    let logits: Int32Array | null = null
    const batch = Math.max(1, Math.min(request.batch ?? this.engine.rowsMax, this.engine.rowsMax))
    for (let at = common; at < prompt.length; at += batch) {
      signal?.throwIfAborted()
      yield { kind: 'prefill', done: at - common, total: prompt.length - common }
      logits = await this.advance(prompt.slice(at, at + batch), at + batch >= prompt.length)
    }
    yield { kind: 'prefill', done: prompt.length - common, total: prompt.length - common }

    const tokens = prompt.slice()
    for (let made = 0; ; ) {
      signal?.throwIfAborted()
      const token = sample(logits!, sampler, key, tokens.length, tokens)
      tokens.push(token)
      made++
      yield { kind: 'token', token }
      if (stopIds.includes(token)) return yield { kind: 'stop', stop: 'eos' }
      if (made >= maxTokens) return yield { kind: 'stop', stop: 'length' }
      if (tokens.length >= context) return yield { kind: 'stop', stop: 'context' }
      signal?.throwIfAborted()
      logits = await this.advance([token], true)
    }
  }

  /** Runs tokens after what is cached; the last one's logits when wanted. */
  private async advance(tokens: number[], last: boolean): Promise<Int32Array | null> {
    const from = this.cached.length
    const rows: Row[] = tokens.map((token, i) => ({ sequence: this.sequence, position: from + i, token }))
    const wants: Want[] = tokens.map((_, i) => (last && i === tokens.length - 1 ? 'logits' : 'nothing'))
    const result = await this.engine.run(rows, wants)
    this.cached.push(...tokens)
    return result.logits[tokens.length - 1]
  }
}
