// A dispute for people: its transactions as lines, and how it stands now.
import { decodeMove, type Move } from '../../ledger/dispute/moves.ts'
import { type Standing, standingOf } from '../../ledger/dispute/story.ts'
import { readGame } from '../../ledger/dispute-play.ts'
import { isInputProof } from '../../ledger/input-proof.ts'
import type { Dispute } from '../../ledger/records.ts'
import { hex } from '../../protocol/hash.ts'
import { RefusedError } from '../ledger/client.ts'
import { readSubject } from './subject.ts'
import type { ChainView, Round } from './view.ts'

/** One transaction of a dispute, as people and programs read it. */
export interface RoundLine {
  height: number
  from: string
  bytes: number
  move: string
  detail: string
}

export function roundLine({ height, transaction }: Round): RoundLine {
  const { body, from, size } = transaction
  const common = { height, from: hex(from), bytes: size }
  if (body.kind === 'dispute.timeout') return { ...common, move: 'timeout', detail: 'time is over, or everything is decided' }
  const bytes = body.kind === 'dispute.open' ? body.opening : body.kind === 'dispute.judge' ? body.evidence : body.kind === 'dispute.move' ? body.move : null
  if (!bytes) return { ...common, move: body.kind, detail: '' }
  if (isInputProof(bytes)) return { ...common, move: 'deny', detail: 'a record of the claim says other input than the job gave' }
  try {
    const move = decodeMove(bytes)
    return { ...common, move: move.kind, detail: detailOf(move) }
  } catch {
    // The opening of a receipt: what the host signed stands around the move.
    return { ...common, move: body.kind, detail: '' }
  }
}

function detailOf(move: Move): string {
  switch (move.kind) {
    case 'defend':
      return `root ${hex(move.top).slice(0, 12)}`
    case 'path':
      return `against root ${move.root}, from node ${move.index} of level ${move.level}`
    case 'unit':
      return `against root ${move.root}, at layer ${move.layer}, position ${move.position}`
    case 'reveal':
      return `node ${move.index} of level ${move.level}, ${move.children.length / 32} children`
    case 'open':
      return `step ${move.stage}, ${move.level === 0 ? `tile ${move.index}` : `node ${move.index} of level ${move.level}`}, ${move.bytes.length} bytes`
    case 'pick':
      return `path ${move.path}, number ${move.choice}`
    case 'expand':
      return `layer ${move.layer}, position ${move.position}: ${move.steps.length / 32} steps`
    case 'prove':
      return `${move.evidence.length} bytes of evidence`
    case 'serve':
      return `${move.tokens.length / 4} tokens of the ${move.list === 0 ? 'prompt' : 'answer'}`
    default:
      return ''
  }
}

/** A dispute as it stands, and the layers of its model; null for the standing of one that is decided. */
export async function readStanding(view: ChainView, dispute: Dispute): Promise<{ standing: Standing; layers: number } | null> {
  if (dispute.verdict) return null
  const subject = await readSubject(view, dispute.claim, dispute.host)
  if (!subject) throw new RefusedError('missing', 'The ledger no longer has the claim that this dispute is about.')
  const { game, machine } = readGame(dispute.game, subject.facts)
  const clock = await view.clock()
  return { standing: standingOf(game, machine, { tau: clock.activeMs, height: clock.height }), layers: subject.layers }
}
