// "Can this run now?", in one sentence, before anybody asks. Pure.
import { sizeText } from '../workers/store/errors.ts'
import { type ModelRow, rangeText } from './snapshot.ts'

/** `now`: a place is free; `wait`: it runs, but in a queue; `no`: layers are missing. */
export interface Verdict {
  can: 'now' | 'wait' | 'no'
  /** Two or three words. */
  label: string
  /** A sentence. */
  text: string
}

export const speedText = (tokensPerSecond: number): string => `${tokensPerSecond < 10 ? tokensPerSecond.toFixed(1) : Math.round(tokensPerSecond)} tokens/s`

/** `first`, `2`, `3`: a place in a queue that has `queue` before it. */
const placeText = (queue: number): string => (queue === 0 ? 'first in the queue' : `number ${queue + 1} in the queue`)

const holesMax = 3

export function verdictOf(model: ModelRow): Verdict {
  if (model.runnable) {
    const speed = model.tokensPerSecond === null ? '' : `, about ${speedText(model.tokensPerSecond)}`
    if (model.slotsFree === 0) return { can: 'wait', label: 'Busy', text: `All places are taken: you would be ${placeText(model.queue)}${speed}.` }
    return {
      can: 'now',
      label: 'Runs now',
      text: `Runs now${speed}${model.slotsFree === null ? '' : `; ${model.slotsFree} ${model.slotsFree === 1 ? 'place' : 'places'} free`}.`,
    }
  }
  const more = model.bytesMissing > 0 ? ` It needs ${sizeText(model.bytesMissing)} more of lent memory.` : ''
  if (model.hosts.length === 0) return { can: 'no', label: 'No hosts', text: `Nobody lends a device for it yet.${more}` }
  if (model.holes.length === 0) return { can: 'no', label: 'No route', text: 'Every layer has a host, but no route leads through them now.' }
  const named = model.holes.slice(0, holesMax).map(([from, to]) => rangeText(from, to))
  const rest = model.holes.length > holesMax ? ` and ${model.holes.length - holesMax} more gaps` : ''
  const one = model.holes.length === 1 && model.holes[0][1] - model.holes[0][0] === 1
  return { can: 'no', label: 'Has gaps', text: `${one ? 'Layer' : 'Layers'} ${named.join(', ')}${rest} ${one ? 'has' : 'have'} no host.${more}` }
}
