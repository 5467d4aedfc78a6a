// Draws that reach every step of the sampler, for comparing its neighbours: logits of many shapes (ties, extremes, one that towers) under settings alone and together.

import { type Draw, greedy, type Sampler } from '../../protocol/engine/sampler.ts'
import { random } from '../../protocol/engine/specimen.ts'

export interface SamplerCase {
  name: string
  /** vocab i32, Q16. */
  logits: Int32Array
  draw: Draw
}

const most = 0x7fffffff

/** Logits by shape. */
function shapes(vocab: number, seed: number): [string, Int32Array][] {
  const next = random(seed)
  const make = (f: (i: number) => number): Int32Array => Int32Array.from({ length: vocab }, (_, i) => Math.max(-most, f(i)))
  const bell = (): number => Array.from({ length: 6 }, () => next() % 393216).reduce((a, b) => a + b, 0) - 1179648
  return [
    ['bell-shaped', make(bell)],
    ['wide', make(() => next() | 0)],
    ['narrow, with ties', make(() => ((next() % 5) - 2) << 14)],
    ['all equal', make(() => -77)],
    ['two values at the bounds', make((i) => (i % 3 ? -most : most))],
    ['all at the lower bound', make(() => -most)],
    ['one towers', make((i) => (i === vocab >> 1 ? 3 << 20 : bell()))],
    ['powers of two', make((i) => (i % 2 ? 1 : -1) << (next() % 30))],
  ]
}

const settings: [string, Partial<Sampler>][] = [
  ['greedy', greedy],
  ['greedy with penalty', { ...greedy, repeatPenalty: 131072, repeatWindow: 64 }],
  ['temperature 1', {}],
  ['the coldest', { temperature: 655 }],
  ['the hottest', { temperature: 6553600 }],
  ['top-k 1', { topK: 1 }],
  ['top-k 2', { temperature: 200000, topK: 2 }],
  ['top-k 40', { temperature: 52429, topK: 40 }],
  ['top-k all but one', { temperature: 300000, topK: -1 }],
  ['top-k beyond the vocabulary', { topK: 262400 }],
  ['top-p least', { topP: 1 }],
  ['top-p half', { temperature: 131072, topP: 32768 }],
  ['top-p nearly all', { temperature: 131072, topP: 65535 }],
  ['min-p least', { minP: 1 }],
  ['min-p small', { temperature: 131072, minP: 3277 }],
  ['min-p all', { minP: 65536 }],
  ['penalty alone', { repeatPenalty: 72090, repeatWindow: 256 }],
  ['a penalty that raises', { repeatPenalty: 6554, repeatWindow: 7 }],
  ['the strongest penalty', { repeatPenalty: 655360, repeatWindow: 256 }],
  ['the page’s own settings', { temperature: 26214, topK: 40, topP: 62259, minP: 3277, repeatPenalty: 72090, repeatWindow: 64 }],
  ['everything at once, hot', { temperature: 200000, topK: 100, topP: 45000, minP: 700, repeatPenalty: 98304, repeatWindow: 100 }],
]

const plain: Sampler = { temperature: 65536, topK: 0, topP: 65536, minP: 0, repeatPenalty: 65536, repeatWindow: 0 }

/** `rounds` draws, with different noise, for every shape and setting. */
export function samplerCases(vocab: number, seed: number, rounds = 1): SamplerCase[] {
  const next = random(seed + 1)
  return shapes(vocab, seed).flatMap(([shape, logits]) =>
    settings.flatMap(([how, change]) =>
      Array.from({ length: rounds }, (_, round): SamplerCase => {
        const sampler = { ...plain, ...change }
        if (sampler.topK < 0) sampler.topK = Math.max(1, vocab - 1)
        // Few distinct ids among many, so that the window holds some twice; the largest logit among them.
        const recent = Array.from({ length: 1 + (next() % 300) }, () => next() % Math.min(vocab, 120))
        recent.push(logits.indexOf(Math.max(...logits.subarray(0, 5000))))
        return { name: `${shape}, ${how}, ${round}`, logits, draw: { sampler, key: [next(), next()], position: recent.length, recent } }
      }),
    ),
  )
}
