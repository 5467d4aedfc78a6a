// Notices as lines for a terminal.
import { formatAmount } from '../../ledger/amount.ts'
import type { Settled } from '../../ledger/settling.ts'
import type { Notice } from '../../protocol/peer/machine.ts'

/** What a host tells its owner; null for what is too frequent or too small. */
export function hostLine(notice: Notice, titleOf: (modelId: string) => string): string | null {
  if (notice.of === 'mesh') return notice.what === 'misbehaved' ? `Peer ${notice.peer.slice(0, 12)} broke the protocol: ${notice.why}.` : null
  if (notice.of !== 'host') return null
  switch (notice.what) {
    case 'state': {
      const held = notice.held.map(({ modelId, segment }) => `${titleOf(modelId)} ${range(segment)}`).join(', ')
      return `${stateWords[notice.state]}${held ? `: ${held}` : ''}.`
    }
    case 'loading':
      return notice.loaded === 0 ? `Loading ${titleOf(notice.modelId)} ${range(notice.segment)}: ${notice.why}.` : null
    case 'loadFailed':
      return `${titleOf(notice.modelId)} could not be loaded: ${notice.message}.`
    case 'opened':
      return `Session ${notice.session.slice(0, 8)} from ${notice.peer.slice(0, 12)}.`
    case 'closed':
      return `Session ${notice.session.slice(0, 8)} ended after ${notice.rows} rows: ${notice.why}.`
    case 'refused':
      return `Refused ${notice.peer.slice(0, 12)}: ${notice.why}.`
    case 'vouched':
    case 'computed':
      return null
  }
}

const range = ({ from, to }: { from: number; to: number }): string => (to - from === 1 ? `layer ${from}` : `layers ${from} to ${to - 1}`)

const stateWords = {
  idle: 'Lending nothing',
  waiting: 'Waiting: no layers fit or none are needed',
  loading: 'Loading',
  serving: 'Serving',
  paused: 'Paused',
  draining: 'Finishing what runs',
  left: 'Left the mesh',
}

/** What a requester tells whoever asked, on stderr. */
export function askLine(notice: Notice): string | null {
  if (notice.of !== 'ask') return null
  switch (notice.what) {
    case 'queued':
      return `Place ${notice.place} in the queue, about ${Math.ceil(notice.waitMs / 1000)} s.`
    case 'route':
      return `Route${notice.epoch > 0 ? ` ${notice.epoch + 1}` : ''}: ${notice.chain.map((link) => `${link.peer.slice(0, 8)} ${range(link)}`).join(' → ')}, about ${notice.tokenMs.toFixed(0)} ms a token.`
    case 'repaired':
      return `Went on after ${notice.stallMs.toFixed(0)} ms without ${notice.lost.map((peer) => peer.slice(0, 8)).join(', ') || 'a host'}: ${notice.reason}.`
    case 'unpaid':
      return `Not paid from here on: ${notice.message}.`
    case 'paid':
      return `Paid ${formatAmount(BigInt(notice.paid))} credits for ${notice.tokens} tokens.`
    default:
      return null
  }
}

/** What became of a voucher that was brought to the ledger. */
export function settledLine({ leg, by, amount, kept }: Settled): string {
  const own = formatAmount(ownShare(kept, amount))
  if (by === 'nobody') return `Session ${leg.slice(0, 8)} could not be settled any more: ${own} credits are lost.`
  return `Session ${leg.slice(0, 8)} is settled${by === 'other' ? ' by another of its hosts' : ''}: ${own} credits are held until its window closes.`
}

export const settledJson = ({ leg, by, amount, bytes, kept }: Settled): Record<string, unknown> => ({
  session: leg,
  by,
  amount: amount.toString(),
  own: ownShare(kept, amount).toString(),
  bytes,
})

/** This host's part of what its ring has earned, before fees and the shares of others: by layers. */
function ownShare({ session, host }: Settled['kept'], amount: bigint): bigint {
  const { from, to } = session.terms.hosts[host]!
  return (amount * BigInt(to - from)) / BigInt(session.terms.hosts.at(-1)!.to)
}
