// A toy machine of letters: two layers of four letters over a handful of positions, a key and a value record of three letters, a tail that adds letters up to a token.
// It has every kind of stage, read and root that a model has, and costs nothing.
import { hash } from 'node:crypto'
import type { Element, ListShape, Machine, Stage, Unit, Values } from '../../../protocol/engine/proof/table.ts'
import { TokenList } from '../../../protocol/engine/proof/tokens.ts'
import { type Alteration, Trace } from '../../../protocol/engine/proof/trace.ts'
import { setSha256 } from '../../../protocol/hash.ts'
import { random } from '../../tiny-package.ts'

setSha256((bytes) => hash('sha256', bytes, 'buffer'))

const letters = 26
const layers = 2
const residual: ListShape = { type: 'u8', fields: 1, elements: 4, perTile: 2 }
const record: ListShape = { type: 'u8', fields: 3, elements: 1, perTile: 1 }

const stage = (label: string, root: Stage['root'], shape: ListShape, element: (e: number) => Element): Stage => ({ label, root, ...shape, element })
const sumOf = (values: Values): number => {
  let sum = 0
  for (const v of values) sum += v
  return sum
}

/** Letters in, letters out: each stage mixes what it reads. */
function stages({ layer, position }: Unit): Stage[] {
  if (layer === layers)
    return [
      stage('mix', 'step', { type: 'u8', fields: 1, elements: 3, perTile: 1 }, function* (e) {
        const x: Values = yield { from: 'residual', layer: layer - 1, position, start: e, end: e + 2 }
        return [(sumOf(x) * 5 + e) % letters]
      }),
      stage('token', 'token', { type: 'u32', fields: 1, elements: 1, perTile: 1 }, function* () {
        return [sumOf(yield { from: 'stage', stage: 0, start: 0, end: 3 }) % letters]
      }),
    ]
  return [
    stage('enter', 'step', residual, function* (e) {
      if (layer === 0) return [(((yield { from: 'tokens', start: position, end: position + 1 }) as Values)[0] * 7 + e * 3 + 1) % letters]
      const x: Values = yield { from: 'residual', layer: layer - 1, position, start: 0, end: 4 }
      return [(sumOf(x) * (e + 1) + 2) % letters]
    }),
    stage('key', 'k', record, function* () {
      const x: Values = yield { from: 'stage', stage: 0, start: 0, end: 4 }
      return [x[0], x[1], (x[2] + x[3]) % letters]
    }),
    stage('value', 'v', record, function* () {
      const x: Values = yield { from: 'stage', stage: 0, start: 1, end: 4 }
      return [x[2], (x[1] * x[0]) % letters, 7]
    }),
    stage('look', 'step', { type: 'i32', fields: 2, elements: 5, perTile: 2 }, function* (e) {
      const keys: Values = yield { from: 'cache', which: 'k', layer, head: 0, start: 0, end: position + 1 }
      const values: Values = yield { from: 'cache', which: 'v', layer, head: 0, start: Math.max(0, position - 1), end: position + 1 }
      return [sumOf(keys) + e, sumOf(values) * (e + 1)]
    }),
    stage('leave', 'residual', residual, function* (e) {
      const x: Values = yield { from: 'stage', stage: 0, start: e, end: e + 1 }
      const seen: Values = yield { from: 'stage', stage: 3, start: e, end: e + 2 }
      return [(x[0] + sumOf(seen)) % letters]
    }),
  ]
}

const key = new Uint8Array(32).fill(3)

export function toyMachine(prompt: TokenList, out: TokenList, claimId = new Uint8Array(32).fill(1)): Machine {
  const positions = prompt.tokens.length + out.tokens.length - 1
  return {
    from: 0,
    to: layers,
    positions,
    tailFrom: prompt.tokens.length - 1,
    tailTo: positions,
    residual,
    keys: record,
    values: record,
    tensors: [],
    tensorTableRoot: new Uint8Array(32),
    claimId,
    tokens: { promptRoot: prompt.root, prompt: prompt.tokens.length, outRoot: out.root, out: out.tokens.length, vocab: letters },
    boundary: null,
    stages,
  }
}

const noWeights = {
  matrix: () => {
    throw new Error('a toy has no weights')
  },
  vector: () => {
    throw new Error('a toy has no weights')
  },
  open: () => {
    throw new Error('a toy has no weights')
  },
}

/** A trace of the toy on given tokens. */
export function toyTrace(prompt: number[], out: number[], alter: Alteration | null = null): Trace {
  const p = new TokenList(prompt, key, 0)
  const o = new TokenList(out, key, 1)
  return new Trace({ machine: toyMachine(p, o), weights: noWeights, prompt: p, out: o }, alter).compute()
}

/** What the toy answers. */
export function toyAnswer(prompt: number[], count: number): number[] {
  const out: number[] = []
  while (out.length < count) {
    const trace = toyTrace(prompt, [...out, 0])
    const { values } = trace.unit({ layer: layers, position: prompt.length + out.length - 1 })
    out.push(values[1][0])
  }
  return out
}

export const toyPrompt = (seed: number): number[] => {
  const next = random(seed)
  return Array.from({ length: 1 + (next() % 4) }, () => next() % letters)
}
