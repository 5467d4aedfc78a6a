// One lie, told from beginning to end with a real (tiny) model: a solver alters a token of its answer, the claim is drawn for an audit or re-run by a watcher, challenged,
// bisected, judged, and the liar loses its stake.

import { formatAmount } from '../../ledger/amount.ts'
import { defence, refutation, type Seat, wrongTail } from '../../ledger/dispute/player.ts'
import { claimIdOf, disputeIdOf, jobIdOf, outOf } from '../../ledger/names.ts'
import { keyOf } from '../../ledger/records.ts'
import { commitmentOf, role } from '../../ledger/transaction.ts'
import { encodeSampler, noiseKeyOf } from '../../protocol/engine/answer.ts'
import { TokenList } from '../../protocol/engine/proof/tokens.ts'
import { Trace } from '../../protocol/engine/proof/trace.ts'
import { greedy } from '../../protocol/engine/sampler.ts'
import { fromHex, hex } from '../../protocol/hash.ts'
import { modelIdOf } from '../../protocol/model/identity.ts'
import { registrationOf } from '../../relay/ledger/registration.ts'
import { answer, smallCore, type TinyModel, tinyModel } from '../ledger/dispute/tiny.ts'
import { machineOfClaim, playTimeout, playTurn } from '../ledger/dispute-seat.ts'
import { credit, word } from '../ledger/world.ts'
import { honest, liar, type SimWorld } from './ledger-actors.ts'

let made: Promise<TinyModel> | null = null

/** Plays it out; every block is made by `block`. Throws when the lie stands or the finder does not gain. */
export async function disputeLie(world: SimWorld, block: (ms: number) => void): Promise<void> {
  made ??= tinyModel(smallCore('llama'))
  const model = await made
  const requester = world.pick(honest.requesters)
  const watcher = world.pick(honest.auditors)
  const tokenKey = world.word()
  const prompt = Array.from({ length: 4 }, () => world.random() % 70)
  world.must('operator', registrationOf(model.manifest, 1000n, { owner: 500, trainer: 0 }, world.who('operator').id))
  world.must(liar, { kind: 'stake', amount: 100n * credit, roles: role.host })
  block(1000)
  const question = new TokenList(prompt, tokenKey, 0)
  const fields = world.jobBody(fromHex(modelIdOf(model.manifest)), {
    promptRoot: question.root,
    promptCount: prompt.length,
    sampler: encodeSampler(greedy),
    seed: world.word(),
    maxTokens: 3,
    stopIds: [],
  })
  const job = jobIdOf(world.name, world.who(requester).id, world.account(requester).nonce, fields)
  world.must(requester, { kind: 'job.create', ...fields })
  const { tokens } = await answer(model, { prompt, sampler: greedy, noise: noiseKeyOf(job, fields.seed), maxTokens: 3, stopIds: [] })
  const at = world.random() % 3
  const said = tokens.map((token, i) => (i === at ? (token + 1 + (world.random() % 68)) % 70 : token))
  world.tell(`${requester} asks ${hex(job).slice(0, 8)}; ${liar} answers ${said.join(' ')}, the model says ${tokens.join(' ')}`)
  const out = new TokenList(said, tokenKey, 1)
  const claimed = { m: 3, stop: 2, outRoot: out.root, logRoot: null }
  const nonce = world.word()
  world.must(liar, { kind: 'job.commit', job, commitment: commitmentOf(world.name, world.who(liar).id, outOf(job, claimed), nonce) })
  block(1000)
  world.must(liar, { kind: 'job.reveal', job, ...claimed, answer: word('whatever it says'), nonce })
  const claim = claimIdOf(outOf(job, claimed), world.who(liar).id)
  for (let i = 0; i < 3; i++) block(1000)
  world.begin()
  const drawn = world.chain.state.must(keyOf.claim(claim)).auditing
  world.tell(drawn.phase === 'drawn' ? `the beacon draws the claim for audit` : `the beacon passes the claim over; ${watcher} re-runs it of its own accord`)

  const machine = machineOfClaim(world, claim)
  const trace = new Trace({ machine, weights: model.weights, prompt: question, out }).compute()
  const witness = { trace, wrong: wrongTail(trace) }
  const seat = (name: string): Seat => ({ account: world.who(name).id, witness, nonce: word(`challenge of ${name}`) })
  const { stake } = world.chain.state.must(keyOf.claim(claim))
  const before = { watcher: world.account(watcher).balance, liar: world.account(liar).stake }
  const id = keyOf.dispute(disputeIdOf(claim, 0))
  for (let turn = 0; !world.chain.state.get(id)?.verdict; turn++) {
    if (turn > 2000) throw new Error('the dispute does not end')
    for (const [name, move] of [
      [watcher, playTurn(world, claim, watcher, (game, now) => refutation(game, seat(watcher), now))],
      [liar, playTurn(world, claim, liar, (game, now) => defence(game, seat(liar), now, true))],
    ] as const) {
      if (move) world.tell(`${name}: ${describe(move)}`)
    }
    if (world.chain.state.get(id) && playTimeout(world, claim, honest.hosts[0])) world.tell('time decides what nobody answered')
    block(9000)
  }
  const { verdict } = world.chain.state.must(id)
  if (verdict !== 'fallen') throw new Error(`a lie was ${verdict}`)
  if (before.liar - world.account(liar).stake !== stake) throw new Error('the liar kept its stake')
  if (world.account(watcher).balance <= before.watcher) throw new Error('the watcher lost by being right')
  world.tell(
    `the claim has fallen: ${liar} loses ${formatAmount(stake)}, ${watcher} gains ${formatAmount(world.account(watcher).balance - before.watcher)}, ${requester} has its fee back`,
  )
}

function describe(move: object): string {
  const { kind, ...fields } = move as { kind: string } & Record<string, unknown>
  const shown = Object.entries(fields).map(([name, value]) => (value instanceof Uint8Array ? `${name} of ${value.length} bytes` : `${name} ${value}`))
  return [kind, ...shown].join(', ')
}
