// How much worse the integer engine predicts a text than float32 does with the same file.
import { createHash } from 'node:crypto'
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { evaluate, lossBits } from '../../../protocol/engine/loss.ts'
import { openTokenizer } from '../../../protocol/model/tokenizer.ts'
import { createNodeWasmEngine } from '../../../relay/wasm-thread.ts'
import { floatPerplexity } from '../float-llama.ts'
import { type BenchModel, buildFolder, shardNamed } from '../model.ts'
import { atMost, type Bar } from './bar.ts'

const context = 256
/** Windows of each text: enough for a stable ratio, few enough for the yardstick, which reads 20 to 40 tokens/s on two cores. */
const windowsMax = 8

export const prose = ['../../../LICENSE', '../../../README.md', '../../../ARCHITECTURE.md'].map((path) => fileURLToPath(new URL(path, import.meta.url)))

/** The yardstick is slow and its answer never changes: remembered by file, tokens and its own source. */
async function yardstick(gguf: string, ids: readonly number[]): Promise<{ tokens: number; perplexity: number }> {
  const { size, mtimeMs } = await stat(gguf)
  const source = await readFile(new URL('../float-llama.ts', import.meta.url))
  const key = createHash('sha256')
    .update(source)
    .update(JSON.stringify([gguf, size, mtimeMs, context, ids]))
    .digest('hex')
  const file = join(buildFolder, 'yardstick', `${key.slice(0, 32)}.json`)
  const remembered = await readFile(file, 'utf8').catch(() => null)
  if (remembered) return JSON.parse(remembered)
  const result = await floatPerplexity(gguf, ids, context)
  await mkdir(join(buildFolder, 'yardstick'), { recursive: true })
  await writeFile(file, JSON.stringify(result))
  return result
}

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
    const float = await yardstick(shipped.gguf, ids)
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
