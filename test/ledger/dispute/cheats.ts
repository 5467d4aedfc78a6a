// Single alterations of a true computation at random places, each as a whole cheat: a claim, and the cheat's own trace to defend it with.
import { wrongTail } from '../../../ledger/dispute/player.ts'
import type { Unit } from '../../../protocol/engine/proof/table.ts'
import { type Alteration, firstDifference, Trace } from '../../../protocol/engine/proof/trace.ts'
import { samplerOf } from '../../../protocol/engine/sampler.ts'
import { type Architecture, architectures } from '../../../protocol/model/manifest.ts'
import { random } from '../../tiny-package.ts'
import { type Asked, answer, asked, claimOf, smallCore, type TinyClaim, type TinyModel, tampered, tinyModel, traceOf } from './tiny.ts'

export const places = ['weights', 'activations', 'cache', 'tables', 'sampler', 'stop'] as const
export type Place = (typeof places)[number]

export interface Base {
  model: TinyModel
  question: Asked
  tokens: number[]
  claim: TinyClaim
  trace: Trace
}

const samplers = [
  { temperature: 0, topK: 0, topP: 1, minP: 0, repeatPenalty: 1 },
  { temperature: 1, topK: 0, topP: 1, minP: 0, repeatPenalty: 1 },
  { temperature: 0.75, topK: 12, topP: 0.9, minP: 0.05, repeatPenalty: 1.25, repeatWindow: 5 },
  { temperature: 1.5, topK: 0, topP: 0.8, minP: 0, repeatPenalty: 1.125, repeatWindow: 8 },
]

const bases = new Map<string, Promise<Base>>()

/** A true answer of a small model; a few dozen of them serve thousands of cheats. */
export function baseOf(architecture: Architecture, seed: number): Promise<Base> {
  const name = `${architecture} ${seed}`
  let found = bases.get(name)
  if (!found) {
    found = (async () => {
      const core = smallCore(architecture)
      const model = await tinyModel(core, 1 + (seed % 5))
      const question = asked(core, { sampler: samplerOf(samplers[seed % samplers.length]) }, seed + 1)
      const { tokens } = await answer(model, question)
      const claim = claimOf(model, question, tokens)
      return { model, question, tokens, claim, trace: traceOf(model, claim) }
    })()
    bases.set(name, found)
  }
  return found
}

export interface Cheat {
  /** The true answer that was falsified. */
  base: Base
  architecture: Architecture
  place: Place
  /** In words, for a failing test. */
  what: string
  claim: TinyClaim
  /** The true trace on the claim's tokens. */
  trace: Trace
  /** What the cheat defends. */
  own: Trace
  /** Whether the claim itself is false, not only the cheat's trace. */
  false: boolean
  stop: number
  stopIds: number[]
  maxTokens: number
}

/** The cheat of a number; null when the alteration changes nothing that anyone could see (an unused bit, a tie that falls the same way). */
export async function cheatOf(seed: number): Promise<Cheat | null> {
  const next = random(seed)
  const architecture = architectures[next() % architectures.length]
  const place = places[next() % places.length]
  const base = await baseOf(architecture, next() % 12)
  const { model, question, tokens } = base
  const common = { base, architecture, place, stop: 2, stopIds: [] as number[], maxTokens: tokens.length }
  if (place === 'stop') return stopCheat(base, common, next)
  if (place === 'sampler') return samplerCheat(base, common, next)

  let what: string
  let alter: Alteration | null = null
  let altered: Unit | null = null
  let source = model
  if (place === 'weights') {
    const tensor = model.manifest.tensors[next() % model.manifest.tensors.length]
    const at = tensor.offset + (next() % tensor.bytes)
    const bit = next() & 7
    what = `bit ${bit} of byte ${at - tensor.offset} of ${tensor.name}`
    source = tampered(model, (shards) => {
      shards[tensor.shard][at] ^= 1 << bit
    })
  } else {
    const { machine } = base.claim
    const unit = { layer: next() % machine.to, position: next() % machine.positions }
    altered = unit
    const stages = machine.stages(unit)
    const wanted = stages.filter(({ root, label }) => (place === 'cache' ? root === 'k' || root === 'v' : place === 'tables' ? label.includes('rope') : true))
    const target = wanted[next() % wanted.length].label
    const index = next()
    const bit = next()
    what = `${target} of unit ${unit.layer}, ${unit.position}`
    alter = (at, stage, values) => {
      if (at.layer === unit.layer && at.position === unit.position && stage.label === target)
        values[index % values.length] = flipped(stage.type, values[index % values.length], bit)
    }
  }
  // What comes before the altered unit is the true computation's.
  const before = (unit: Unit): boolean => altered !== null && (unit.layer < altered.layer || unit.position < altered.position)
  const trace = (claim: TinyClaim): Trace =>
    new Trace({ machine: claim.machine, weights: source.weights, prompt: claim.prompt, out: claim.out }, alter).compute(base.trace, before)
  const first = trace(base.claim)
  const wrong = wrongTail(first)
  if (!wrong) {
    if (firstDifference(base.claim.machine, first, base.trace) === null) return null
    return { ...common, what, claim: base.claim, trace: base.trace, own: first, false: false }
  }
  // The answer as the cheat's computation gives it, up to the first token that differs.
  const values = first.unit(wrong).values
  const count = wrong.position + 1 - question.prompt.length
  const claimed = [...tokens.slice(0, count), values[values.length - 1][0]]
  const claim = claimOf(model, question, claimed)
  const truth = traceOf(model, claim, base.trace)
  const own = trace(claim)
  return { ...common, what, claim, trace: truth, own, false: wrongTail(truth) !== null, maxTokens: claimed.length }
}

/** One bit of a value changed, within what its type holds. */
function flipped(type: string, value: number, bit: number): number {
  if (type === 'i64') return value + 1 + (bit % 100)
  const width = type === 'u8' ? 8 : type === 'i16' || type === 'u16' ? 16 : 32
  const changed = value ^ (1 << (bit % width))
  return type === 'u32' ? changed >>> 0 : type === 'u16' ? changed & 0xffff : changed
}

type Common = Pick<Cheat, 'base' | 'architecture' | 'place' | 'stop' | 'stopIds' | 'maxTokens'>

/** Some stage of the last tail is altered, so that another token comes out. */
function samplerCheat({ model, question, tokens, claim, trace }: Base, common: Common, next: () => number): Cheat | null {
  const unit = { layer: claim.machine.to, position: claim.machine.positions - 1 }
  const stages = claim.machine.stages(unit)
  const { label: target } = stages[next() % stages.length]
  const index = next()
  const bit = next()
  const alter: Alteration = (at, stage, values) => {
    if (at.layer !== unit.layer || at.position !== unit.position || stage.label !== target) return
    const i = index % values.length
    values[i] = stage.root === 'token' ? (values[i] + 1 + (bit % 60)) % 70 : flipped(stage.type, values[i], bit)
  }
  const altered = (one: TinyClaim): Trace => new Trace({ machine: one.machine, weights: model.weights, prompt: one.prompt, out: one.out }, alter).compute(trace)
  const values = altered(claim).unit(unit).values
  const token = values[values.length - 1][0]
  if (token === tokens[tokens.length - 1]) return null
  const changed = claimOf(model, question, [...tokens.slice(0, -1), token])
  return { ...common, what: `${target} of the last tail`, claim: changed, trace: traceOf(model, changed, trace), own: altered(changed), false: true }
}

/** The answer is cut short, goes on too long, or names another reason to end. */
function stopCheat({ model, question, tokens, claim, trace }: Base, common: Common, next: () => number): Cheat {
  const whole = { ...common, claim, trace, own: trace, false: true }
  switch (next() % 4) {
    case 0:
      return { ...whole, what: 'stops early, says length', maxTokens: tokens.length + 1 + (next() % 5) }
    case 1:
      return { ...whole, what: 'says eos without a stop token', stop: 1, stopIds: [69 - (tokens.includes(69) ? 1 : 0)].filter((id) => !tokens.includes(id)) }
    case 2:
      return { ...whole, what: 'goes on after a stop token', stopIds: [tokens[next() % Math.max(1, tokens.length - 1)]], stop: 2 }
    default: {
      const cut = claimOf(model, question, tokens.slice(0, -1))
      return {
        ...whole,
        what: 'says the context is full',
        claim: cut,
        trace: traceOf(model, cut, trace),
        own: traceOf(model, cut, trace),
        stop: 3,
        maxTokens: tokens.length,
      }
    }
  }
}
