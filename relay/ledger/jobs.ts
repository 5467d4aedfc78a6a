// A question put on the ledger: the job, its tokens where solvers and auditors read them, and the rows that enter where it is about some layers.
import { randomBytes } from 'node:crypto'
import { jobIdOf } from '../../ledger/names.ts'
import { type BodyOf, privacyClasses } from '../../ledger/transaction.ts'
import { encodeSampler } from '../../protocol/engine/answer.ts'
import { TokenList } from '../../protocol/engine/proof/tokens.ts'
import { greedy } from '../../protocol/engine/sampler.ts'
import { fromHex, hashTagged, hex } from '../../protocol/hash.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { ChainView } from '../watch/view.ts'
import type { Acknowledged, LedgerClient } from './client.ts'
import { encodeTokens, type PinnedTokens } from './pins.ts'
import { encodeRows, flatRows, inputRecords, recordsRootOf, rootsOfRows } from './rows.ts'

export interface JobQuestion {
  /** Model id in hex. */
  model: string
  tokens: readonly number[]
  maxTokens: number
  stopIds: readonly number[]
  /** µ. */
  fee: bigint
  deadlineMs: number
  privacy?: number
  /** Some layers only; `rows` enter where they do not begin with layer 0. */
  segment?: { from: number; to: number; rows: readonly Int32Array[] | null }
}

export interface CreatedJob {
  job: Uint8Array
  body: BodyOf<'job.create'>
  /** What was asked: shown to all where the job is open. */
  prompt: PinnedTokens
  sent: Acknowledged & { fee: bigint }
}

const none = new Uint8Array(32)

/** Creates a job and pins what stands behind it. Throws RefusedError, RelayError. */
export async function createJob(client: LedgerClient, secret: Uint8Array, question: JobQuestion): Promise<CreatedJob> {
  const { tokens, segment, privacy = privacyClasses.open } = question
  const account = publicKeyOf(secret)
  const seed = new Uint8Array(randomBytes(32))
  // Whoever has this key can open the prompt's tokens: solvers and auditors get it with the prompt.
  const tokenKey = hashTagged('token-key', secret, seed)
  const boundary = segment?.rows ? recordsRootOf(inputRecords(rootsOfRows(segment.rows))) : none
  const body: BodyOf<'job.create'> = {
    kind: 'job.create',
    model: fromHex(question.model),
    programVersion: 1,
    promptRoot: new TokenList(tokens, tokenKey, 0).root,
    promptCount: tokens.length,
    sampler: encodeSampler(greedy),
    seed,
    maxTokens: question.maxTokens,
    stopIds: [...question.stopIds],
    privacy,
    fee: question.fee,
    stakeMin: 0n,
    deadlineMs: question.deadlineMs,
    segment: segment ? { layers: { from: segment.from, to: segment.to }, boundary } : null,
    input: null,
  }
  const { chain } = await client.chain()
  const { nonce } = await client.account(account)
  const job = jobIdOf(chain, account, nonce, body)
  const sent = await client.submit(secret, body)
  const prompt: PinnedTokens = { tokenKey, kind: 0, tokens: [...tokens] }
  if (privacy === privacyClasses.open) {
    const view = new ChainView(client)
    await view.pin(`tokens/${hex(body.promptRoot)}`, encodeTokens(prompt), { job: hex(job) })
    if (segment?.rows) await view.pin(`rows/${hex(boundary)}`, encodeRows(flatRows(segment.rows)), { job: hex(job) })
  }
  return { job, body, prompt, sent }
}
