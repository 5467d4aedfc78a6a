// What is kept of an answer that the swarm gave: who computed which layers, how long the hops took, what broke and was mended, and the signed receipt. Pure.
import { chainMax } from '../../protocol/limits.ts'
import type { ChainLink, Notice, PeerKey } from '../../protocol/peer/machine.ts'
import type { AnswerReceipt } from '../../protocol/peer/receipt.ts'
import type { AskEvent } from '../workers/messages.ts'
import type { Without } from './channel.ts'

export interface Hop extends ChainLink {
  /** Sums over all rounds, milliseconds. */
  waitMs: number
  computeMs: number
  rounds: number
}

export interface Repair {
  /** Hosts that are no longer used. */
  lost: PeerKey[]
  reason: string
  stallMs: number
}

export interface SwarmAnswer {
  /** The ring of hosts that finished it, in layer order. */
  hops: Hop[]
  /** Hosts that took part but did not finish. */
  left: ChainLink[]
  repairs: Repair[]
  rounds: number
  /** Sum over all rounds. */
  roundMs: number
  /** Guessed rows that rounds carried, and how many were right. */
  guesses: number
  guessed: number
  receipt: AnswerReceipt | null
  /** What it cost, µ; null when nothing was paid. */
  payment: { paid: number; limit: number; returned: number; sessions: string[] } | null
}

/** What comes of a question to the swarm, in order; as from this device's engine, and more. */
export type SwarmEvent =
  | Without<AskEvent, 'id'>
  /** A place in the queue; 0 is next. */
  | { kind: 'queued'; place: number; waitMs: number }
  /** The hosts, times, repairs and receipt as known so far. */
  | { kind: 'swarm'; swarm: SwarmAnswer }

export const emptySwarmAnswer = (): SwarmAnswer => ({
  hops: [],
  left: [],
  repairs: [],
  rounds: 0,
  roundMs: 0,
  guesses: 0,
  guessed: 0,
  receipt: null,
  payment: null,
})

type AskNotice = Extract<Notice, { of: 'ask' }>

const same = (a: ChainLink, b: ChainLink): boolean => a.peer === b.peer && a.from === b.from && a.to === b.to

/** The answer with one more fact. */
export function withNotice(answer: SwarmAnswer, notice: AskNotice): SwarmAnswer {
  if (notice.what === 'route') {
    const hops = notice.chain.map((link) => answer.hops.find((hop) => same(hop, link)) ?? { ...link, waitMs: 0, computeMs: 0, rounds: 0 })
    const gone = answer.hops.filter((hop) => !hops.some((other) => same(hop, other))).map(({ peer, from, to }) => ({ peer, from, to }))
    return { ...answer, hops, left: [...answer.left, ...gone] }
  }
  if (notice.what === 'round') {
    const hops = answer.hops.map((hop, index) => {
      const time = notice.hops[index]
      return time ? { ...hop, waitMs: hop.waitMs + time.waitMs, computeMs: hop.computeMs + time.computeMs, rounds: hop.rounds + 1 } : hop
    })
    // Of the rows of a round one is the last token itself, the others are guesses.
    const guesses = Math.max(0, notice.rows - 1)
    const guessed = Math.min(guesses, Math.max(0, notice.accepted - 1))
    return {
      ...answer,
      hops,
      rounds: answer.rounds + 1,
      roundMs: answer.roundMs + notice.roundMs,
      guesses: answer.guesses + guesses,
      guessed: answer.guessed + guessed,
    }
  }
  if (notice.what === 'repaired') {
    const { lost, reason, stallMs } = notice
    return { ...answer, repairs: [...answer.repairs, { lost, reason, stallMs }] }
  }
  if (notice.what === 'paid') {
    const { paid, limit, legs } = notice
    return { ...answer, payment: { paid, limit, returned: limit - paid, sessions: legs.map((leg) => leg.session) } }
  }
  if (notice.what === 'receipt') return { ...answer, receipt: notice.receipt }
  return answer
}

// ---- reading one from a file that a person imports

const record = (value: unknown): Record<string, unknown> => (typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {})
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value.slice(0, 1000) : [])
const number = (value: unknown): number => (typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : 0)
const isKey = (value: unknown): value is PeerKey => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

function linkOf(json: unknown): ChainLink[] {
  const { peer, from, to } = record(json)
  return isKey(peer) && isCount(from) && isCount(to) ? [{ peer, from, to }] : []
}

/** A receipt as JSON when it names what pages show of it, else null. The check worker reads every field of it (protocol/peer/blame.ts) before it believes one. */
function receiptOf(json: unknown): AnswerReceipt | null {
  const { version, session, question, hosts, tokens } = record(json)
  const whole = version === 1 && /^[0-9a-f]{32}$/.test(String(session)) && isKey(record(question).modelId) && Array.isArray(tokens) && Array.isArray(hosts)
  return whole && hosts.length <= chainMax ? (json as AnswerReceipt) : null
}

function paymentOf(json: unknown): SwarmAnswer['payment'] {
  if (typeof json !== 'object' || json === null) return null
  const { paid, limit, returned, sessions } = record(json)
  return { paid: number(paid), limit: number(limit), returned: number(returned), sessions: list(sessions).filter(isKey) }
}

/** What an exported chat says of an answer of the swarm; null for an answer of the own device. */
export function swarmAnswerOf(json: unknown): SwarmAnswer | null {
  if (typeof json !== 'object' || json === null) return null
  const { hops, left, repairs, rounds, roundMs, guesses, guessed, receipt, payment } = record(json)
  return {
    hops: list(hops).flatMap((hop) => {
      const { waitMs, computeMs, rounds } = record(hop)
      return linkOf(hop).map((link) => ({ ...link, waitMs: number(waitMs), computeMs: number(computeMs), rounds: number(rounds) }))
    }),
    left: list(left).flatMap(linkOf),
    repairs: list(repairs).map((repair) => {
      const { lost, reason, stallMs } = record(repair)
      return { lost: list(lost).filter(isKey), reason: typeof reason === 'string' ? reason.slice(0, 300) : '', stallMs: number(stallMs) }
    }),
    rounds: number(rounds),
    roundMs: number(roundMs),
    guesses: number(guesses),
    guessed: number(guessed),
    receipt: receiptOf(receipt),
    payment: paymentOf(payment),
  }
}
