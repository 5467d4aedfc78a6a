// How long a reader waits when a host of the ring falls silent, hangs, or is slow for a while: `node test/sim/mesh-stalls.ts [TRIALS]` prints the longest wait between two
// tokens by kind of fault, and what was computed beyond need. Two hosts hold each third of the layers; the fault meets a random host at a random token.
import { pathToFileURL } from 'node:url'
import { noiseKey } from '../../protocol/engine/answer.ts'
import { Session } from '../../protocol/engine/generate.ts'
import { greedy } from '../../protocol/engine/sampler.ts'
import { random } from '../../protocol/engine/specimen.ts'
import type { Question } from '../../protocol/peer/machine.ts'
import { useNative } from './native.ts'
import { ToyEngine, toyFacts } from './toy.ts'
import { World } from './world.ts'

export const faults = ['dead, its connections look well', 'engine hangs', 'a hundred times slower', 'stands still for 0.9 s', 'none'] as const
export type Fault = (typeof faults)[number]

const facts = toyFacts(6)
const prompt = Array.from({ length: 160 }, (_, i) => (i * 7) % 24)
const answerTokens = 60
const ranges = [0, 1, 2, 0, 1, 2].map((third) => ({ from: third * 2, to: third * 2 + 2 }))

export interface Stall {
  fault: Fault
  /** Longest wait between two tokens. */
  ms: number
  wrong: boolean
  /** Rows computed by all hosts, over those of an answer without any fault. */
  rowsExtra: number
  epochs: number
}

export async function stallOf(fault: Fault, seed: number): Promise<Stall> {
  useNative()
  const next = random(seed * 5 + 1)
  const world = new World(seed, [facts], { delayMs: [2, 40], dialMs: 250 })
  const asker = world.add('asker')
  const hosts = ranges.map((segment, i) => {
    const node = world.add(`host${i}`, { layerUs: 2000, rowUs: 400 })
    world.step(node, { kind: 'lend', lending: { models: [facts], memoryBytes: 1e9, fixed: [{ modelId: facts.modelId, segment }] } })
    return node
  })
  world.run(60_000, () => asker.peer.table.all().filter((one) => one.held.some((held) => held.ready)).length === hosts.length)
  const question: Question = { modelId: facts.modelId, prompt, sampler: greedy, seed, maxTokens: answerTokens, stopIds: [] }
  const at = 8 + (next() % (answerTokens - 16))
  const place = next() % 3
  const tokens: number[] = []
  let [last, longest, rows, epochs, over] = [0, 0, 0, 0, false]
  let chain: string[] = []
  const strike = (): void => {
    const host = hosts.find((one) => one.key === chain[place % chain.length])!
    if (fault === 'dead, its connections look well') world.kill(host, true)
    else if (fault === 'engine hangs') host.bend = (action) => (action.kind === 'compute' ? [] : [action])
    else if (fault === 'a hundred times slower') Object.assign(host.options, { layerUs: 200_000, rowUs: 4000 })
    else if (fault === 'stands still for 0.9 s') {
      Object.assign(host.options, { layerUs: 450_000 })
      world.after(300, () => Object.assign(host.options, { layerUs: 2000 }))
    }
  }
  world.onNotice = (node, notice) => {
    if (notice.of === 'host' && notice.what === 'computed') rows += notice.rows
    if (node !== asker || notice.of !== 'ask') return
    if (notice.what === 'route') {
      epochs++
      chain = notice.chain.map((one) => one.peer)
    } else if (notice.what === 'token') {
      if (tokens.length > 0) longest = Math.max(longest, world.now - last)
      last = world.now
      tokens.push(notice.token)
      if (tokens.length === at) strike()
    } else if (notice.what === 'stop' || notice.what === 'failed') over = true
  }
  world.step(asker, { kind: 'ask', ask: 1, question, facts, draft: false })
  world.run(120_000, () => over)
  const truth: number[] = []
  for await (const p of new Session(new ToyEngine(facts)).generate({ ...question, key: noiseKey(seed) })) if (p.kind === 'token') truth.push(p.token)
  return { fault, ms: longest, wrong: truth.join() !== tokens.join(), rowsExtra: rows - 3 * (prompt.length + answerTokens - 1), epochs }
}

const at = (values: number[], share: number): number => values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))]!

/** Stalls of `trials` answers with one kind of fault. */
export async function stallsOf(
  fault: Fault,
  trials: number,
): Promise<{ p50: number; p95: number; most: number; wrong: number; rowsExtra: number; epochs: number }> {
  const all: Stall[] = []
  for (let seed = 1; seed <= trials; seed++) all.push(await stallOf(fault, seed))
  const ms = all.map((one) => one.ms)
  return {
    p50: at(ms, 0.5),
    p95: at(ms, 0.95),
    most: Math.max(...ms),
    wrong: all.filter((one) => one.wrong).length,
    rowsExtra: Math.round(all.reduce((sum, one) => sum + one.rowsExtra, 0) / trials),
    epochs: all.reduce((sum, one) => sum + one.epochs, 0) / trials,
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  for (const fault of faults) {
    const { p50, p95, most, wrong, rowsExtra, epochs } = await stallsOf(fault, Number(process.argv[2] ?? 100))
    console.log(
      `${fault.padEnd(32)} p50 ${p50.toFixed(0).padStart(5)} ms, p95 ${p95.toFixed(0).padStart(5)} ms, most ${most.toFixed(0).padStart(5)} ms; ${rowsExtra} rows more, ${epochs.toFixed(1)} rings, ${wrong} wrong`,
    )
    if (wrong > 0) process.exitCode = 1
  }
}
