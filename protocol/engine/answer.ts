// Names for questions and answers: hashes that two people compare to see whether they asked and got the same (specification, section 6).
import { fromHex, hashTagged, u32s } from '../hash.ts'
import type { Stop } from './generate.ts'
import { checkSampler, type NoiseKey, type Sampler } from './sampler.ts'

export interface Question {
  /** 64 hex digits. */
  modelId: string
  sampler: Sampler
  /** 0 <= seed < 2^53. */
  seed: number
  maxTokens: number
  stopIds: readonly number[]
  prompt: readonly number[]
}

/** sampler64: six u32 fields in order, zero-padded to 64 bytes. */
export function encodeSampler(s: Sampler): Uint8Array {
  const bytes = new Uint8Array(64)
  bytes.set(u32s([s.temperature, s.topK, s.topP, s.minP, s.repeatPenalty, s.repeatWindow]))
  return bytes
}

/** The inverse of encodeSampler. Throws SamplerError for parameters that no sampler has, RangeError for padding that is not zero. */
export function decodeSampler(bytes: Uint8Array): Sampler {
  if (bytes.length !== 64 || bytes.subarray(24).some((byte) => byte !== 0)) throw new RangeError('a sampler is six numbers, padded to 64 bytes with zeros')
  const view = new DataView(bytes.buffer, bytes.byteOffset, 24)
  const [temperature, topK, topP, minP, repeatPenalty, repeatWindow] = Array.from({ length: 6 }, (_, i) => view.getUint32(i * 4, true))
  const sampler = { temperature, topK, topP, minP, repeatPenalty, repeatWindow }
  checkSampler(sampler)
  return sampler
}

/** seed32: the seed as a little-endian 256-bit number. */
export function encodeSeed(seed: number): Uint8Array {
  if (!(Number.isSafeInteger(seed) && seed >= 0)) throw new RangeError(`seed ${seed} must be an integer from 0 to 2^53 − 1`)
  const bytes = new Uint8Array(32)
  bytes.set(u32s([seed % 4294967296, Math.floor(seed / 4294967296)]))
  return bytes
}

/** Key of the sampler's noise: first 8 bytes of H("rng", jobId, seed32); a question asked without a job has the job id of 32 zero bytes. */
export const noiseKey = (seed: number, jobId: Uint8Array = new Uint8Array(32)): NoiseKey => noiseKeyOf(jobId, encodeSeed(seed))

/** The same for a seed given as its 32 bytes. */
export function noiseKeyOf(jobId: Uint8Array, seed32: Uint8Array): NoiseKey {
  const hash = hashTagged('rng', jobId, seed32)
  const view = new DataView(hash.buffer, hash.byteOffset)
  return [view.getUint32(0, true), view.getUint32(4, true)]
}

/** H("input", modelId, sampler64, seed32, maxTokens u32, stop count u32, stop ids u32, prompt count u32, prompt u32). */
export function inputHash(q: Question): Uint8Array {
  return hashTagged(
    'input',
    fromHex(q.modelId),
    encodeSampler(q.sampler),
    encodeSeed(q.seed),
    u32s([q.maxTokens, q.stopIds.length, ...q.stopIds, q.prompt.length]),
    u32s(q.prompt),
  )
}

const stopCodes: Record<Stop, number> = { eos: 1, length: 2, context: 3 }

/** Number of a stop in claims and hashes. */
export const stopCodeOf = (stop: Stop): number => stopCodes[stop]

/** H("output", inputHash, count u32, stop u32, tokens u32). */
export function outputHash(input: Uint8Array, tokens: readonly number[], stop: Stop): Uint8Array {
  return hashTagged('output', input, u32s([tokens.length, stopCodes[stop]]), u32s(tokens))
}
