// Speed of the WebGPU engine on whatever adapter it was opened: tokens/s, share of memory bandwidth, where a token's time goes.
import type { Row, Want } from '../../../protocol/engine/engine.ts'
import type { WebGpuEngine } from '../../../protocol/engine/webgpu/engine.ts'
import type { OpTime } from '../../../protocol/engine/webgpu/profile.ts'
import type { Tuning } from '../../../protocol/engine/webgpu/tuning.ts'

export interface MeasureOptions {
  prompt?: number
  tokens?: number
  tuning?: Partial<Tuning>
  /** Rounds of the profile, 0 for none. */
  rounds?: number
}

export interface Measured {
  description: string
  tuning: Tuning
  loadMs: number
  compileMs: number
  memory: { weights: number; other: number }
  /** Tokens per second. */
  prefill: number
  decode: number
  greedy: number
  /** Bytes of weights one token reads. */
  weightBytes: number
  /** One decoded token by op, and its sum. */
  ops: OpTime[]
  opsMs: number
  /** Share of the sum that is not matrices. */
  otherShare: number
  /** Ids of the answer, to compare hosts by. */
  answer: number[]
}

const argmax = (logits: Int32Array): number => logits.reduce((best, v, i) => (v > logits[best] ? i : best), 0)

/** Times a prompt of made-up tokens (after one of the same length to warm up) and tokens after it, the least disturbed of three stretches. */
export async function measure(open: (tuning: Partial<Tuning>) => Promise<WebGpuEngine>, now: () => number, options: MeasureOptions): Promise<Measured> {
  const { prompt: length = 128, tokens: count = 24, rounds = 6 } = options
  const from = now()
  const engine = await open(options.tuning ?? {})
  const loadMs = now() - from
  const { vocab } = engine.manifest.core
  const prompt = Array.from({ length }, (_, i) => (i * 7919 + 13) % vocab)
  const feed = async (): Promise<number> => {
    let next = 0
    for (let at = 0; at < length; at += engine.rowsMax) {
      const rows: Row[] = prompt.slice(at, at + engine.rowsMax).map((token, i) => ({ sequence: 0, position: at + i, token }))
      const wants: Want[] = rows.map((_, i) => (at + i === length - 1 ? 'logits' : 'nothing'))
      next = (await engine.runGreedy(rows, wants)).at(-1) ?? 0
    }
    return next
  }
  await feed()
  engine.truncate(0, 0)
  const prefillFrom = now()
  let next = await feed()
  const prefill = (length / (now() - prefillFrom)) * 1000
  const answer: number[] = []
  let position = length
  const stretch = async (step: (row: Row) => Promise<number>): Promise<number> => {
    let best = 0
    for (let part = 0; part < 3; part++) {
      const started = now()
      for (let i = 0; i < count / 3; i++) {
        answer.push(next)
        next = await step({ sequence: 0, position: position++, token: next })
      }
      best = Math.max(best, (count / 3 / (now() - started)) * 1000)
    }
    return best
  }
  const decode = await stretch(async (row) => argmax((await engine.run([row], ['logits'])).logits[0]!))
  const greedy = await stretch(async (row) => (await engine.runGreedy([row], ['logits']))[0]!)
  const ops = rounds > 0 ? await engine.profile([{ sequence: 0, position, token: next }], now, rounds) : []
  const opsMs = ops.reduce((sum, op) => sum + op.ms, 0)
  const matrixMs = ops.filter((op) => op.kernel.startsWith('matmul')).reduce((sum, op) => sum + op.ms, 0)
  const result: Measured = {
    description: engine.description,
    tuning: engine.tuning,
    loadMs,
    compileMs: engine.compileMs,
    memory: engine.memoryBytes(),
    prefill,
    decode,
    greedy,
    weightBytes: ops.reduce((sum, op) => sum + op.weightBytes, 0),
    ops,
    opsMs,
    otherShare: opsMs > 0 ? 1 - matrixMs / opsMs : 0,
    answer,
  }
  await engine.close()
  return result
}

/** A table for people; `bandwidth` in bytes per second, when known. */
export function report(m: Measured, bandwidth: number | null): string {
  const lines = [
    m.description,
    `load ${m.loadMs.toFixed(0)} ms, of which pipelines at most ${m.compileMs.toFixed(0)} ms; weights ${(m.memory.weights / 1e6).toFixed(1)} MB, beyond them ${(m.memory.other / 1e6).toFixed(1)} MB`,
    `prefill ${m.prefill.toFixed(1)} tokens/s, decode ${m.decode.toFixed(2)} tokens/s, greedy (token read back, not logits) ${m.greedy.toFixed(2)} tokens/s`,
  ]
  if (m.ops.length > 0) {
    const perSecond = m.weightBytes * m.greedy
    lines.push(
      `weights read ${(m.weightBytes / 1e6).toFixed(1)} MB a token = ${(perSecond / 1e9).toFixed(2)} GB/s${bandwidth ? `, ${((100 * perSecond) / bandwidth).toFixed(1)} % of ${(bandwidth / 1e9).toFixed(0)} GB/s` : ''}`,
    )
    lines.push(`ops ${m.opsMs.toFixed(2)} ms a token, ${(100 * m.otherShare).toFixed(1)} % of it not matrices`)
    for (const op of m.ops) {
      const rate = op.weightBytes > 0 ? `${(op.weightBytes / op.ms / 1e6).toFixed(2)} GB/s` : ''
      lines.push(
        `  ${op.op.padEnd(44)} ${op.ms.toFixed(3).padStart(9)} ms ${((100 * op.ms) / m.opsMs).toFixed(1).padStart(5)} %  x${String(op.count).padEnd(4)} ${rate}`,
      )
    }
  }
  return lines.join('\n')
}
