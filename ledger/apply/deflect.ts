// Who is to blame when a host of a session cannot show what it did. Its rows were handed to it; if those were false, nobody but itself can rebuild its trace, and it may be
// gone. So a later host's dispute waits for open ones about earlier hosts, and is void when one of these has fallen; and who is told late of a dispute has time to accuse an
// earlier host. Blame ends at the first false host in the order of the ring.
import type { Context } from '../context.ts'
import { disputeIdOf } from '../names.ts'
import { keyOf, type Session } from '../records.ts'
import type { Audited } from './audit.ts'

type Known = Pick<Context, 'state'>

const openDispute = ({ state }: Known, id: Uint8Array, host: number) => {
  const dispute = state.get(keyOf.dispute(disputeIdOf(id, host)))
  return dispute && dispute.verdict === null ? dispute : null
}

/** How earlier hosts of its session stand when one cannot show what it did: `void`: one of them has fallen; `waits`: one of them is in dispute. */
export function blameBefore(known: Known, id: Uint8Array, session: Session, host: number): 'void' | 'waits' | null {
  const earlier = session.hosts.slice(0, host)
  if (earlier.some(({ fallen }) => fallen)) return 'void'
  return earlier.some((_, i) => openDispute(known, id, i) !== null) ? 'waits' : null
}

/** Until when a claim may be challenged: an earlier host of a session for as long as defences of a later one may come, if that is later. */
export function finalMsOf(known: Known, one: Audited, host: number): number {
  if (one.kind === 'claim') return one.record.finalMs
  const rules = known.state.get(keyOf.rules)
  let finalMs = one.record.finalMs
  if (!rules || one.record.disputes === 0) return finalMs
  for (let later = host + 1; later < one.record.hosts.length; later++) {
    const dispute = openDispute(known, one.id, later)
    if (dispute) finalMs = Math.max(finalMs, dispute.openedMs + rules.parameters.disputes.defendMs)
  }
  return finalMs
}

/** Disputes about earlier hosts that are open already can be joined for as long: their keys. */
export const earlierDisputes = (known: Known, one: Audited, host: number): Uint8Array[] =>
  one.kind === 'claim' ? [] : one.record.hosts.slice(0, host).flatMap((_, i) => (openDispute(known, one.id, i) ? [disputeIdOf(one.id, i)] : []))
