// What is needed to tell a dispute: its moves, the claim it is about, and the model's facts, all from transactions and records that were proven in this tab. A fallen claim has left
// the state; the log still knows it.

import { machineOfModel } from '../../ledger/dispute/judge.ts'
import { decodeMove } from '../../ledger/dispute/moves.ts'
import type { DisputedClaim } from '../../ledger/dispute-hook.ts'
import { claimFactsOf } from '../../ledger/dispute-play.ts'
import { isInputProof } from '../../ledger/input-proof.ts'
import { decodeOpening, decodeReceiptClaim, type ReceiptClaim } from '../../ledger/receipt.ts'
import { keyOf } from '../../ledger/records.ts'
import type { Body, BodyOf } from '../../ledger/transaction.ts'
import type { Machine } from '../../protocol/engine/proof/table.ts'
import { hex } from '../../protocol/hash.ts'
import type { Ledger } from '../ledger/client.ts'
import { NotProven, type ProvenTransaction } from '../ledger/proof.ts'
import { type Played, type Round, storyOf } from './narrow.ts'

export interface Told {
  /** What is in dispute: a job's answer, or a host's receipt of a session. */
  about: { kind: 'job' | 'session'; id: string }
  claim: string
  rounds: (Round & { transaction: ProvenTransaction })[]
  model: string
}

const bodyOf = <K extends Body['kind']>(list: readonly ProvenTransaction[], kind: K): { tx: ProvenTransaction; body: BodyOf<K> } | null => {
  const tx = list.find(({ transaction }) => transaction.body.kind === kind)
  return tx ? { tx, body: tx.transaction.body as BodyOf<K> } : null
}

const none = new Uint8Array(32)

/** Asks for all there is about a dispute and tells it. Throws NotProven, and with a sentence when the log lacks what it needs. */
export async function tellDispute(ledger: Ledger, id: string): Promise<Told> {
  const rounds = await ledger.rounds(id)
  const opened = bodyOf(rounds, 'dispute.open')
  if (!opened) throw new Error('The relay shows no transaction that opened this dispute.')
  const { claim, host, opening } = opened.body
  const about = await ledger.transactions({ about: hex(claim), limit: 200 })
  const reveal = bodyOf(about.list, 'job.reveal')
  const found = reveal ? await jobFacts(ledger, reveal.tx, reveal.body, claim) : await receiptFacts(about.list, claim, host, opening)
  const model = (await ledger.record(keyOf.model(found.facts.model.id))).record
  if (!model) throw new NotProven('the model of this claim is not in the state')
  const facts: DisputedClaim = { ...found.facts, model: { ...model, id: found.facts.model.id } }
  if (facts.layers.to === 0) facts.layers = { from: 0, to: model.layers }
  const machine: Machine = machineOfModel(facts.model, claimFactsOf(facts, found.receipt))
  const played = rounds.map((one): Played => ({ by: hex(one.transaction.from), move: moveOf(one.transaction.body, found.receipt !== null) }))
  const story = storyOf(machine, played, () => performance.now())
  return { about: found.about, claim: hex(claim), rounds: story.map((round, i) => ({ ...round, transaction: rounds[i] })), model: hex(facts.model.id) }
}

function moveOf(body: Body, isReceipt: boolean): Played['move'] {
  switch (body.kind) {
    case 'dispute.open':
      if (!isReceipt && isInputProof(body.opening)) return 'denial'
      return decodeMove(isReceipt ? decodeOpening(body.opening).move : body.opening)
    case 'dispute.move':
      if (isInputProof(body.move)) return 'denial'
      return decodeMove(body.move)
    case 'dispute.judge':
      return decodeMove(body.evidence)
    default:
      return null
  }
}

interface Found {
  about: Told['about']
  facts: DisputedClaim
  receipt: ReceiptClaim | null
}

/** Money and times play no part in the story. */
const untold = { fee: 0n, stake: 0n, revealedAtMs: 0, finalMs: 0, load: 1 }
const modelNamed = (id: Uint8Array): DisputedClaim['model'] => ({ id, core: none, tensorTableRoot: none, constTablesRoot: none, shardListHash: none })

async function jobFacts(ledger: Ledger, tx: ProvenTransaction, reveal: BodyOf<'job.reveal'>, claim: Uint8Array): Promise<Found> {
  const created = bodyOf((await ledger.transactions({ about: hex(reveal.job), limit: 200 })).list, 'job.create')
  if (!created) throw new Error('The relay shows no transaction that created this job.')
  const { body } = created
  const facts: DisputedClaim = {
    ...untold,
    kind: 'job',
    claimId: claim,
    claimant: tx.transaction.from,
    requester: created.tx.transaction.from,
    model: modelNamed(body.model),
    layers: body.segment?.layers ?? { from: 0, to: 0 },
    boundary: null,
    job: { id: reveal.job, ...body },
    out: { m: reveal.m, stop: reveal.stop, outRoot: reveal.outRoot, logRoot: reveal.logRoot },
    host: 0,
  }
  return { about: { kind: 'job', id: hex(reveal.job) }, facts, receipt: null }
}

async function receiptFacts(about: readonly ProvenTransaction[], session: Uint8Array, host: number, opening: Uint8Array): Promise<Found> {
  const bodies = about.map(({ transaction: { body } }) => body)
  const settled = bodies.find((body) => (body.kind === 'channel.settle' || body.kind === 'channel.end') && body.terms !== null)
  if (!settled) throw new Error('The relay shows no settlement of this session with its terms.')
  const { owner, terms } = settled as BodyOf<'channel.settle'>
  const receipt = decodeReceiptClaim(decodeOpening(opening).claim)
  const accused = terms!.hosts[host]
  const facts: DisputedClaim = {
    ...untold,
    kind: 'receipt',
    claimId: session,
    claimant: accused.account,
    requester: owner,
    model: modelNamed(terms!.model),
    layers: { from: accused.from, to: accused.to },
    boundary: null,
    job: { ...receipt, id: session, programVersion: 1, privacy: 0 },
    out: { m: receipt.m, stop: receipt.stop, outRoot: receipt.outRoot, logRoot: null },
    host,
  }
  return { about: { kind: 'session', id: hex(session) }, facts, receipt }
}
