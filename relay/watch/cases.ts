// Everything about one claim that a watcher needs: what the chain says of it, and the tokens behind its roots. A claim is a job's answer, or what one host of a session
// signed; from here on they are alike.
import type { Audited } from '../../ledger/apply/audit.ts'
import { recordsOf } from '../../ledger/claims.ts'
import { choosesTokens, stopBroken, tokenBreaks } from '../../ledger/dispute/game.ts'
import { decodeMove } from '../../ledger/dispute/moves.ts'
import type { DisputedClaim } from '../../ledger/dispute-hook.ts'
import { claimFactsOf, machineFor } from '../../ledger/dispute-play.ts'
import { LedgerError } from '../../ledger/errors.ts'
import { isInputProof } from '../../ledger/input-proof.ts'
import { disputeIdOf } from '../../ledger/names.ts'
import type { ReceiptClaim } from '../../ledger/receipt.ts'
import { type Job, keyOf } from '../../ledger/records.ts'
import type { ClaimFacts } from '../../protocol/engine/proof/machine.ts'
import type { Machine } from '../../protocol/engine/proof/table.ts'
import { type BoundaryRecord, boundaryRecordBytes, decodeBoundaryRecord, TokenList } from '../../protocol/engine/proof/tokens.ts'
import { Trace } from '../../protocol/engine/proof/trace.ts'
import { equalBytes, hex, join } from '../../protocol/hash.ts'
import { decodeCore } from '../../protocol/model/identity.ts'
import type { ClaimedAnswer, Retained } from '../../protocol/peer/payment.ts'
import { decodeReceiptPin, decodeTokens, type PinnedTokens } from '../ledger/pins.ts'
import { areRowsOf, recordsRootOf, rowsOf } from '../ledger/rows.ts'
import { denialOf, givenRows } from './segments.ts'
import { readSubject } from './subject.ts'
import type { ChainView } from './view.ts'

export interface Case {
  /** Id of the claim or session, and the index of the accused host (0 for a job). */
  id: Uint8Array
  host: number
  audited: Audited
  /** The job of a job's claim. */
  job: Job | null
  facts: DisputedClaim
  /** It cannot fall before an earlier host's dispute is decided. */
  waits: boolean
  receipt: { claim: Uint8Array; signature: Uint8Array; said: ReceiptClaim } | null
  machine: Machine
  claimFacts: ClaimFacts
  /** The model's context. */
  context: number
  question: { maxTokens: number; stopIds: number[]; m: number; stop: number }
  /** Key of the prompt's salts: that of the answer's unless somebody chose another. */
  tokenKey: Uint8Array
  outKey: Uint8Array
  prompt: TokenList
  out: TokenList
  /** Boundary records of a receipt or a segment job's claim, end to end; null where there are none. */
  records: Uint8Array | null
  /** Rows that entered at the first layer, where they are known and those of the records: with them these layers are all that is needed. */
  entering: Int32Array[] | null
  /** Of a segment job: the proof that the claim says other input than it had (ledger/input-proof.ts), where it does. */
  denial: Uint8Array | null
}

/** Why a case cannot be put together: bytes that nobody shows. */
export interface Withheld {
  withheld: string
}

export const caseName = (id: Uint8Array, host: number): string => `${hex(id)}/${host}`

/** Whether the claim breaks the stop rule openly: numbers, or one token that no answer can have. */
export function shotPossible({ machine, question, out, context }: Case): boolean {
  if (!choosesTokens(machine)) return false
  const { prompt, vocab } = machine.tokens
  if (stopBroken({ ...question, context }, prompt, out.tokens.length)) return true
  return out.tokens.some((token, i) => tokenBreaks(question, out.tokens.length, vocab, i, token))
}

/** A trace of which nothing is computed: enough to open tokens. */
export const bareTrace = ({ machine, prompt, out }: Case): Trace => {
  const none = (): never => {
    throw new Error('a trace without a model has no weights')
  }
  return new Trace({ machine, weights: { matrix: none, vector: none, open: none }, prompt, out })
}

/** What an account has itself: token lists, and as a host what it kept of a session it was paid for. */
export interface Own {
  tokens?: readonly PinnedTokens[]
  /** Lists that were handed to this machine, by their root in hex. */
  knows?: (root: string) => PinnedTokens | null
  retained?: Retained | null
}

/** Reads a case; null when there is no such claim any more. Throws RelayError, LedgerError. */
export async function readCase(view: ChainView, id: Uint8Array, host: number, own: Own = {}): Promise<Case | Withheld | null> {
  const subject = await readSubject(view, id, host)
  if (!subject) return null
  const { audited, job, facts, waits } = subject
  const { retained } = own
  let receipt: Case['receipt'] = null
  if (audited.kind === 'session') {
    const bytes = retained ? join([retained.signature, retained.claim]) : await view.pinned(`receipts/${hex(id)}/${host}`)
    if (!bytes) return { withheld: 'the receipt is not pinned' }
    receipt = decodeReceiptPin(bytes)
    if (!equalBytes(receipt.said.session, id) || receipt.said.host !== host) return { withheld: 'the relay shows another receipt' }
  }
  const about = claimFactsOf(facts, receipt?.said ?? null)
  const machine = machineFor(facts, receipt?.said ?? null)
  const handed = [about.promptRoot, about.outRoot].flatMap((root) => own.knows?.(hex(root)) ?? [])
  const known = [...(own.tokens ?? []), ...handed, ...(retained ? tokensOfAnswer(retained.answer) : [])]
  const prompt = await tokensOf(view, about.promptRoot, about.prompt, 0, known, disputeIdOf(id, host))
  // Where only rows leave, no token is claimed.
  const rowsOnly = receipt === null && machine.boundary !== null && !choosesTokens(machine)
  const out = rowsOnly ? noAnswer : await tokensOf(view, about.outRoot, about.out, 1, known, disputeIdOf(id, host))
  if (!prompt || !out) return { withheld: `the ${prompt ? 'answer' : 'prompt'} is not pinned` }
  let records: Uint8Array | null = null
  if (machine.boundary) {
    records = retained
      ? join(recordsOf(id, host, retained.records, about.prompt, choosesTokens(machine) ? out.list.tokens : null).list)
      : await view.pinned(`records/${hex(machine.boundary)}`)
    if (!records || !equalBytes(recordsRootOf(records), machine.boundary)) return { withheld: 'the records are not pinned' }
  }
  const isPart = job?.segment != null && machine.boundary !== null && machine.from > 0
  const given = isPart ? await givenRows(view, job) : null
  if (isPart && !given) return { withheld: 'the rows that entered are not pinned' }
  const asked = receipt?.said ?? { ...facts.job, ...facts.out }
  return {
    id,
    host,
    audited,
    job,
    facts,
    waits,
    receipt,
    machine,
    claimFacts: about,
    context: decodeCore(facts.model.core).context,
    question: { maxTokens: asked.maxTokens, stopIds: asked.stopIds, m: asked.m, stop: asked.stop },
    tokenKey: prompt.key,
    outKey: out.key,
    prompt: prompt.list,
    out: out.list,
    records,
    entering: given ?? keptRows(retained ?? null, records, machine.residual.elements),
    denial: given && records && records.length === given.length * boundaryRecordBytes ? denialOf(records, given) : null,
  }
}

/**
 * The first row about which a host and the one before it have signed different words, as far as both are pinned: what the one sent is not what the other says it got. Each
 * claim may be true by itself, so no judge can tell who lies.
 */
export async function contradictionOf(view: ChainView, { id, host, records }: Case): Promise<number | null> {
  const bytes = host > 0 && records ? await view.pinned(`receipts/${hex(id)}/${host - 1}`) : null
  const sent = bytes && (await view.pinned(`records/${hex(decodeReceiptPin(bytes).said.recordsRoot)}`))
  if (!sent || !records || sent.length !== records.length) return null
  const at = (list: Uint8Array, p: number): BoundaryRecord => decodeBoundaryRecord(list.subarray(p * boundaryRecordBytes, (p + 1) * boundaryRecordBytes))
  for (let p = 0; p < records.length / boundaryRecordBytes; p++) if (!equalBytes(at(sent, p).outRoot, at(records, p).inRoot)) return p
  return null
}

/** The answer of a claim that has none. */
const noAnswer: Opened = { list: new TokenList([0], new Uint8Array(32), 1), key: new Uint8Array(32) }

const tokensOfAnswer = ({ tokenKey, prompt, tokens }: ClaimedAnswer): PinnedTokens[] => [
  { tokenKey, kind: 0, tokens: [...prompt] },
  { tokenKey, kind: 1, tokens: [...tokens] },
]

/** The rows that entered a host, if it kept them: exactly those that its records name. */
const keptRows = (retained: Retained | null, records: Uint8Array | null, hidden: number): Int32Array[] | null => {
  const rows = retained?.entering && rowsOf(retained.entering, hidden)
  return rows && records && areRowsOf(rows, records, 'inRoot') ? rows : null
}

interface Opened {
  list: TokenList
  key: Uint8Array
}

/** A list by its root: one's own, pinned, or served in the dispute; null when nobody shows it. What does not hash to the root does not exist. */
async function tokensOf(
  view: ChainView,
  root: Uint8Array,
  count: number,
  kind: 0 | 1,
  known: readonly PinnedTokens[],
  dispute: Uint8Array,
): Promise<Opened | null> {
  const open = (one: PinnedTokens): Opened | null => {
    if (one.kind !== kind || one.tokens.length !== count) return null
    const list = new TokenList(one.tokens, one.tokenKey, kind)
    return equalBytes(list.root, root) ? { list, key: one.tokenKey } : null
  }
  const first = (all: readonly PinnedTokens[]): Opened | null => all.reduce<Opened | null>((found, one) => found ?? open(one), null)
  return first(known) ?? first(await pinnedTokens(view, root)) ?? first(await servedTokens(view, dispute))
}

async function pinnedTokens(view: ChainView, root: Uint8Array): Promise<PinnedTokens[]> {
  const bytes = await view.pinned(`tokens/${hex(root)}`)
  try {
    return bytes ? [decodeTokens(bytes)] : []
  } catch (error) {
    if (error instanceof LedgerError) return []
    throw error
  }
}

/** Token lists that moves of a dispute have served. */
async function servedTokens(view: ChainView, dispute: Uint8Array): Promise<PinnedTokens[]> {
  if (!(await view.record(keyOf.dispute(dispute)))) return []
  const chunks = new Map<string, { kind: 0 | 1; tokenKey: Uint8Array; parts: Map<number, number[]> }>()
  for (const { transaction } of await view.rounds(dispute)) {
    if (transaction.body.kind !== 'dispute.move' || isInputProof(transaction.body.move)) continue
    const move = decodeMove(transaction.body.move)
    if (move.kind !== 'serve') continue
    const name = `${move.list} ${hex(move.tokenKey)}`
    const one = chunks.get(name) ?? { kind: move.list as 0 | 1, tokenKey: move.tokenKey, parts: new Map<number, number[]>() }
    const bytes = new DataView(move.tokens.buffer, move.tokens.byteOffset, move.tokens.byteLength)
    one.parts.set(
      move.chunk,
      Array.from({ length: move.tokens.length / 4 }, (_, i) => bytes.getUint32(i * 4, true)),
    )
    chunks.set(name, one)
  }
  return [...chunks.values()].map(({ kind, tokenKey, parts }) => {
    const tokens = [...parts.entries()].sort(([a], [b]) => a - b).flatMap(([, part]) => part)
    return { kind, tokenKey, tokens }
  })
}
