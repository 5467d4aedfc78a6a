// The dispute game of ledger/dispute/ behind the seam of dispute-hook.ts: bytes in, bytes out, refusals as LedgerError. It knows how job, claim and receipt become the
// facts that the judge's machine is made of, and nothing about money.
import { decodeSampler, noiseKeyOf } from '../protocol/engine/answer.ts'
import type { ClaimFacts } from '../protocol/engine/proof/machine.ts'
import type { Machine } from '../protocol/engine/proof/table.ts'
import { equalBytes } from '../protocol/hash.ts'
import { decodeCore } from '../protocol/model/identity.ts'
import { bytesUpTo, decodeAs, encodeAs, optional, struct } from './codec.ts'
import { DisputeError, type DisputeErrorCode } from './dispute/errors.ts'
import { applyMove, choosesTokens, dueMove, openGame, type Payout } from './dispute/game.ts'
import { machineOfModel } from './dispute/judge.ts'
import { fall, payServers } from './dispute/money.ts'
import { decodeMove, encodeMove, type Move } from './dispute/moves.ts'
import type { Rules } from './dispute/rules.ts'
import { copyOf, decodeGame, encodeGame, type Game, type Moment } from './dispute/state.ts'
import type { DisputedClaim, DisputeGame, DisputeStep, DisputeTime } from './dispute-hook.ts'
import { LedgerError, type Refusal } from './errors.ts'
import { defaultParameters, largestMoveFee, type Parameters } from './genesis.ts'
import { checkInputProof, decodeInputProof, isInputProof } from './input-proof.ts'
import { disputeIdOf } from './names.ts'
import { decodeOpening, decodeReceiptClaim, encodeOpening, type ReceiptClaim, receiptBytes } from './receipt.ts'
import type { BodyOf } from './transaction.ts'

/** A game's record: what the host signed, for receipts, and the game. */
const stored = struct({ receipt: optional(bytesUpTo(1024)), game: bytesUpTo(4 << 20) })

/** T of dispute.md 3: reference time of a position of one layer, ms. Generous for the slowest machine that defends: 30 layers of 100 positions are 30 s. */
const referenceMsPerLayer = 10

const codes: Record<DisputeErrorCode, Refusal> = {
  malformed: 'encoding',
  phase: 'phase',
  unknown: 'missing',
  late: 'phase',
  early: 'phase',
  owner: 'role',
  proof: 'proof',
}

const asLedger = (error: DisputeError): LedgerError => new LedgerError(codes[error.code], error.message)

function attempt<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof LedgerError) throw error
    if (error instanceof DisputeError) throw asLedger(error)
    // A mistake of ours that strangers' bytes brought out: every replica makes the same one, and a chain must not stop for it.
    throw new LedgerError('proof', `the move cannot be played: ${error instanceof Error ? error.message.slice(0, 200) : 'unreadable'}`)
  }
}

const moment = (now: DisputeTime): Moment => ({ tau: now.activeMs, height: now.height })

/** Question and answer of the claim, from the ledger's records or from what the host signed. */
type Question = Pick<ReceiptClaim, 'promptRoot' | 'promptCount' | 'sampler' | 'seed' | 'maxTokens' | 'stopIds' | 'm' | 'stop' | 'outRoot'>

const questionOf = (claim: DisputedClaim, receipt: ReceiptClaim | null): Question => receipt ?? { ...claim.job, ...claim.out }

/**
 * Root of the records of a segment job's claim. Where its layers end before the model's, nothing but rows leaves: they are its answer. At the end it chooses a token, and
 * the log is what remains for the rows that entered.
 */
export const recordsRootOfClaim = ({ outRoot, logRoot }: Pick<DisputedClaim['out'], 'outRoot' | 'logRoot'>, to: number, layers: number): Uint8Array =>
  to === layers ? (logRoot ?? new Uint8Array(32)) : outRoot

/** Facts of the judge's machine. Throws LedgerError for a sampler that is none. */
export function claimFactsOf(claim: DisputedClaim, receipt: ReceiptClaim | null): ClaimFacts {
  const question = questionOf(claim, receipt)
  const whole = decodeCore(claim.model.core).layers
  const { from, to } = claim.layers
  const recordsRoot = receipt ? receipt.recordsRoot : recordsRootOfClaim(claim.out, to, whole)
  let sampler: ClaimFacts['sampler']
  try {
    sampler = decodeSampler(question.sampler)
  } catch (error) {
    throw new LedgerError('encoding', error instanceof Error ? error.message : 'the sampler is none')
  }
  return {
    claimId: claim.claimId,
    promptRoot: question.promptRoot,
    outRoot: question.outRoot,
    prompt: question.promptCount,
    out: question.m,
    sampler,
    // Answers of the mesh are named by the question alone: a session of the ledger may begin in the midst of one.
    noise: noiseKeyOf(receipt ? new Uint8Array(32) : claim.job.id, question.seed),
    segment: from === 0 && to === whole ? null : { from, to, recordsRoot },
  }
}

/** The machine of a claim, as judge and players see it. Throws LedgerError. */
export const machineFor = (claim: DisputedClaim, receipt: ReceiptClaim | null): Machine =>
  attempt(() => machineOfModel(claim.model, claimFactsOf(claim, receipt)))

/** Windows and bonds of a game over a claim (dispute.md 3 and 7). */
export function rulesFor(p: Parameters, claim: DisputedClaim, receipt: ReceiptClaim | null): Rules {
  const { disputes: d } = p
  const question = questionOf(claim, receipt)
  const x = largestMoveFee(p)
  // Shortened as the windows are (genesis.ts hurried): T is a part of the same time.
  const whole = (question.promptCount + question.m) * (claim.layers.to - claim.layers.from) * referenceMsPerLayer
  const reference = Number((BigInt(whole) * BigInt(d.expandMs)) / BigInt(defaultParameters.disputes.expandMs))
  const answer = BigInt(d.bondFees) * claim.fee + BigInt(d.bondMoves) * x
  const step = (claim.fee + 1n) / 2n + BigInt(d.bondMoves) * x
  return {
    challengeWindow: p.claimWindowMs,
    serveWindow: d.dataMs,
    expandWindow: d.expandMs + reference,
    defendWindow: (d.defendMs + 4 * reference) * Math.max(1, Math.min(4, claim.load)),
    pathWindow: d.refuteMs + 2 * reference,
    budget: d.budgetMs,
    floor: d.floorMs,
    blocksMin: d.blocksMin,
    challengeBlocks: 2,
    price: claim.fee,
    bonds: { challenge: answer, defend: answer, path: step, expand: step },
    demandFee: x,
  }
}

/** For players: the game and its machine from a dispute's record. */
export function readGame(bytes: Uint8Array, claim: DisputedClaim): { game: Game; machine: Machine; receipt: ReceiptClaim | null } {
  const { receipt: signed, game } = decodeAs(stored, bytes, 'game')
  const receipt = signed && decodeReceiptClaim(signed)
  return { game: attempt(() => decodeGame(game)), machine: machineFor(claim, receipt), receipt }
}

function play(game: Game, machine: Machine, receipt: Uint8Array | null, move: Move, by: Uint8Array, now: DisputeTime): DisputeStep {
  const played = attempt(() => applyMove(game, move, { by, now: moment(now), machine }))
  if (played instanceof DisputeError) throw asLedger(played)
  return {
    game: encodeAs(stored, { receipt, game: encodeGame(played.game) }),
    bond: played.bond,
    payouts: played.payouts,
    verdict: played.outcome,
    isSilence: move.kind === 'resolve' && played.outcome === 'fallen',
  }
}

function again(bytes: Uint8Array, claim: DisputedClaim, by: Uint8Array, now: DisputeTime, choose: (game: Game, machine: Machine) => Move): DisputeStep {
  const { game, machine } = readGame(bytes, claim)
  const { receipt } = decodeAs(stored, bytes, 'game')
  return play(game, machine, receipt, choose(game, machine), by, now)
}

/** Moves of one kind of transaction only, so that evidence is always a `dispute.judge` and what time does a `dispute.timeout`. */
function only(move: Move, allowed: (kind: Move['kind']) => boolean): Move {
  if (!allowed(move.kind)) throw new LedgerError('encoding', `a move ${move.kind} comes in another transaction`)
  return move
}

/**
 * The transaction that plays a move on a claim: `dispute.open` while there is no game, then the kind the move belongs in. `receipt`: what the host signed, and its
 * signature, for opening a dispute about a receipt.
 */
export function bodyOfMove(
  claim: Pick<DisputedClaim, 'claimId' | 'host'>,
  move: Move,
  isOpen: boolean,
  receipt?: { claim: Uint8Array; signature: Uint8Array },
): BodyOf<'dispute.open' | 'dispute.move' | 'dispute.judge' | 'dispute.timeout'> {
  const bytes = encodeMove(move)
  if (!isOpen)
    return { kind: 'dispute.open', claim: claim.claimId, host: claim.host, opening: receipt ? encodeOpening(receipt.claim, receipt.signature, bytes) : bytes }
  const dispute = disputeIdOf(claim.claimId, claim.host)
  if (move.kind === 'prove') return { kind: 'dispute.judge', dispute, evidence: bytes }
  if (move.kind === 'timeout' || move.kind === 'resolve') return { kind: 'dispute.timeout', dispute }
  return { kind: 'dispute.move', dispute, move: bytes }
}

const opens = new Set<Move['kind']>(['commit', 'demand', 'shot'])

/** Of a segment job that ends before the model does nothing but rows leaves: there are no tokens that anybody could show. */
function hasTokens(move: Move, claim: DisputedClaim, machine: Machine): Move {
  if (move.kind === 'demand' && claim.kind === 'job' && !choosesTokens(machine)) throw new LedgerError('phase', 'the claim is about rows, not tokens')
  return move
}

/** The claim says other input than its job: it falls at once, as by a `shot`. */
function deny(
  before: Game,
  machine: Machine,
  claim: DisputedClaim,
  receipt: Uint8Array | null,
  bytes: Uint8Array,
  by: Uint8Array,
  now: DisputeTime,
): DisputeStep {
  const proof = decodeInputProof(bytes)
  if (before.outcome) throw new LedgerError('phase', `the claim is ${before.outcome}`)
  if (now.activeMs >= before.challengeUntil && !before.finder) throw new LedgerError('phase', 'the claim can no longer be challenged')
  if (!claim.boundary || !machine.boundary) throw new LedgerError('phase', 'no rows were given to this claim')
  const { boundary, positions } = machine
  attempt(() => checkInputProof(proof, positions, boundary, claim.boundary!))
  const game = copyOf(before)
  const payouts: Payout[] = []
  if (!game.demand?.served.includes(null)) payServers(game, payouts)
  fall(game, payouts, by)
  game.outcome = 'fallen'
  return { game: encodeAs(stored, { receipt, game: encodeGame(game) }), bond: 0n, payouts, verdict: 'fallen', isSilence: false }
}

/** The game of a chain on which `chain` names the genesis; `verify` checks what hosts signed. */
export function disputePlay(chain: Uint8Array, verify: (key: Uint8Array, domain: string, bytes: Uint8Array, signature: Uint8Array) => boolean): DisputeGame {
  const receiptOf = (claim: DisputedClaim, opening: Uint8Array): { receipt: ReceiptClaim | null; signed: Uint8Array | null; move: Uint8Array } => {
    if (claim.kind === 'job') return { receipt: null, signed: null, move: opening }
    const { claim: signed, signature, move } = decodeOpening(opening)
    const receipt = decodeReceiptClaim(signed)
    if (!equalBytes(receipt.session, claim.claimId) || receipt.host !== claim.host) throw new LedgerError('proof', 'the receipt is of another session or host')
    if (!verify(claim.claimant, 'receipt', receiptBytes(chain, signed), signature)) throw new LedgerError('signature', 'the receipt is not signed by the host')
    return { receipt, signed, move }
  }
  return {
    open(claim, opening, by, now, parameters) {
      const { receipt, signed, move: bytes } = receiptOf(claim, opening)
      const machine = machineFor(claim, receipt)
      const question = questionOf(claim, receipt)
      const game = openGame({
        claimId: claim.claimId,
        claimant: claim.claimant,
        requester: claim.requester,
        stop: question.stop,
        maxTokens: question.maxTokens,
        stopIds: question.stopIds,
        context: decodeCore(claim.model.core).context,
        stake: claim.stake,
        rules: rulesFor(parameters, claim, receipt),
        challengeUntil: now.activeMs + Math.max(0, claim.finalMs - now.timeMs),
      })
      if (isInputProof(bytes)) return deny(game, machine, claim, signed, bytes, by, now)
      const move = only(
        attempt(() => decodeMove(bytes)),
        (kind) => opens.has(kind),
      )
      return play(game, machine, signed, hasTokens(move, claim, machine), by, now)
    },
    move(game, claim, bytes, by, now) {
      if (isInputProof(bytes)) {
        const { game: state, machine } = readGame(game, claim)
        return deny(state, machine, claim, decodeAs(stored, game, 'game').receipt, bytes, by, now)
      }
      return again(game, claim, by, now, (_, machine) => {
        const move = only(
          attempt(() => decodeMove(bytes)),
          (kind) => kind !== 'prove' && kind !== 'timeout' && kind !== 'resolve',
        )
        return hasTokens(move, claim, machine)
      })
    },
    judge: (game, claim, bytes, by, now) =>
      again(game, claim, by, now, () =>
        only(
          attempt(() => decodeMove(bytes)),
          (kind) => kind === 'prove',
        ),
      ),
    timeout: (game, claim, by, now) =>
      again(game, claim, by, now, (state, machine) => {
        const due = dueMove(state, { now: moment(now), machine })
        if (!due) throw new LedgerError('phase', 'nobody has run out of time, and nothing is decided yet')
        return due
      }),
    extend(bytes, activeMs) {
      const { receipt, game } = decodeAs(stored, bytes, 'game')
      const state = attempt(() => decodeGame(game))
      return encodeAs(stored, { receipt, game: encodeGame({ ...state, challengeUntil: Math.max(state.challengeUntil, activeMs) }) })
    },
  }
}
