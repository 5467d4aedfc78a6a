// Disputes through the ledger: real tiny models, real traces, every move a signed transaction, the money where it belongs.
import { beforeAll, expect, test } from 'vitest'
import { challengeHash } from '../../ledger/dispute/game.ts'
import { encodeMove } from '../../ledger/dispute/moves.ts'
import { defence, refutation, type Seat, wrongTail } from '../../ledger/dispute/player.ts'
import { defaultParameters, hurried } from '../../ledger/genesis.ts'
import { claimIdOf, disputeIdOf, jobIdOf, outOf, sessionIdOf } from '../../ledger/names.ts'
import { encodeOpening, encodeReceiptClaim, type ReceiptClaim, signReceiptClaim } from '../../ledger/receipt.ts'
import { keyOf } from '../../ledger/records.ts'
import { commitmentOf, role } from '../../ledger/transaction.ts'
import { encodeSampler, noiseKeyOf } from '../../protocol/engine/answer.ts'
import { TokenList } from '../../protocol/engine/proof/tokens.ts'
import { Trace } from '../../protocol/engine/proof/trace.ts'
import { greedy } from '../../protocol/engine/sampler.ts'
import { fromHex } from '../../protocol/hash.ts'
import { modelIdOf } from '../../protocol/model/identity.ts'
import { registrationOf } from '../../relay/ledger/registration.ts'
import { answer, smallCore, type TinyModel, tinyModel } from './dispute/tiny.ts'
import { machineOfClaim, playTimeout, playTimeoutOf, playTurn, type Strategy } from './dispute-seat.ts'
import { credit, World, word } from './world.ts'

let model: TinyModel
beforeAll(async () => {
  model = await tinyModel(smallCore('llama'))
})

const tokenKey = word('token key')
const promptTokens = [3, 14, 15, 9]

interface Claimed {
  world: World
  job: Uint8Array
  claim: Uint8Array
  seat: (name: string) => Seat
}

/** A job of ann's about the tiny model, answered by bob with what `change` makes of the truth. */
async function claimed(change: (tokens: number[]) => number[]): Promise<Claimed> {
  const world = new World({ parameters: { ...hurried(defaultParameters, 60), auditors: 0 } })
  const trainer = world.who('operator').id
  const registration = registrationOf(model.manifest, 1000n, { owner: 500, trainer: 0 }, trainer)
  world.submit(world.sign('operator', registration))
  world.send('bob', 'stake', { amount: 1000n * credit, roles: role.host })
  world.block()
  const prompt = new TokenList(promptTokens, tokenKey, 0)
  const body = world.jobBody(fromHex(modelIdOf(model.manifest)), {
    promptRoot: prompt.root,
    promptCount: promptTokens.length,
    sampler: encodeSampler(greedy),
    maxTokens: 3,
    stopIds: [],
  })
  const job = jobIdOf(world.name, world.who('ann').id, world.account('ann').nonce, body)
  world.send('ann', 'job.create', body)
  const noise = noiseKeyOf(job, body.seed)
  const { tokens } = await answer(model, { prompt: promptTokens, sampler: greedy, noise, maxTokens: 3, stopIds: [] })
  const said = change(tokens)
  const list = new TokenList(said, tokenKey, 1)
  const out = { m: said.length, stop: 2, outRoot: list.root, logRoot: null }
  world.send('bob', 'job.commit', { job, commitment: commitmentOf(world.name, world.who('bob').id, outOf(job, out), word('nonce')) })
  world.block()
  world.send('bob', 'job.reveal', { job, ...out, answer: word('answer'), nonce: word('nonce') })
  world.block()
  const claim = claimIdOf(outOf(job, out), world.who('bob').id)
  const machine = machineOfClaim(world, claim)
  const trace = new Trace({ machine, weights: model.weights, prompt, out: list }).compute()
  const witness = { trace, wrong: wrongTail(trace) }
  return { world, job, claim, seat: (name) => ({ account: world.who(name).id, witness, nonce: word(`challenge of ${name}`) }) }
}

/** Plays until there is a verdict; returns the moves of each player. */
function playOut({ world, claim }: Claimed, players: Record<string, Strategy>): string[] {
  const moves: string[] = []
  for (let round = 0; round < 3000; round++) {
    for (const [name, strategy] of Object.entries(players)) {
      const move = playTurn(world, claim, name, strategy)
      if (move) moves.push(`${name} ${move.kind}`)
    }
    const dispute = world.chain.state.get(keyOf.dispute(disputeIdOf(claim, 0)))
    if (dispute && !dispute.verdict && playTimeout(world, claim, 'eve')) moves.push('eve timeout')
    world.block(9000)
    if (world.chain.state.get(keyOf.dispute(disputeIdOf(claim, 0)))?.verdict) return moves
  }
  throw new Error(`no verdict after ${moves.join(', ')}`)
}

test('a false answer that its claimant defends to the end falls: the stake pays requester and finder, the fee returns', async () => {
  const game = await claimed((tokens) => [tokens[0], (tokens[1] + 1) % 70, tokens[2]])
  const { world, job, claim, seat } = game
  expect(seat('dan').witness.wrong).not.toBe(null)
  const stake = world.chain.state.must(keyOf.claim(claim)).stake
  const before = { ann: world.account('ann').balance, bob: world.account('bob').stake, dan: world.account('dan').balance }
  const moves = playOut(game, { dan: (g, now) => refutation(g, seat('dan'), now), bob: (g, now) => defence(g, seat('bob'), now, true) })
  expect(moves.some((move) => move.endsWith('prove') || move.endsWith('timeout'))).toBe(true)
  expect(world.chain.state.must(keyOf.dispute(disputeIdOf(claim, 0))).verdict).toBe('fallen')
  expect(world.chain.state.get(keyOf.job(job))).toBe(undefined)
  expect(before.bob - world.account('bob').stake).toBe(stake)
  expect(world.account('bob').locked).toBe(0n)
  expect(world.account('ann').balance).toBe(before.ann + (credit / 10n) * 2n)
  expect(world.account('dan').balance).toBeGreaterThan(before.dan + stake / 10n)
  expect(world.refusal(world.sign('bob', { kind: 'job.claim', job }))).toBe('missing')
  expect(world.chain.state.must(keyOf.reputation(world.who('bob').id)).lost).toBe(1)
})

test('a true answer that a griefer challenges stands: the bond pays its defender, and the claim is paid', async () => {
  const game = await claimed((tokens) => tokens)
  const { world, job, claim, seat } = game
  expect(seat('bob').witness.wrong).toBe(null)
  const before = { bob: world.account('bob').stake, cat: world.account('cat').balance, eve: world.account('eve').balance }
  const griefer: Strategy = (g, now) => {
    // Pretends that a tail is wrong, and descends wherever it can.
    const liar = { ...seat('cat'), witness: { ...seat('cat').witness, wrong: { layer: 2, position: 4 } } }
    return g.outcome ? null : refutation(g, liar, now)
  }
  const moves = playOut(game, { cat: griefer, bob: (g, now) => defence(g, seat('bob'), now) })
  expect(moves.some((move) => move === 'cat challenge')).toBe(true)
  expect(moves.some((move) => move === 'bob defend')).toBe(true)
  expect(world.chain.state.must(keyOf.dispute(disputeIdOf(claim, 0))).verdict).toBe('upheld')
  expect(world.account('bob').stake).toBe(before.bob)
  expect(world.account('cat').balance).toBeLessThan(before.cat - credit)
  world.pass(world.chain.parameters.claimWindowMs)
  world.send('bob', 'job.claim', { job })
  world.block()
  expect(world.account('bob').locked).toBe(0n)
})

test('a claim cannot be paid while it is in dispute, nor be challenged twice or too late', async () => {
  const game = await claimed((tokens) => [tokens[0], (tokens[1] + 1) % 70, tokens[2]])
  const { world, job, claim, seat } = game
  playTurn(world, claim, 'dan', (g, now) => refutation(g, seat('dan'), now))
  world.block()
  expect(() => world.send('cat', 'dispute.open', { claim, host: 0, opening: new Uint8Array(0) })).toThrow(/challenged already/)
  expect(world.refusal(world.sign('bob', { kind: 'job.claim', job }))).toBe('phase')
  const late = await claimed((tokens) => tokens)
  late.world.pass(late.world.chain.parameters.claimWindowMs)
  expect(() => playTurn(late.world, late.claim, 'dan', () => ({ kind: 'demand' }))).toThrow(/cannot be challenged/)
})

test('a receipt of a swarm session is a claim: signed by its host, challenged, undefended, fallen; the others are paid', () => {
  const world = new World({ parameters: { ...hurried(defaultParameters, 60), auditors: 0 } })
  world.submit(world.sign('operator', registrationOf(model.manifest, 1000n, { owner: 500, trainer: 0 }, world.who('operator').id)))
  world.send('bob', 'stake', { amount: 100n * credit, roles: role.host })
  world.send('ann', 'channel.open', { number: 0, deposit: 10n * credit })
  const hosts = ['cat', 'bob'].map((name, i) => ({ account: world.who(name).id, from: i, to: i + 1 }))
  const terms = { model: fromHex(modelIdOf(model.manifest)), hosts, limit: 2n * credit, untilMs: world.timeMs + 3_600_000 }
  world.block()
  world.send('bob', 'channel.settle', world.voucher('ann', 0, terms, credit, true))
  world.pass(60_000)
  const session = sessionIdOf(world.name, world.who('ann').id, 0, 0)
  const record = world.chain.state.must(keyOf.session(session))
  expect(record).toMatchObject({ open: false, paid: false })
  const said: ReceiptClaim = {
    session,
    host: 1,
    promptRoot: new TokenList(promptTokens, tokenKey, 0).root,
    promptCount: promptTokens.length,
    sampler: encodeSampler(greedy),
    seed: word('seed'),
    maxTokens: 3,
    stopIds: [],
    m: 3,
    stop: 2,
    outRoot: new TokenList([1, 2, 3], tokenKey, 1).root,
    recordsRoot: word('records'),
  }
  const dan = world.who('dan').id
  const nonce = word('challenge')
  const commit = encodeMove({ kind: 'commit', hash: challengeHash(session, dan, nonce) })
  const opening = (claim: ReceiptClaim, signer: string, host = 1) => {
    const bytes = encodeReceiptClaim(claim)
    const signature = signReceiptClaim(world.who(signer).secret, world.name, bytes)
    return world.sign('dan', { kind: 'dispute.open', claim: session, host, opening: encodeOpening(bytes, signature, commit) })
  }
  expect(world.refusal(opening(said, 'ann'))).toBe('signature')
  expect(world.refusal(opening({ ...said, host: 0 }, 'bob'))).toBe('proof')
  expect(world.refusal(opening({ ...said, session: word('another') }, 'bob'))).toBe('proof')
  world.submit(opening(said, 'bob'))
  world.block()
  world.block()
  const dispute = disputeIdOf(session, 1)
  world.send('dan', 'dispute.move', { dispute, move: encodeMove({ kind: 'challenge', nonce }) })
  const before = { ann: world.account('ann').balance, bob: world.account('bob').stake }
  while (!playTimeoutOf(world, dispute, 'eve')) world.block(9000)
  world.block()
  expect(world.chain.state.must(keyOf.dispute(dispute)).verdict).toBe('fallen')
  expect(before.bob - world.account('bob').stake).toBe(record.hosts[1].locked)
  const [cat, bob] = [world.account('cat').balance, world.account('bob').balance]
  world.pass(world.chain.parameters.claimWindowMs)
  expect(world.account('cat').balance).toBeGreaterThan(cat + credit / 3n)
  expect(world.account('bob').balance).toBe(bob)
  expect(world.account('ann').balance).toBeGreaterThan(before.ann + credit / 3n)
})

test('a sealed answer is challenged by its requester only', async () => {
  const game = await claimed((tokens) => tokens)
  const { world, claim } = game
  const key = keyOf.job(game.job)
  world.chain.state.set(key, { ...world.chain.state.must(key), privacy: 2 })
  world.begin()
  world.chain.state.keep()
  expect(() => playTurn(world, claim, 'dan', () => ({ kind: 'demand' }))).toThrow(/not open/)
  expect(playTurn(world, claim, 'ann', () => ({ kind: 'demand' }))).toEqual({ kind: 'demand' })
})
