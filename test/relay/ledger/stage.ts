// A relay's ledger for tests: people with money, a clock that a test moves, and a whole dispute about a tiny model played on it, every move through the relay's own queue.
import '../../../relay/mesh/native-keys.ts'
import { auditedOf } from '../../../ledger/apply/audit.ts'
import { claimFacts } from '../../../ledger/apply/dispute.ts'
import { openGame } from '../../../ledger/dispute/game.ts'
import { defence, refutation, type Seat, wrongTail } from '../../../ledger/dispute/player.ts'
import type { Moment } from '../../../ledger/dispute/state.ts'
import { bodyOfMove, claimFactsOf, readGame, rulesFor } from '../../../ledger/dispute-play.ts'
import { LedgerError } from '../../../ledger/errors.ts'
import { defaultGenesis, defaultParameters, hurried, leastFee, type Parameters } from '../../../ledger/genesis.ts'
import { claimIdOf, disputeIdOf, jobIdOf, outOf } from '../../../ledger/names.ts'
import { keyOf } from '../../../ledger/records.ts'
import { type Body, commitmentOf, role, signTransaction, sizeOf } from '../../../ledger/transaction.ts'
import { encodeSampler, noiseKeyOf } from '../../../protocol/engine/answer.ts'
import { machineOf } from '../../../protocol/engine/proof/machine.ts'
import { TokenList } from '../../../protocol/engine/proof/tokens.ts'
import { type Alteration, Trace } from '../../../protocol/engine/proof/trace.ts'
import { greedy } from '../../../protocol/engine/sampler.ts'
import { fromHex } from '../../../protocol/hash.ts'
import { decodeCore, modelIdOf } from '../../../protocol/model/identity.ts'
import { LedgerNode } from '../../../relay/ledger/node.ts'
import { registrationOf } from '../../../relay/ledger/registration.ts'
import { answer, smallCore, tinyModel } from '../../ledger/dispute/tiny.ts'
import { credit, operator, type Person, person, word } from '../../ledger/world.ts'

export interface Stage {
  node: LedgerNode
  who(name: string): Person
  /** Signs with the next nonce and the least fee, and waits until it is durable. */
  send(name: string, body: Body): Promise<Uint8Array>
  /** Ends the block that is being built; the next one is `ms` later. */
  block(ms?: number): void
}

const people = ['ann', 'bob', 'cat', 'dan', 'eve']

/** In memory; ann to eve hold 10,000 credits each. The clock starts now and runs as well as being moved. */
export function openStage(change: Partial<Parameters> = {}): Stage {
  const startMs = Date.now()
  let aheadMs = 0
  const genesis = defaultGenesis(operator.id, startMs, 'meadow-stage')
  const allocations = [...genesis.allocations, ...people.map((name) => ({ account: person(name).id, amount: 10_000n * credit }))]
  const node = new LedgerNode({
    folder: ':memory:',
    secret: operator.secret,
    genesis: { ...genesis, allocations, parameters: { ...genesis.parameters, ...change } },
    now: () => Date.now() + aheadMs,
  })
  const who = (name: string): Person => (name === 'operator' ? operator : person(name))
  return {
    node,
    who,
    async send(name, body) {
      const { secret, id } = who(name)
      const { nonce } = node.chain.state.account(id)
      const fee = leastFee(node.chain.parameters, sizeOf(body, nonce, 1n << 40n))
      return (await node.submit(signTransaction(secret, node.name, nonce, fee, body))).id
    },
    block(ms = 1000) {
      node.seal()
      aheadMs += ms
    },
  }
}

/** Rules for disputes that end within seconds of a test: everything sixty times faster, no audits, and blocks only when a test ends one. */
export const hurriedRules = (): Partial<Parameters> => ({ ...hurried(defaultParameters, 60), auditors: 0, blockIntervalMs: 3_600_000 })

const tokenKey = word('token key')
const promptTokens = [3, 14, 15, 9]

/** A false answer of bob's about a tiny model, challenged by dan and defended to the end. Returns the names of all that came of it. */
export async function playDispute(stage: Stage): Promise<{ dispute: Uint8Array; job: Uint8Array; claim: Uint8Array; model: Uint8Array }> {
  const { node, who, send, block } = stage
  const { state } = node.chain
  const tiny = await tinyModel(smallCore('llama'))
  const model = fromHex(modelIdOf(tiny.manifest))
  await send('operator', registrationOf(tiny.manifest, 1000n, { owner: 500, trainer: 0 }, who('operator').id))
  await send('bob', { kind: 'stake', amount: 1000n * credit, roles: role.host })
  block()
  const prompt = new TokenList(promptTokens, tokenKey, 0)
  const asked: Extract<Body, { kind: 'job.create' }> = {
    kind: 'job.create',
    model,
    programVersion: 1,
    promptRoot: prompt.root,
    promptCount: promptTokens.length,
    sampler: encodeSampler(greedy),
    seed: word('seed'),
    maxTokens: 3,
    stopIds: [],
    privacy: 0,
    fee: credit / 10n,
    stakeMin: 0n,
    deadlineMs: node.chain.timeMs + 86_400_000,
    segment: null,
    input: null,
  }
  const job = jobIdOf(node.name, who('ann').id, state.account(who('ann').id).nonce, asked)
  await send('ann', asked)
  const { tokens } = await answer(tiny, { prompt: promptTokens, sampler: greedy, noise: noiseKeyOf(job, asked.seed), maxTokens: 3, stopIds: [] })
  const list = new TokenList([tokens[0], (tokens[1] + 1) % 70, tokens[2]], tokenKey, 1)
  const out = { m: 3, stop: 2, outRoot: list.root, logRoot: null }
  await send('bob', { kind: 'job.commit', job, commitment: commitmentOf(node.name, who('bob').id, outOf(job, out), word('nonce')) })
  block()
  await send('bob', { kind: 'job.reveal', job, ...out, answer: word('answer'), nonce: word('nonce') })
  block()
  const claim = claimIdOf(outOf(job, out), who('bob').id)
  const dispute = disputeIdOf(claim, 0)
  const factsNow = () => claimFacts(node.chain, auditedOf(node.chain, claim), 0)
  const first = factsNow()
  const machine = machineOf(decodeCore(first.model.core), first.model.tensorTableRoot, claimFactsOf(first, null))
  const trace = new Trace({ machine, weights: tiny.weights, prompt, out: list }).compute()
  // Bob's trace differs in one activation of layer 1, so the argument goes down through tokens and layers to it.
  const alter: Alteration = ({ layer, position }, stage, values) => {
    if (layer === 1 && position === 2 && stage.label.endsWith('wo')) values[5] += 1
  }
  const altered = new Trace({ machine, weights: tiny.weights, prompt, out: list }, alter).compute()
  const seat = (name: string, own: Trace): Seat => ({
    account: who(name).id,
    witness: { trace: own, wrong: wrongTail(own) },
    nonce: word(`challenge of ${name}`),
  })
  const seats = { dan: seat('dan', trace), bob: seat('bob', altered) }

  const turn = async (name: 'dan' | 'bob'): Promise<void> => {
    const record = state.get(keyOf.dispute(dispute))
    if (record?.verdict) return
    const facts = factsNow()
    const clock = state.must(keyOf.clock)
    const now: Moment = { tau: clock.activeMs, height: clock.height + 1 }
    const question = { ...facts.job, ...facts.out }
    const { claimant, requester, stake } = facts
    const game = record
      ? readGame(record.game, facts).game
      : openGame({
          claimId: claim,
          claimant,
          requester,
          stake,
          stop: question.stop,
          maxTokens: question.maxTokens,
          stopIds: question.stopIds,
          context: decodeCore(facts.model.core).context,
          rules: rulesFor(node.chain.parameters, facts, null),
          challengeUntil: now.tau + facts.finalMs - clock.timeMs,
        })
    const move = name === 'dan' ? refutation(game, seats.dan, now) : defence(game, seats.bob, now, true)
    if (move) await send(name, bodyOfMove(facts, move, record !== undefined))
  }
  for (let round = 0; round < 3000; round++) {
    await turn('dan')
    await turn('bob')
    await send('eve', { kind: 'dispute.timeout', dispute }).catch((error) => {
      if (!(error instanceof LedgerError)) throw error
    })
    block(9000)
    if (state.get(keyOf.dispute(dispute))?.verdict) return { dispute, job, claim, model }
    // Nothing happened in this block: time must still pass for the game.
    if (!node.chain.isDue(Number.MAX_SAFE_INTEGER)) await send('cat', { kind: 'transfer', to: word('clock'), amount: 1n, note: new Uint8Array(0) })
  }
  throw new Error('no verdict')
}
