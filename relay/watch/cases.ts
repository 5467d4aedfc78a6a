// Everything about one claim that a watcher needs: what the chain says of it, and the tokens behind its roots. A claim is a job's answer, or what one host of a session
// signed; from here on they are alike.
import { type Audited, auditedOf } from '../../ledger/apply/audit.ts'
import { claimFacts } from '../../ledger/apply/dispute.ts'
import { choosesTokens, stopBroken, tokenBreaks } from '../../ledger/dispute/game.ts'
import { decodeMove } from '../../ledger/dispute/moves.ts'
import type { DisputedClaim } from '../../ledger/dispute-hook.ts'
import { claimFactsOf, machineFor } from '../../ledger/dispute-play.ts'
import { LedgerError } from '../../ledger/errors.ts'
import { disputeIdOf } from '../../ledger/names.ts'
import type { ReceiptClaim } from '../../ledger/receipt.ts'
import { type Job, keyOf } from '../../ledger/records.ts'
import { State } from '../../ledger/state.ts'
import type { ClaimFacts } from '../../protocol/engine/proof/machine.ts'
import type { Machine } from '../../protocol/engine/proof/table.ts'
import { TokenList } from '../../protocol/engine/proof/tokens.ts'
import { Trace } from '../../protocol/engine/proof/trace.ts'
import { equalBytes, hex } from '../../protocol/hash.ts'
import { decodeCore } from '../../protocol/model/identity.ts'
import { decodeReceiptPin, decodeTokens, type PinnedTokens, recordsRootOf } from '../ledger/pins.ts'
import type { ChainView } from './view.ts'

export interface Case {
  /** Id of the claim or session, and the index of the accused host (0 for a job). */
  id: Uint8Array
  host: number
  audited: Audited
  /** The job of a job's claim. */
  job: Job | null
  facts: DisputedClaim
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
  /** A receipt's boundary records, end to end; null where there are none. */
  records: Uint8Array | null
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

/** Reads a case; null when there is no such claim any more. `known`: lists that this account has itself. Throws RelayError, LedgerError. */
export async function readCase(view: ChainView, id: Uint8Array, host: number, known: readonly PinnedTokens[] = []): Promise<Case | Withheld | null> {
  const state = new State()
  const claim = await view.record(keyOf.claim(id))
  const session = claim ? null : await view.record(keyOf.session(id))
  if (!claim && !session) return null
  const job = claim && (await view.record(keyOf.job(claim.job)))
  if (claim && !job) return null
  if (claim) state.set(keyOf.claim(id), claim)
  if (session) state.set(keyOf.session(id), session)
  if (claim && job) state.set(keyOf.job(claim.job), job)
  const model = job?.model ?? session!.model
  state.set(keyOf.model(model), await view.must(keyOf.model(model)))
  const audited = auditedOf({ state }, id)
  const facts = claimFacts({ state }, audited, host)
  let receipt: Case['receipt'] = null
  if (session) {
    const bytes = await view.pinned(`receipts/${hex(id)}/${host}`)
    if (!bytes) return { withheld: 'the receipt is not pinned' }
    receipt = decodeReceiptPin(bytes)
    if (!equalBytes(receipt.said.session, id) || receipt.said.host !== host) return { withheld: 'the relay shows another receipt' }
  }
  const about = claimFactsOf(facts, receipt?.said ?? null)
  const prompt = await tokensOf(view, about.promptRoot, about.prompt, 0, known, disputeIdOf(id, host))
  const out = await tokensOf(view, about.outRoot, about.out, 1, known, disputeIdOf(id, host))
  if (!prompt || !out) return { withheld: `the ${prompt ? 'answer' : 'prompt'} is not pinned` }
  const machine = machineFor(facts, receipt?.said ?? null)
  const records = machine.boundary && (await view.pinned(`records/${hex(machine.boundary)}`))
  if (machine.boundary && receipt && (!records || !equalBytes(recordsRootOf(records), machine.boundary))) return { withheld: 'the records are not pinned' }
  const asked = receipt?.said ?? { ...facts.job, ...facts.out }
  return {
    id,
    host,
    audited,
    job,
    facts,
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
  }
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
    if (transaction.body.kind !== 'dispute.move') continue
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
