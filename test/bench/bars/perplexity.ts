// How much worse the integer engine predicts a text than float32 does with the same file.
import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { evaluate, lossBits } from '../../../protocol/engine/loss.ts'
import { openTokenizer } from '../../../protocol/model/tokenizer.ts'
import { createNodeWasmEngine } from '../../../relay/wasm-thread.ts'
import { floatPerplexity } from '../float-llama.ts'
import { type BenchModel, shardNamed } from '../model.ts'
import { atMost, type Bar } from './bar.ts'

const context = 256
/** Windows of each text: enough for a stable ratio, few enough for the yardstick, which reads some 25 tokens/s on two slow cores. */
const windowsMax = 8

export const prose = ['../../../LICENSE', '../../../README.md', '../../../ARCHITECTURE.md'].map((path) => fileURLToPath(new URL(path, import.meta.url)))

async function integerPerplexity(model: BenchModel, ids: readonly number[]): Promise<number> {
  const engine = await createNodeWasmEngine(model.source, { threads: 2 })
  try {
    let loss = { tokens: 0, lossFixed: 0 }
    for await (loss of evaluate(engine, ids, context, null));
    return Math.exp(loss.lossFixed / 2 ** lossBits / loss.tokens)
  } finally {
    await engine.close()
  }
}

/** The worst ratio over `texts`, for the file as shipped and with int8 rows. */
export async function perplexityBars(shipped: BenchModel, rows8: BenchModel, texts: string[], windows: number, report: (line: string) => void): Promise<Bar[]> {
  const tokenizer = openTokenizer(await shardNamed(shipped.source, 'tokenizer'))
  let worst4 = 0
  let worst8 = 0
  for (const path of texts) {
    const all = tokenizer.encode(await readFile(path, 'utf8'))
    const ids = all.slice(0, Math.min(windows, windowsMax) * context)
    if (ids.length < context) continue
    const float = await floatPerplexity(shipped.gguf, ids, context)
    const w4 = (await integerPerplexity(shipped, ids)) / float.perplexity
    const w8 = (await integerPerplexity(rows8, ids)) / float.perplexity
    report(`${basename(path)}: float32 ${float.perplexity.toFixed(4)} over ${float.tokens} tokens, as shipped × ${w4.toFixed(5)}, int8 rows × ${w8.toFixed(5)}`)
    worst4 = Math.max(worst4, w4)
    worst8 = Math.max(worst8, w8)
  }
  return [
    atMost('perplexity over float32, 4-bit groups as shipped', worst4, 'ratio', 1.003),
    atMost('perplexity over float32, int8 rows', worst8, 'ratio', 1.006),
  ]
}
