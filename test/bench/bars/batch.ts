// What several sessions gain by decoding together: the WASM engine alone, rows of different sequences in one batch, tokens drawn greedily.
import type { Row } from '../../../protocol/engine/engine.ts'
import { type Draw, greedy } from '../../../protocol/engine/sampler.ts'
import { createNodeWasmEngine } from '../../../relay/wasm-thread.ts'
import { median } from '../contest.ts'
import type { BenchModel } from '../model.ts'
import { quiet } from '../quiet.ts'
import { atLeast, type Bar } from './bar.ts'

/** Positions cached before each timed row: a question and half an answer. */
const position = 192
const sizes = [1, 2, 4, 8]

const draw = (row: Row): Draw => ({ sampler: greedy, key: [0, 0], position: row.position + 1, recent: [] })

/** Milliseconds of a batch of each size, medians of `rounds` rounds in which the sizes take turns. */
async function batchMs(model: BenchModel, threads: number, rounds: number): Promise<number[]> {
  const engine = await createNodeWasmEngine(model.source, { threads })
  try {
    const token = (i: number): number => (i * 7919) % model.model.manifest.core.vocab
    for (let sequence = 0; sequence < 8; sequence++) {
      const rows = Array.from({ length: position }, (_, i) => ({ sequence, position: i, token: token(sequence * 1000 + i) }))
      await engine.run(
        rows,
        rows.map(() => 'nothing'),
      )
    }
    const times: number[][] = sizes.map(() => [])
    for (let round = 0; round < rounds + 2; round++) {
      for (const [i, size] of sizes.entries()) {
        const rows = Array.from({ length: size }, (_, sequence) => ({ sequence, position, token: token(round * 8 + sequence) }))
        const from = performance.now()
        await engine.choose?.(rows, rows.map(draw))
        // The first two rounds compile.
        if (round >= 2) times[i].push(performance.now() - from)
        for (const { sequence } of rows) engine.truncate(sequence, position)
      }
    }
    return times.map(median)
  } finally {
    await engine.close()
  }
}

/** Eight sessions at once against one, and what a guess or two more cost. */
export async function batchBars(model: BenchModel, rounds: number, report: (line: string) => void): Promise<Bar[]> {
  const ratios: number[] = []
  for (const threads of [1, 2]) {
    await quiet(20000)
    const times = await batchMs(model, threads, rounds)
    report(
      `${threads} thread${threads > 1 ? 's' : ''}: ${sizes.map((size, i) => `${size} ${size > 1 ? 'rows' : 'row'} ${times[i].toFixed(1)} ms (× ${(times[i] / times[0]).toFixed(2)})`).join(', ')}`,
    )
    ratios.push((8 * times[0]) / times[3])
  }
  return [atLeast('tokens/s of 8 sequences in a batch over one, 2 threads', ratios[1], 'ratio', 2)]
}
