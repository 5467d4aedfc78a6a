// A question on its way: what does not change while it is answered, and what is said of it to hosts and at the end. Pure.

import type { Stop } from '../engine/generate.ts'
import { checkSampler } from '../engine/sampler.ts'
import { hex } from '../hash.ts'
import { chunkRowsMax } from '../limits.ts'
import type { Context } from './context.ts'
import type { ModelFacts, PeerKey, Question } from './machine.ts'
import { type MessageOf, signOpen } from './messages.ts'
import { type ClaimedAnswer, type PaidLeg, type Payer, tokenKeyOf } from './payment.ts'
import { type AnswerReceipt, chainStart, type HostReceipt, inputHashOf, outputHashOf } from './receipt.ts'
import type { Holder } from './routing.ts'
import { stopOf } from './seat.ts'

export interface Plan {
  readonly ask: number
  readonly question: Question
  readonly facts: ModelFacts
  readonly draft: boolean
  readonly session: string
  /** Pays for it; null: nobody does. */
  readonly payer: Payer | null
}

/** Why a question cannot be asked; null when it can. */
export function faultOf({ question, facts }: Plan): string | null {
  const { prompt, maxTokens, sampler, stopIds } = question
  if (prompt.length === 0) return 'the prompt holds no tokens'
  if (prompt.length >= facts.context) return `the prompt has ${prompt.length} tokens, the context holds ${facts.context}`
  if ([...prompt, ...stopIds].some((id) => !(Number.isInteger(id) && id >= 0 && id < facts.vocab))) return `a token outside the vocabulary of ${facts.vocab}`
  if (!(Number.isInteger(maxTokens) && maxTokens >= 1)) return `maxTokens is ${maxTokens}, must be a positive integer`
  try {
    checkSampler(sampler)
    return null
  } catch (error) {
    return (error as Error).message
  }
}

/** Whether the answer ends with `token`, the last of a sequence of `length` tokens. */
export const endOf = ({ question, facts }: Plan, token: number, length: number): Stop | null =>
  stopOf({ ...question, promptLength: question.prompt.length }, facts.context, token, length)

/** The signed open of a ring. `terms`: what is paid for it. */
export function openOf({ question, session, draft }: Plan, ctx: Context, hosts: readonly Holder[], epoch: number, terms: Uint8Array | null): MessageOf<'open'> {
  const { modelId, prompt, sampler, seed, maxTokens, stopIds } = question
  const chain = hosts.map(({ peer, from, to, addresses }) => ({ peer, from, to, addresses }))
  const input = hex(inputHashOf(question))
  const promptLength = prompt.length
  return signOpen(ctx.secret, { session, epoch, requester: ctx.self, modelId, chain, input, sampler, seed, maxTokens, stopIds, promptLength, draft, terms })
}

/** Tokens [from, upto) for the first host of a ring, in chunks. */
export function* rowsOf(
  { session }: Plan,
  tokens: readonly number[],
  epoch: number,
  generation: number,
  from: number,
  upto: number,
): Generator<MessageOf<'rows'>> {
  for (let at = from; at < upto; at += chunkRowsMax) {
    const some = tokens.slice(at, Math.min(upto, at + chunkRowsMax))
    // The first host hashes tokens itself; this field binds nobody here.
    const chain = hex(chainStart(session, 0))
    yield { kind: 'rows', session, epoch, generation, position: at, layer: 0, tokens: some, boundary: null, chain, times: [] }
  }
}

/** The answer as hosts are to claim it. */
export function claimedAnswerOf({ question, session }: Plan, requester: PeerKey, tokens: number[], stop: Stop): ClaimedAnswer {
  const { prompt, sampler, seed, maxTokens, stopIds } = question
  return { sampler, seed, maxTokens, stopIds, prompt, tokens, stop, tokenKey: tokenKeyOf(session, requester) }
}

export const receiptOf = (
  { question, session }: Plan,
  requester: PeerKey,
  tokens: number[],
  stop: Stop,
  hosts: HostReceipt[],
  payments: PaidLeg[],
): AnswerReceipt => ({
  version: 1,
  session,
  requester,
  question,
  inputHash: hex(inputHashOf(question)),
  tokens,
  stop,
  outputHash: outputHashOf(question, tokens, stop),
  hosts,
  ...(payments.length > 0 ? { payments } : {}),
})
