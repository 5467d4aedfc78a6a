import { expect, test } from 'vitest'
import { defence, refutation, type Witness, wrongRecord } from '../../../ledger/dispute/player.ts'
import { machineOf } from '../../../protocol/engine/proof/machine.ts'
import { boundaryRecordHash, encodeBoundaryRecord, recordListRoot } from '../../../protocol/engine/proof/tokens.ts'
import { type Alteration, Trace } from '../../../protocol/engine/proof/trace.ts'
import { Tree, traceListRoot, treeOf } from '../../../protocol/engine/proof/tree.ts'
import { join } from '../../../protocol/hash.ts'
import { architectures } from '../../../protocol/model/manifest.ts'
import { random } from '../../tiny-package.ts'
import { account, claimant, type Ended, type Entrant, newGame, play } from './arena.ts'
import { answer, asked, claimOf, filled, smallCore, tinyModel, traceOf } from './tiny.ts'

/** A host that ran layers [from, to) signs records of what came in and what went out; the game is about its layers only. */
async function segmentGame(seed: number, cheats: 'nothing' | 'record' | 'trace'): Promise<{ ended: Ended; from: number; to: number }> {
  const next = random(seed)
  const architecture = architectures[seed % 4]
  const core = { ...smallCore(architecture), layers: 3 }
  const model = await tinyModel(core, seed)
  const question = asked(core, {}, seed)
  const { tokens } = await answer(model, question)
  const whole = claimOf(model, question, tokens)
  const full = traceOf(model, whole)
  const [from, to] = [
    [0, 1],
    [1, 2],
    [1, 3],
    [0, 2],
  ][seed % 4]
  const { residual, positions } = whole.machine
  const entering = from === 0 ? [] : Array.from({ length: positions }, (_, p) => full.residual(from - 1, p))
  const at = next() % positions
  const unit = { layer: to - 1, position: at }
  const alter: Alteration = (one, stage, values) => {
    if (one.layer === unit.layer && one.position === unit.position && stage.root === 'residual') values[3] ^= 4
  }
  const rootOf = (values: Int32Array): Uint8Array => traceListRoot(residual, treeOf(residual, values).top)
  const outRoots = Array.from({ length: positions }, (_, p) => {
    const values = full.residual(to - 1, p).slice()
    if (cheats !== 'nothing' && p === at && to < 3) values[3] ^= 4
    return rootOf(values)
  })
  const records = outRoots.map((outRoot, position) =>
    encodeBoundaryRecord({
      sessionId: filled(1),
      segment: 1,
      epoch: 0,
      position,
      inRoot: from === 0 ? filled(0) : rootOf(entering[position]),
      outRoot,
      token: 4294967295,
    }),
  )
  const tree = new Tree(records.map(boundaryRecordHash))
  const facts = { ...whole.facts, segment: { from, to, recordsRoot: recordListRoot(positions, tree.top) } }
  const machine = machineOf(core, model.tableRoot, facts)
  const record = (position: number): Uint8Array => join([records[position], tree.proof(position, position + 1)])
  const trace = (change: Alteration | null): Trace =>
    new Trace({ machine, weights: model.weights, prompt: whole.prompt, out: whole.out, entering }, change).compute()
  const truth = trace(null)
  const wrong = to < 3 ? wrongRecord(truth, (p) => outRoots[p]) : null
  expect(wrong).toEqual(cheats === 'nothing' || to === 3 ? null : unit)
  const witness: Witness = { trace: truth, wrong, record }
  const honest = { account: account(1), witness, nonce: filled(1) }
  const host = { account: claimant, witness: { ...witness, trace: cheats === 'trace' ? trace(alter) : truth, wrong: null }, nonce: filled(2) }
  const griefer = { ...honest, account: account(3), nonce: filled(3) }
  const entrants: Entrant[] = [
    { ...honest, name: 'watcher', honest: true, play: (game, now) => refutation(game, honest, now, true) },
    { ...host, name: 'host', honest: cheats === 'nothing', play: (game, now) => defence(game, host, now, true) },
    { ...griefer, name: 'griefer', honest: false, play: (game, now) => refutation(game, { ...griefer, witness: { ...witness, wrong: unit } }, now) },
  ]
  return { ended: play(newGame(machine.claimId), machine, entrants, next), from, to }
}

test('a receipt of some layers stands when its records are true, and falls alone when they are not', async () => {
  for (let seed = 1; seed <= 8; seed++) {
    const { ended, from, to } = await segmentGame(seed, 'nothing')
    expect(`${from}..${to} ${ended.outcome}`).toBe(`${from}..${to} upheld`)
    for (const cheats of ['record', 'trace'] as const) {
      if (to === 3 && cheats === 'record') continue
      const played = await segmentGame(seed, cheats)
      // A true trace has no leaf that fits a false record, so its host can only be silent.
      const ending = cheats === 'trace' ? 'proof' : 'silence'
      expect(`${seed} ${cheats} ${from}..${to} ${played.ended.outcome} ${played.ended.ending}`).toBe(`${seed} ${cheats} ${from}..${to} fallen ${ending}`)
    }
  }
})
