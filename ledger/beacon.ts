// Randomness that nobody chose: a hash chain over what producers sign. Draws use the beacon of a block after the one that holds what is drawn, so who reveals an
// answer cannot know who will audit it. A producer who withholds a block can try again: in embedded mode the operator is trusted with that (README.md).
import { hashTagged, u32 } from '../protocol/hash.ts'
import { wholeShare } from './amount.ts'
import type { Parameters } from './genesis.ts'
import type { State } from './state.ts'

/** H("beacon", previous beacon, entropy of the last block). */
export const nextBeacon = (previous: Uint8Array, entropy: Uint8Array): Uint8Array => hashTagged('beacon', previous, entropy)

/** The first 16 bytes of a hash as a number: below 2^128, so that reducing it to a small range is even to 2^-64. */
export function numberFrom(hash: Uint8Array): bigint {
  let value = 0n
  for (let i = 0; i < 16; i++) value = (value << 8n) | BigInt(hash[i])
  return value
}

/** H("draw", beacon, claim). */
export const drawOf = (beacon: Uint8Array, claim: Uint8Array): Uint8Array => hashTagged('draw', beacon, claim)

/** Whether a claim is audited, at `rate` parts of 10,000. */
export const isDrawn = (draw: Uint8Array, rate: number): boolean => numberFrom(draw) % BigInt(wholeShare) < BigInt(rate)

/** Tries for one auditor before giving up: with fewer candidates than auditors there is nobody left to find. */
const triesMax = 16

/** Auditors of a claim, weighted by stake, without repetition and without `excluded` (hex). May be fewer than asked for. */
export function drawAuditors(state: State, draw: Uint8Array, parameters: Parameters, excluded: ReadonlySet<string>): string[] {
  const { ids, sums } = state.auditorTable(parameters.auditorStakeMin)
  const total = sums.at(-1) ?? 0n
  const chosen: string[] = []
  for (let turn = 0; chosen.length < parameters.auditors && turn < triesMax * parameters.auditors && total > 0n; turn++) {
    const at = numberFrom(hashTagged('auditor', draw, u32(turn))) % total
    const id = ids[firstAbove(sums, at)]
    if (!chosen.includes(id) && !excluded.has(id)) chosen.push(id)
  }
  return chosen
}

/** Index of the first running sum above `at`. */
function firstAbove(sums: readonly bigint[], at: bigint): number {
  let low = 0
  let high = sums.length - 1
  while (low < high) {
    const middle = (low + high) >> 1
    if (sums[middle] > at) high = middle
    else low = middle + 1
  }
  return low
}

/** The eight units (layer, position) whose leaves an auditor of this draw must show; `layers` and `positions` are the claim's. */
export function probedUnits(draw: Uint8Array, layers: number, positions: number): { layer: number; position: number }[] {
  return Array.from({ length: 8 }, (_, i) => {
    const n = numberFrom(hashTagged('probe', draw, u32(i)))
    return { layer: Number(n % BigInt(layers)), position: Number((n / BigInt(layers)) % BigInt(positions)) }
  })
}
