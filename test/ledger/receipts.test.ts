// From a paid answer of the mesh to a verdict: a ring of reference engines with a tiny model computes, signs and is paid; one host alters what it sends on; whoever has the
// model finds it in the records, and its stake goes. Nothing between the engines and the judge is a stand-in.
import { beforeAll, expect, test } from 'vitest'
import { auditedOf } from '../../ledger/apply/audit.ts'
import { claimFacts } from '../../ledger/apply/dispute.ts'
import { recordsOf } from '../../ledger/claims.ts'
import { openGame } from '../../ledger/dispute/game.ts'
import { defence, refutation, type Seat, type Witness, wrongRecord, wrongTail } from '../../ledger/dispute/player.ts'
import { bodyOfMove, claimFactsOf, readGame, rulesFor } from '../../ledger/dispute-play.ts'
import { LedgerError } from '../../ledger/errors.ts'
import { defaultParameters, hurried } from '../../ledger/genesis.ts'
import { disputeIdOf } from '../../ledger/names.ts'
import { decodeReceiptClaim } from '../../ledger/receipt.ts'
import { keyOf } from '../../ledger/records.ts'
import { role } from '../../ledger/transaction.ts'
import type { SegmentEngine } from '../../protocol/engine/engine.ts'
import { machineOf } from '../../protocol/engine/proof/machine.ts'
import { TokenList } from '../../protocol/engine/proof/tokens.ts'
import { Trace } from '../../protocol/engine/proof/trace.ts'
import { createReferenceEngine } from '../../protocol/engine/reference.ts'
import { samplerOf } from '../../protocol/engine/sampler.ts'
import { fromHex, hex, join } from '../../protocol/hash.ts'
import { decodeCore } from '../../protocol/model/identity.ts'
import { factsOf } from '../../protocol/peer/facts.ts'
import type { PaidLeg } from '../../protocol/peer/payment.ts'
import type { AnswerReceipt } from '../../protocol/peer/receipt.ts'
import { registrationOf } from '../../relay/ledger/registration.ts'
import { areRowsOf, rowsOf } from '../../relay/ledger/rows.ts'
import { start } from '../protocol/peer/mesh.ts'
import { type Money, money } from '../protocol/peer/money.ts'
import { smallCore, type TinyModel, tinyModel } from './dispute/tiny.ts'
import { playTimeoutOf } from './dispute-seat.ts'
import { credit, word } from './world.ts'

const core = { ...smallCore('llama'), layers: 3 }
const thirds: [number, number][] = [
  [0, 1],
  [1, 2],
  [2, 3],
]
let model: TinyModel
beforeAll(async () => {
  model = await tinyModel(core)
})

/** What it sends on of one row is not what its layers give. */
function lying(engine: SegmentEngine, position: number): SegmentEngine {
  const run: SegmentEngine['run'] = async (rows, wants, boundary) => {
    const result = await engine.run(rows, wants, boundary)
    const at = rows.findIndex((row) => row.position === position)
    if (at < 0 || !result.boundary) return result
    const altered = result.boundary.slice()
    altered[at * core.hidden + 3]! ^= 1 << 14
    return { ...result, boundary: altered }
  }
  return new Proxy(engine, { get: (target, name) => (name === 'run' ? run : Reflect.get(target, name, target)) })
}

interface Answered {
  m: Money
  receipt: AnswerReceipt
  leg: PaidLeg
}

/** An answer of three hosts, paid, settled by host 1 and over. */
async function answered(liar: number | null, rowsBytesMax = 0): Promise<Answered> {
  const engines = await Promise.all(thirds.map(([from, to]) => createReferenceEngine(model, { segment: { from, to } })))
  const facts = factsOf(model.manifest)
  const m = money(thirds, {
    rowsBytesMax,
    parameters: { ...hurried(defaultParameters, 60), auditors: 0 },
    registered: {
      facts,
      register: (ledger: Money['ledger']) => {
        ledger.submit(ledger.sign('operator', registrationOf(model.manifest, 1000n, { owner: 300, trainer: 0 }, ledger.who('operator').id)))
        for (const name of ['bob', 'cat', 'dan']) ledger.send(name, 'stake', { amount: 1000n * credit, roles: role.host })
      },
    },
    node: (i: number) => ({ engine: () => (liar === i ? lying(engines[i]!, 6) : engines[i]!) }),
  })
  const sampler = samplerOf({ temperature: 0.9, topK: 20, topP: 0.9, minP: 0, repeatPenalty: 1 })
  const question = { modelId: facts.modelId, prompt: [3, 14, 15, 9, 2], sampler, seed: 7, maxTokens: 6, stopIds: [] }
  const { got, of } = start(m.mesh, question, { model: facts, payer: m.payer() })
  await m.mesh.world.runWith(60_000, () => got.receipt !== null || got.failed !== null)
  of()
  const [leg] = got.receipt!.payments!
  // The host that answers with its stake is the one that settles.
  expect(m.settle([m.mesh.hosts[1]!])).toEqual(['accepted'])
  m.ledger.pass(m.ledger.chain.parameters.sessionGraceMs + 1000)
  expect(m.ledger.chain.state.must(keyOf.session(fromHex(leg!.session)))).toMatchObject({ open: false, paid: false })
  return { m, receipt: got.receipt!, leg: leg! }
}

/** What whoever has the model and the receipt knows of host `host`. */
function witnessOf({ m, receipt, leg }: Answered, host: number): { witness: Witness; said: ReturnType<typeof decodeReceiptClaim> } {
  const { chain } = m.ledger
  const id = fromHex(leg.session)
  const facts = claimFacts(chain, auditedOf(chain, id), host)
  const said = decodeReceiptClaim(fromHex(leg.claims[host]!.claim))
  const about = claimFactsOf(facts, said)
  const key = fromHex(leg.tokenKey)
  const prompt = new TokenList(receipt.question.prompt, key, 0)
  const out = new TokenList(receipt.tokens, key, 1)
  const whole = machineOf(decodeCore(facts.model.core), facts.model.tensorTableRoot, { ...about, segment: null })
  const full = new Trace({ machine: whole, weights: model.weights, prompt, out }).compute()
  const machine = machineOf(decodeCore(facts.model.core), facts.model.tensorTableRoot, about)
  const entering = machine.from === 0 ? [] : Array.from({ length: machine.positions }, (_, p) => full.residual(machine.from - 1, p))
  const trace = new Trace({ machine, weights: model.weights, prompt, out, entering }).compute()
  const records = recordsOf(id, host, fromHex(leg.claims[host]!.records), prompt.tokens.length, host === 2 ? receipt.tokens : null)
  const wrong = machine.to === core.layers ? wrongTail(trace) : wrongRecord(trace, records.outRoot)
  return { witness: { trace, wrong, record: records.open }, said }
}

/** Everyone's turn until there is a verdict. */
function play(
  { m, leg }: Answered,
  host: number,
  said: ReturnType<typeof decodeReceiptClaim>,
  seats: { name: string; choose: typeof refutation; seat: Seat; honest: boolean }[],
): string {
  const { ledger } = m
  const id = fromHex(leg.session)
  const dispute = disputeIdOf(id, host)
  const { claim, signature } = leg.claims[host]!
  for (let round = 0; round < 3000; round++) {
    for (const { name, choose, seat, honest } of seats) {
      const record = ledger.chain.state.get(keyOf.dispute(dispute))
      if (record?.verdict) return record.verdict
      ledger.begin()
      const facts = claimFacts(ledger.chain, auditedOf(ledger.chain, id), host)
      const { activeMs, height, timeMs } = ledger.chain.state.must(keyOf.clock)
      const now = { tau: activeMs, height }
      const game = record
        ? readGame(record.game, facts).game
        : openGame({
            claimId: id,
            claimant: facts.claimant,
            requester: facts.requester,
            stop: said.stop,
            maxTokens: said.maxTokens,
            stopIds: said.stopIds,
            context: core.context,
            stake: facts.stake,
            rules: rulesFor(ledger.chain.parameters, facts, said),
            challengeUntil: activeMs + facts.finalMs - timeMs,
          })
      const move = choose(game, seat, now)
      if (!move) continue
      try {
        ledger.submit(ledger.sign(name, bodyOfMove(facts, move, record !== undefined, { claim: fromHex(claim), signature: fromHex(signature) })))
      } catch (error) {
        // Who is wrong has moves that nobody takes; who is right never has.
        if (honest || !(error instanceof LedgerError)) throw error
      }
    }
    const record = ledger.chain.state.get(keyOf.dispute(dispute))
    if (record && !record.verdict) playTimeoutOf(ledger, dispute, 'eve')
    ledger.block(9000)
  }
  throw new Error('no verdict')
}

test('claims of an honest ring say what the model says, in every layer and at every sampler', async () => {
  const honest = await answered(null)
  for (const host of [0, 1, 2]) expect(witnessOf(honest, host).witness.wrong).toBeNull()
})

test('a host that alters one value of what it sends on is found in its own records, challenged and slashed; the others stand, and its pay returns', async () => {
  const cheated = await answered(1)
  const { m, leg } = cheated
  expect(witnessOf(cheated, 0).witness.wrong).toBeNull()
  const { witness, said } = witnessOf(cheated, 1)
  expect(witness.wrong).toEqual({ layer: 1, position: 6 })
  const session = (): ReturnType<typeof m.ledger.chain.state.must<'session'>> => m.ledger.chain.state.must(keyOf.session(fromHex(leg.session)))
  const { locked } = session().hosts[1]!
  expect(locked).toBeGreaterThan(0n)
  const seat = (name: string, own: Witness): Seat => ({ account: m.ledger.who(name).id, witness: own, nonce: word(`challenge of ${name}`) })
  const before = { ann: m.ledger.account('ann').balance, cat: m.ledger.account('cat').stake }
  const verdict = play(cheated, 1, said, [
    { name: 'ann', choose: refutation, seat: seat('ann', witness), honest: true },
    // The liar defends what it can: its trace is true, its record is not.
    { name: 'cat', choose: (game, one, now) => defence(game, one, now, true), seat: seat('cat', { ...witness, wrong: null }), honest: false },
  ])
  expect(verdict).toBe('fallen')
  expect(before.cat - m.ledger.account('cat').stake).toBe(locked)
  expect(session().hosts.map((host) => host.fallen)).toEqual([false, true, false])
  const third = session().held / 3n
  m.ledger.pass(m.ledger.chain.parameters.claimWindowMs)
  expect(m.ledger.account('ann').balance).toBeGreaterThan(before.ann + third / 2n)
  expect(m.ledger.account('cat').balance).toBeLessThanOrEqual(10_000n * credit)
})

test('an honest host that is challenged keeps its stake and its pay', async () => {
  const honest = await answered(null)
  const { m, leg } = honest
  const { witness, said } = witnessOf(honest, 1)
  const seat = (name: string, own: Witness): Seat => ({ account: m.ledger.who(name).id, witness: own, nonce: word(`challenge of ${name}`) })
  const stake = m.ledger.account('cat').stake
  const verdict = play(honest, 1, said, [
    { name: 'eve', choose: refutation, seat: seat('eve', { ...witness, wrong: { layer: 1, position: 4 } }), honest: false },
    { name: 'cat', choose: (game, one, now) => defence(game, one, now), seat: seat('cat', witness), honest: true },
  ])
  expect(verdict).toBe('upheld')
  expect(m.ledger.account('cat').stake).toBe(stake)
  expect(m.ledger.chain.state.must(keyOf.session(fromHex(leg.session))).hosts.some((host) => host.fallen)).toBe(false)
})

test('hosts keep what their claims are defended with: the rows that entered are those of the signed records, whatever they were', async () => {
  const { m, leg } = await answered(0, 1 << 20)
  const rowBytes = core.hidden * 4
  for (const [host, node] of m.mesh.hosts.entries()) {
    const { claim, signature, records, entering, answer, from, to } = node.retained.get(leg.session)!
    expect([hex(claim), hex(signature), hex(records)]).toEqual([leg.claims[host]!.claim, leg.claims[host]!.signature, leg.claims[host]!.records])
    expect([from, to]).toEqual(thirds[host])
    const { list, root } = recordsOf(fromHex(leg.session), host, records, answer.prompt.length, host === 2 ? answer.tokens : null)
    expect(hex(root)).toBe(hex(decodeReceiptClaim(claim).recordsRoot))
    if (host === 0) expect(entering).toBeNull()
    else expect(areRowsOf(rowsOf(entering!, core.hidden), join(list), 'inRoot')).toBe(true)
  }
  // Ten rows entered hosts 1 and 2 each; where there is less room, the claim is kept without them.
  const small = await answered(null, 9 * rowBytes)
  const kept = small.m.mesh.hosts.map((node) => node.retained.get(small.leg.session)!)
  expect(kept.map(({ entering }) => entering)).toEqual([null, null, null])
  expect(kept.every(({ claim }) => claim.length > 0)).toBe(true)
  const without = await answered(null)
  expect(without.m.mesh.hosts.map((node) => node.retained.size)).toEqual([0, 0, 0])
})
