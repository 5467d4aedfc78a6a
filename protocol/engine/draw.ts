// How a row's token is drawn, as words that a kernel reads: everything about a draw that does not depend on the logits is worked out here, once, for WASM and WebGPU alike.
// The steps themselves: sampler.ts (reference), ops/sample.as.ts, ops/sample_*.wgsl.
import { type Draw, minPDistance } from './sampler.ts'

/** Words before the ids, see the constants below; then room for `repeatWindow` ids. */
export const drawHeaderWords = 16
export const drawWords = drawHeaderWords + 256

/** `distance` when min-p is off: no key is further from the largest. */
const anyDistance = 0xffffffff

/**
 * // drawWords u32: id count, repeat penalty Q16, its inverse Q16, inverse temperature Q16 (65536 leaves a logit as it is), topK (0 = all), topP Q16, min-p's distance Q16, position, two words of noise key,
 * 1 when greedy, unused to 16; then the distinct ids that are penalised.
 */
export function encodeDraw({ sampler: s, key, position, recent }: Draw, vocab: number): Uint32Array<ArrayBuffer> {
  const ids = new Set<number>()
  const greedy = s.temperature === 0
  if (s.repeatPenalty !== 65536) for (let i = Math.max(0, recent.length - s.repeatWindow); i < recent.length; i++) if (recent[i] < vocab) ids.add(recent[i])
  const words = new Uint32Array(drawWords)
  words.set([
    ids.size,
    s.repeatPenalty,
    Math.floor(4294967296 / s.repeatPenalty),
    greedy ? 65536 : Math.floor(4294967296 / s.temperature),
    greedy || s.topK >= vocab ? 0 : s.topK,
    greedy ? 65536 : s.topP,
    greedy || s.minP === 0 ? anyDistance : minPDistance(s.minP),
    position,
    key[0],
    key[1],
    greedy ? 1 : 0,
  ])
  words.set([...ids], drawHeaderWords)
  return words
}
