import { beforeAll, expect, test } from 'vitest'
import { DisputeError } from '../../../ledger/dispute/errors.ts'
import { type Accused, judge } from '../../../ledger/dispute/judge.ts'
import { decodeMove, encodeMove, type Move, moveBytesMax } from '../../../ledger/dispute/moves.ts'
import { evidenceBytesMax, openElement } from '../../../protocol/engine/proof/evidence.ts'
import { encodeValues } from '../../../protocol/engine/proof/table.ts'
import { createReferenceEngine } from '../../../protocol/engine/reference.ts'
import { samplerOf } from '../../../protocol/engine/sampler.ts'
import { type Architecture, architectures } from '../../../protocol/model/manifest.ts'
import { random } from '../../tiny-package.ts'
import { baseOf } from './cheats.ts'
import { answer, asked, claimOf, smallCore, tinyModel, traceOf } from './tiny.ts'

type Base = Awaited<ReturnType<typeof baseOf>>
const bases = new Map<Architecture, Base>()

beforeAll(async () => {
  for (const [i, architecture] of architectures.entries()) bases.set(architecture, await baseOf(architecture, 2 + 4 * i))
})

/** One element of every stage of some units, with the evidence that an honest player gives. */
function* elements({ claim, trace }: Base, next: () => number): Generator<{ label: string; accused: Accused; evidence: Uint8Array }> {
  const { machine } = claim
  const last = machine.positions - 1
  for (const unit of [
    { layer: 0, position: 2 },
    { layer: 1, position: last },
    { layer: machine.to, position: last },
  ]) {
    const own = trace.unit(unit)
    for (const [stage, shape] of own.stages.entries()) {
      const element = next() % shape.elements
      const claimed =
        shape.root === 'token' ? new Uint8Array() : encodeValues(shape.type, own.values[stage], element * shape.fields, (element + 1) * shape.fields)
      const roots = own.stages.map((one, i) => (one.root === 'token' ? null : own.root(i)))
      yield { label: shape.label, accused: { top: trace.outer.top, unit, roots, stage, element, claimed }, evidence: openElement(trace, unit, stage, element) }
    }
  }
}

test('every stage of every architecture is equal to what its inputs make it, and to nothing else', () => {
  const next = random(1)
  const labels = new Set<string>()
  for (const base of bases.values()) {
    for (const { label, accused, evidence } of elements(base, next)) {
      labels.add(label.replace(/^\d+\./, ''))
      expect(evidence.length).toBeLessThanOrEqual(evidenceBytesMax)
      expect({ label, ...judge(base.claim.machine, accused, evidence) }).toEqual({ label, verdict: 'equal' })
      if (accused.claimed.length === 0) continue
      const claimed = accused.claimed.slice()
      claimed[next() % claimed.length] ^= 1 << (next() & 7)
      expect({ label, ...judge(base.claim.machine, { ...accused, claimed }, evidence) }).toEqual({ label, verdict: 'unequal' })
    }
  }
  for (const expected of [
    'embed',
    'wq',
    'bq',
    'q_norm',
    'rope_k',
    'record_v',
    'score',
    'weigh',
    'mix',
    'gate',
    'attention_post_norm',
    'head',
    'sample.z',
    'sample.topk.0',
    'sample.topp.24',
    'sample.kept',
    'sample.token',
  ])
    expect(labels).toContain(expected)
})

test('evidence with any bit changed, cut or lengthened is invalid or decides the same', () => {
  const next = random(2)
  for (const base of bases.values()) {
    for (const { label, accused, evidence } of elements(base, next)) {
      const honest = judge(base.claim.machine, accused, evidence)
      for (let i = 0; i < 6; i++) {
        const changed = evidence.slice()
        if (changed.length === 0) continue
        changed[next() % changed.length] ^= 1 << (next() & 7)
        expect({ label, ...judge(base.claim.machine, accused, changed) }).toMatchObject({ label, verdict: 'invalid' })
      }
      if (evidence.length > 0) expect(judge(base.claim.machine, accused, evidence.subarray(0, next() % evidence.length)).verdict).toBe('invalid')
      expect(judge(base.claim.machine, accused, Uint8Array.from([...evidence, 0])).verdict).toBe('invalid')
      expect(honest.verdict).toBe('equal')
    }
  }
  const { accused } = [...elements([...bases.values()][0], next)][0]
  expect(judge([...bases.values()][0].claim.machine, accused, new Uint8Array(evidenceBytesMax + 1)).verdict).toBe('invalid')
})

test('the stage tables give what the reference engine gives, for every sampler', async () => {
  const samplers = [
    { temperature: 0, topK: 0, topP: 1, minP: 0, repeatPenalty: 1.25, repeatWindow: 4 },
    { temperature: 1, topK: 0, topP: 1, minP: 0.125, repeatPenalty: 1 },
    { temperature: 0.75, topK: 9, topP: 0.875, minP: 0.0625, repeatPenalty: 1.125, repeatWindow: 6 },
    { temperature: 2, topK: 0, topP: 0.5, minP: 0, repeatPenalty: 1 },
  ]
  for (const [i, architecture] of architectures.entries()) {
    const core = smallCore(architecture)
    const model = await tinyModel(core, 20 + i)
    const engine = await createReferenceEngine(model)
    for (const [k, decimal] of samplers.entries()) {
      const question = asked(core, { sampler: samplerOf(decimal), maxTokens: 4 }, 30 + k)
      const { tokens } = await answer(model, question)
      const claim = claimOf(model, question, tokens)
      const trace = traceOf(model, claim)
      const sequence = [...question.prompt, ...tokens]
      engine.truncate(0, 0)
      const residuals = new Map<string, ArrayLike<number>>()
      const rows = sequence.slice(0, -1).map((token, position) => ({ sequence: 0, position, token }))
      await engine.run(
        rows,
        rows.map(() => 'nothing' as const),
        undefined,
        ({ label, values }) => residuals.set(label, values),
      )
      for (let layer = 0; layer < core.layers; layer++) {
        const all = Array.from(residuals.get(`${layer}.ffn_add`)!)
        for (const { position } of rows)
          expect(Array.from(trace.residual(layer, position))).toEqual(all.slice(position * core.hidden, (position + 1) * core.hidden))
      }
      for (let position = claim.machine.tailFrom; position < claim.machine.tailTo; position++) {
        const { values } = trace.unit({ layer: core.layers, position })
        expect(values[values.length - 1][0]).toBe(sequence[position + 1])
      }
    }
  }
})

test('moves that are not canonical, too large or of another shape are refused with a reason', () => {
  const next = random(3)
  const h = new Uint8Array(32).fill(4)
  const moves: Move[] = [
    { kind: 'demand' },
    { kind: 'commit', hash: h },
    { kind: 'path', root: 0, level: 12, index: 3 },
    { kind: 'pick', path: 3, expansion: null, choice: 63 },
    { kind: 'reveal', root: 1, level: 6, index: 9, children: new Uint8Array(2048) },
    { kind: 'prove', path: 1, expansion: 2, evidence: new Uint8Array(evidenceBytesMax) },
    { kind: 'timeout', path: null, expansion: null },
  ]
  for (const move of moves) {
    const bytes = encodeMove(move)
    expect(decodeMove(bytes)).toEqual(move)
    for (let i = 0; i < 300; i++) {
      const changed = bytes.slice(0, next() % 4 === 0 ? next() % bytes.length : bytes.length)
      if (changed.length > 0) changed[next() % Math.min(changed.length, 40)] ^= 1 << (next() & 7)
      try {
        expect(encodeMove(decodeMove(changed))).toEqual(changed)
      } catch (error) {
        expect(error).toBeInstanceOf(DisputeError)
        expect((error as DisputeError).code).toBe('malformed')
      }
    }
  }
  expect(() => decodeMove(new Uint8Array(moveBytesMax + 1))).toThrow(DisputeError)
  expect(() => decodeMove(encodeMove({ kind: 'pick', path: -1, expansion: null, choice: 0 }))).toThrow(/not a number/)
  expect(() => decodeMove(encodeMove({ kind: 'reveal', root: 0, level: 0, index: 0, children: new Uint8Array(2049) }))).toThrow(/at most 2048/)
})
