// From a prompt to tokens, over any engine: prefill in batches, then one row a token. No clock here: hosts time what they see.
import { EngineError, type Row, type SegmentEngine, type Want } from './engine.ts'
import { checkSampler, type Draw, type NoiseKey, type Sampler, sample } from './sampler.ts'

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

/** Runs rows and draws the tokens of those that have a draw: on the engine where it can, else here from its logits. Throws EngineError as `run`. */
export async function chooseTokens(engine: SegmentEngine, rows: Row[], draws: (Draw | null)[], boundary?: Int32Array): Promise<(number | null)[]> {
  if (engine.choose) return engine.choose(rows, draws, boundary)
  const { logits } = await engine.run(
    rows,
    draws.map((draw): Want => (draw ? 'logits' : 'nothing')),
    boundary,
  )
  return draws.map((draw, i) => draw && sample(logits[i]!, draw.sampler, draw.key, draw.position, draw.recent))
}

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

    const tokens = prompt.slice()
    const draw = (): Draw => ({ sampler, key, position: tokens.length, recent: tokens })
    let next: number | null = null
    const batch = Math.max(1, Math.min(request.batch ?? this.engine.rowsMax, this.engine.rowsMax))
    for (let at = common; at < prompt.length; at += batch) {
      signal?.throwIfAborted()
      yield { kind: 'prefill', done: at - common, total: prompt.length - common }
      next = await this.advance(prompt.slice(at, at + batch), at + batch >= prompt.length ? draw() : null)
    }
    yield { kind: 'prefill', done: prompt.length - common, total: prompt.length - common }

    for (let made = 0; ; ) {
      signal?.throwIfAborted()
      const token = next!
      tokens.push(token)
      made++
      yield { kind: 'token', token }
      if (stopIds.includes(token)) return yield { kind: 'stop', stop: 'eos' }
      if (made >= maxTokens) return yield { kind: 'stop', stop: 'length' }
      if (tokens.length >= context) return yield { kind: 'stop', stop: 'context' }
      signal?.throwIfAborted()
      next = await this.advance([token], draw())
    }
  }

  /** Runs tokens after what is cached, and draws the one that follows when asked. */
  private async advance(tokens: number[], draw: Draw | null): Promise<number | null> {
    const from = this.cached.length
    const rows: Row[] = tokens.map((token, i) => ({ sequence: this.sequence, position: from + i, token }))
    const last = tokens.length - 1
    const chosen = await chooseTokens(
      this.engine,
      rows,
      tokens.map((_, i) => (i === last ? draw : null)),
    )
    this.cached.push(...tokens)
    return chosen[last]
  }
}
