// What an account earned, line by line: first held, when its session was settled, then paid, when its window has closed. Pure.
import type { AccountEvent } from './client.ts'

export interface Earning {
  /** Session, job or audited claim, hex. */
  subject: string
  /** µ held the last time it was settled; nothing any more once it is paid. */
  held: bigint
  paid: bigint
  /** Of the newest event. */
  timeMs: number
  height: number
}

/** `events` newest first, as the ledger lists them. A host may settle a session several times: what is held is what its last settlement says. */
export function earningsOf(events: readonly AccountEvent[]): Earning[] {
  const found = new Map<string, Earning>()
  for (const { type, subject, amount, timeMs, height } of events) {
    if (!subject || (type !== 'held' && type !== 'paid')) continue
    const one = found.get(subject)
    if (!one) found.set(subject, { subject, held: type === 'held' ? amount : 0n, paid: type === 'paid' ? amount : 0n, timeMs, height })
    else if (type === 'paid') one.paid += amount
    // Older than what is there: the newest settlement counts, and none after a payment.
    else if (one.held === 0n && one.paid === 0n) one.held = amount
  }
  return [...found.values()]
}
