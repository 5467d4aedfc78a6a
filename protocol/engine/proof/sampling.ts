// Stages of the sampler (specification, section 5): penalty and temperature, radix thresholds, noise, argmax. Every partial covers 1,024 tokens of the vocabulary;
// histograms lie as (16 bins, part), so that what one bin adds up stands end to end. Nothing is sorted and no advice is trusted.
import { mulShift, power, sat32 } from '../integer.ts'
import { gumbel, massOf, minPDistance, type NoiseKey, philox, type Sampler } from '../sampler.ts'
import { all, partElements, partsOf, type Source, type StageList, value, values } from './build.ts'
import type { Values } from './table.ts'

/** Bins of a tile of a histogram: 257 parts of 16 bins are 16 KiB. */
const binsPerTile = 16
const bins = 256
/** Where an argmax over nothing stands: below every score, beyond every id. */
const noScore = -power(50)

/** The vocabulary in parts: [start, end) of part e. */
const partRange = (vocab: number, e: number): [number, number] => [e * partElements, Math.min(vocab, (e + 1) * partElements)]

/** Logits with the penalty on recent tokens and the temperature; the logits themselves when neither changes anything. */
function adjusted(list: StageList, logits: Source, s: Sampler, position: number): Source {
  const penalised = s.repeatPenalty !== 65536 && s.repeatWindow > 0
  const tempered = s.temperature > 0 && s.temperature !== 65536
  if (!penalised && !tempered) return logits
  const inversePenalty = Math.floor(4294967296 / s.repeatPenalty)
  const inverseTemperature = tempered ? Math.floor(4294967296 / s.temperature) : 0
  const length = position + 1
  return list.add({
    label: 'sample.z',
    type: 'i32',
    elements: logits.elements,
    *element(id) {
      let z = yield* value(logits, id)
      if (penalised) {
        const recent = (yield { from: 'tokens', start: Math.max(0, length - s.repeatWindow), end: length }) as Values
        if (recent.includes(id as never)) z = mulShift(z, z > 0 ? inversePenalty : s.repeatPenalty, 16)
      }
      return [tempered ? mulShift(z, inverseTemperature, 16) : z]
    },
  })
}

/** Largest of (id, score) pairs, lowest id on ties, in the order given. */
function best(pairs: Iterable<readonly [number, number]>): [number, number] {
  let found: [number, number] = [4294967295, noScore]
  for (const [id, score] of pairs) if (score > found[1] || (score === found[1] && id < found[0])) found = [id, score]
  return found
}

function* pairsOf(flat: Values): Generator<[number, number]> {
  for (let i = 0; i < flat.length; i += 2) yield [flat[i], flat[i + 1]]
}

/** The threshold for `need`, or for topP of all mass: the largest key whose upper set reaches it, byte by byte. Gives the last pick: (prefix, above, need). */
function threshold(
  list: StageList,
  label: string,
  z: Source,
  weightOf: (z: number, most: number, floor: number) => number,
  context: { most: Source; floor: Source | null },
  needOf: (total: number) => number,
): Source {
  const parts = partsOf(z.elements)
  let before: Source | null = null
  for (let shift = 24; shift >= 0; shift -= 8) {
    const previous = before
    const counts = list.add({
      label: `${label}.${shift}.part`,
      type: 'i64',
      elements: (bins / binsPerTile) * parts * binsPerTile,
      perTile: binsPerTile,
      *element(e) {
        const tile = Math.floor(e / binsPerTile)
        const bin = Math.floor(tile / parts) * binsPerTile + (e % binsPerTile)
        const prefix = previous ? (yield* all(previous))[0] : 0
        const most = yield* value(context.most, 0)
        const floor = context.floor ? (yield* all(context.floor))[0] : 0
        let total = 0
        for (const one of yield* values(z, ...partRange(z.elements, tile % parts))) {
          if (one > most) return null
          const key = one + power(31)
          const same = shift === 24 || Math.floor(key / power(shift + 8)) === Math.floor(prefix / power(shift + 8))
          if (same && (Math.floor(key / power(shift)) & 255) === bin) total += weightOf(one, most, floor)
        }
        return [total]
      },
    })
    const histogram = list.add({
      label: `${label}.${shift}.bins`,
      type: 'i64',
      elements: bins,
      *element(bin) {
        const from = Math.floor(bin / binsPerTile) * parts * binsPerTile
        const tiles = yield* values(counts, from, from + parts * binsPerTile)
        let total = 0
        for (let i = bin % binsPerTile; i < tiles.length; i += binsPerTile) total += tiles[i]
        return [total]
      },
    })
    before = list.add({
      label: `${label}.${shift}`,
      type: 'i64',
      fields: 3,
      elements: 1,
      *element() {
        const heights = yield* all(histogram)
        let [prefix, above, need] = previous ? yield* all(previous) : [0, 0, 0]
        if (!previous) need = needOf(Array.from(heights).reduce((sum, h) => sum + h, 0))
        let bin = bins - 1
        while (bin > 0 && above + heights[bin] < need) above += heights[bin--]
        prefix += bin * power(shift)
        return [prefix, above, need]
      },
    })
  }
  return before!
}

/** ⌈topP · total / 2^16⌉, at least 1 (exact: total < 2^43). */
const needOfMass = (total: number, topP: number): number => Math.max(1, Math.floor(total / 65536) * topP + Math.ceil(((total % 65536) * topP) / 65536))

/** From logits to the token at position + 1, which stands in the claim. */
export function sampling(list: StageList, logits: Source, s: Sampler, key: NoiseKey, position: number): void {
  const z = adjusted(list, logits, s, position)
  const vocab = z.elements
  const parts = partsOf(vocab)
  /** Argmax in two steps: parts of 1,024, then the token. */
  const finish = (scores: Source): void => {
    list.add({
      label: 'sample.token',
      type: 'u32',
      elements: 1,
      root: 'token',
      *element() {
        return [best(pairsOf(yield* all(scores)))[0]]
      },
    })
  }
  const partial = (label: string, pairs: (z: Values, from: number, floor: number) => Iterable<[number, number]>, floor: Source | null): Source =>
    list.add({
      label,
      type: 'i64',
      fields: 2,
      elements: parts,
      *element(e) {
        const [start, end] = partRange(vocab, e)
        const floorNow = floor ? yield* value(floor, 0) : 0
        return best(pairs(yield* values(z, start, end), start, floorNow))
      },
    })
  const plain = function* (part: Values, from: number): Generator<[number, number]> {
    for (let i = 0; i < part.length; i++) yield [from + i, part[i]]
  }
  const tops = partial('sample.top.part', plain, null)
  if (s.temperature === 0) return finish(tops)

  const most = list.add({
    label: 'sample.top',
    type: 'i32',
    elements: 1,
    *element() {
      return [sat32(best(pairsOf(yield* all(tops)))[1])]
    },
  })
  const count =
    s.topK > 0 && s.topK < vocab
      ? threshold(
          list,
          'sample.topk',
          z,
          () => 1,
          { most, floor: null },
          () => s.topK,
        )
      : null
  const massAbove = (one: number, top: number, floor: number): number => (one + power(31) >= floor ? massOf(top, one) : 0)
  const mass = s.topP < 65536 ? threshold(list, 'sample.topp', z, massAbove, { most, floor: count }, (total) => needOfMass(total, s.topP)) : null
  const kept = list.add({
    label: 'sample.kept',
    type: 'i64',
    elements: 1,
    *element() {
      let floor = -power(31)
      if (count) floor = Math.max(floor, (yield* all(count))[0] - power(31))
      if (mass) floor = Math.max(floor, (yield* all(mass))[0] - power(31))
      if (s.minP > 0) floor = Math.max(floor, sat32((yield* value(most, 0)) - minPDistance(s.minP)))
      return [floor]
    },
  })
  const noisy = function* (part: Values, from: number, floor: number): Generator<[number, number]> {
    for (let i = 0; i < part.length; i++) if (part[i] >= floor) yield [from + i, part[i] + gumbel(philox(key, position + 1, from + i) >>> 8)]
  }
  finish(partial('sample.score.part', noisy, kept))
}
