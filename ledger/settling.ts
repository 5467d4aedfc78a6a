// Bringing kept vouchers to the ledger: one pass over all of them, as often as whoever drives it likes. The last host of a ring goes first; the others look some time
// later whether that was done, and do it themselves when it was not. A voucher is let go only when the ledger has it, or can take it no more.
import { hex } from '../protocol/hash.ts'
import { LedgerError } from './errors.ts'
import { sessionIdOf } from './names.ts'
import { endingOf, settlementOf } from './pay.ts'
import { keyOf, type Session } from './records.ts'
import type { RemoteLedger } from './remote.ts'
import { decodeKept, type KeptSession } from './session.ts'
import type { BodyOf } from './transaction.ts'

/** What a host has kept, by the ledger's name of the session. */
export interface KeptVouchers {
  /** Sessions to which no voucher will come any more, and since when. */
  due(): Promise<{ leg: string; record: Uint8Array; sinceMs: number }[]>
  drop(leg: string): Promise<void>
}

/** Each host before the last of a ring waits this much longer. */
const turnMs = 15_000
/** Vouchers of a session that the ledger has not settled in full by then are settled by whoever has them, whatever its turn. */
const hurryMs = 120_000

export interface Settled {
  leg: string
  /** `by`: this host did it, another had, or nobody can any more. */
  by: 'self' | 'other' | 'nobody'
  amount: bigint
  /** Bytes of the transaction, 0 when another did it. */
  bytes: number
  kept: KeptSession
}

/** When a host's turn comes, ms since 1970. */
export const turnOf = ({ session, host }: KeptSession, sinceMs: number): number => sinceMs + (session.terms.hosts.length - 1 - host) * turnMs

/**
 * Settles what is due and this host's turn. Returns what became of each, and when to come again (null: nothing waits). What the ledger refuses for now, or a relay that
 * does not answer, stays. Throws nothing: `problem` is the last sentence.
 */
export async function settlePass(
  kept: KeptVouchers,
  ledger: RemoteLedger,
  secret: Uint8Array,
  nowMs: number,
): Promise<{ settled: Settled[]; againMs: number | null; problem: string }> {
  const settled: Settled[] = []
  let againMs: number | null = null
  let problem = ''
  const later = (atMs: number): void => {
    againMs = againMs === null ? atMs : Math.min(againMs, atMs)
  }
  for (const { leg, record, sinceMs } of await kept.due()) {
    const one = decodeKept(record)
    const { untilMs } = one.session.terms
    const turn = Math.min(turnOf(one, sinceMs), Math.max(sinceMs, untilMs - hurryMs))
    if (nowMs < turn) {
      later(turn)
      continue
    }
    try {
      const found = await settleOne(one, ledger, secret, nowMs)
      if (!found) {
        later(nowMs + turnMs)
        continue
      }
      settled.push({ leg, kept: one, ...found })
      await kept.drop(leg)
    } catch (error) {
      problem = error instanceof Error ? error.message : 'the ledger cannot be reached'
      later(nowMs + turnMs)
    }
  }
  return { settled, againMs, problem }
}

/** What a host sends to be paid: with every host's word the session ends at once. */
export function settlementBy({ session, host, voucher, ends }: KeptSession, known: boolean): BodyOf<'channel.settle'> | BodyOf<'channel.end'> {
  if (ends.length === 0) return settlementOf(session, voucher, known)
  return endingOf(session, voucher, ends, session.terms.hosts[host]!.account, known)
}

async function settleOne(one: KeptSession, ledger: RemoteLedger, secret: Uint8Array, nowMs: number): Promise<Pick<Settled, 'by' | 'amount' | 'bytes'> | null> {
  const { session, voucher } = one
  const { amount } = voucher
  const id = sessionIdOf(session.chain, session.owner, session.channel, session.session)
  const { chain } = await ledger.chain()
  if (hex(chain) !== hex(session.chain)) throw new LedgerError('chain', 'the voucher is of another chain than this relay keeps')
  const known: Session | null = await ledger.record(keyOf.session(id)).catch((error) => {
    if (error instanceof LedgerError && error.code === 'missing') return null
    throw error
  })
  if (known && known.settled >= amount) return { by: 'other', amount, bytes: 0 }
  if ((known && !known.open) || nowMs >= session.terms.untilMs) return { by: 'nobody', amount, bytes: 0 }
  try {
    const { bytes } = await ledger.submit(secret, settlementBy(one, known !== null))
    return { by: 'self', amount, bytes }
  } catch (error) {
    if (!(error instanceof LedgerError)) throw error
    // Acknowledged by nobody, but there: our own, whose answer was lost, or another host's in this very block.
    if (error.code === 'stale') return { by: 'other', amount, bytes: 0 }
    if (error.code === 'nonce' || error.code === 'proof' || error.code === 'missing') return null
    // A relay that is older than ends, or words that it finds wrong: the voucher alone is worth the same to a host.
    if (one.ends.length > 0) return settleOne({ ...one, ends: [] }, ledger, secret, nowMs)
    throw error
  }
}
