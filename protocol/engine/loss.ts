// The exact loss of a text: log-sum-exp in integers, so that every device computes the same number and a model update can be accepted or refused by it.

import { EngineError, type SegmentEngine } from './engine.ts'
import { power } from './integer.ts'
import { exp31, log2Q28 } from './logarithm.ts'
import { argmax } from './sampler.ts'

/** Fractional bits of a loss, in nats. */
export const lossBits = 24

/** −ln p(target) in Q24. logits // vocab i32, Q16. */
export function lossOf(logits: Int32Array, target: number): number {
  const most = logits[argmax(logits)]
  let total = 0 // Q31, below 2^31 · 2^18
  for (let i = 0; i < logits.length; i++) total += exp31(most - logits[i])
  const log2 = log2Q28(total) - 31 * power(28)
  return Math.floor((log2 * 726817) / power(24)) + (most - logits[target]) * 256 // 726817 = ln 2 in Q20
}

export interface Loss {
  /** Predicted tokens. */
  tokens: number
  /** Summed loss in nats, Q24. */
  lossFixed: number
}

/**
 * Consecutive windows of `context` tokens, a last partial one dropped; every token of a window but its first is scored. `bos` stands before each window for models whose tokenizer adds one.
 * Yields the running sum after each window. Throws EngineError when the text is shorter than one window or the window does not fit the model.
 */
export async function* evaluate(
  engine: SegmentEngine,
  ids: readonly number[],
  context: number,
  bos: number | null,
  signal?: AbortSignal,
): AsyncGenerator<Loss> {
  const lead = bos === null ? [] : [bos]
  if (!(Number.isInteger(context) && context >= 2)) throw new EngineError(`a window of ${context} tokens is too short, at least 2 are needed`)
  if (context + lead.length > engine.manifest.core.context)
    throw new EngineError(`a window of ${context} tokens does not fit the model's context of ${engine.manifest.core.context}`)
  if (ids.length < context) throw new EngineError(`the text has ${ids.length} tokens, fewer than one window of ${context}`)
  const loss: Loss = { tokens: 0, lossFixed: 0 }
  // Logits of a whole batch are held at once: 32 rows of a 262,144-token vocabulary are 32 MiB.
  const batch = Math.min(engine.rowsMax, 32)
  for (let from = 0; from + context <= ids.length; from += context) {
    const tokens = [...lead, ...ids.slice(from, from + context)]
    engine.truncate(0, 0)
    for (let at = 0; at < tokens.length; at += batch) {
      signal?.throwIfAborted()
      const rows = tokens.slice(at, at + batch).map((token, i) => ({ sequence: 0, position: at + i, token }))
      const scored = rows.map(({ position }) => position >= lead.length && position + 1 < tokens.length)
      const { logits } = await engine.run(
        rows,
        scored.map((s) => (s ? 'logits' : 'nothing')),
      )
      for (const [i, row] of logits.entries()) {
        if (!row) continue
        loss.lossFixed += lossOf(row, tokens[at + i + 1])
        loss.tokens++
      }
    }
    yield { ...loss }
  }
  engine.truncate(0, 0)
}
