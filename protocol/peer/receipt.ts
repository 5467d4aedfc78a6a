// Receipts: what each host signs for, and who is to blame when a recomputation gives something else. Pure; specification: protocol/README.md, section 14.
// A host keeps a running hash over what came in and one over what went out, row by row, so neither depends on how rows were cut into messages.
import { encodeSampler, encodeSeed, inputHash, outputHash } from '../engine/answer.ts'
import type { Stop } from '../engine/generate.ts'
import { fromHex, hashTagged, hex, lengthPrefixed, u32, u32s } from '../hash.ts'
import { sign, verify } from '../keys.ts'
import type { PeerKey, Question } from './machine.ts'
import type { PaidLeg } from './payment.ts'

/**
 * A host's signed word: of rows [0, count) these came in and these went out. Of the last host, the tokens it chose went out. Hexadecimal digits.
 * The signature covers the session and its terms too, so it can be shown for no other question; and for one inChain an honest host only ever signs one outChain.
 */
export interface Statement {
  peer: PeerKey
  from: number
  to: number
  count: number
  inChain: string
  outChain: string
  signature: string
}

export interface HostReceipt extends Statement {
  /** What its predecessor said to it at the end; null for the first host, or when the predecessor said nothing. Evidence when the two do not agree. */
  link: Statement | null
}

/** Everything about one answer; kept by whoever asked. JSON as it is. */
export interface AnswerReceipt {
  version: 1
  session: string
  /** Who asked. */
  requester: PeerKey
  question: Question
  inputHash: string
  tokens: number[]
  stop: Stop
  outputHash: string
  /** In layer order. Hosts that left before the end have signed nothing: their layers are in the receipt of who replaced them. */
  hosts: HostReceipt[]
  /** Sessions of the ledger that paid for it, in the order of its tokens; left out when nothing was paid. */
  payments?: PaidLeg[]
}

/** The running hash before the first row: H("chain", session, layer u32). */
export const chainStart = (session: string, layer: number): Uint8Array => hashTagged('chain', fromHex(session), u32(layer))

/** H("row", chain, position u32, bytes). */
export const chainNext = (chain: Uint8Array, position: number, bytes: Uint8Array): Uint8Array => hashTagged('row', chain, u32(position), bytes)

/** A row that is a token: at layer 0, and behind the last layer. */
export const tokenBytes = (token: number): Uint8Array => u32(token)

/** Residual row `row` of a boundary of `hidden` columns. */
export const boundaryBytes = (boundary: Int32Array, row: number, hidden: number): Uint8Array =>
  new Uint8Array(boundary.buffer, boundary.byteOffset + row * hidden * 4, hidden * 4)

export type Terms = Pick<Question, 'modelId' | 'sampler' | 'seed' | 'maxTokens' | 'stopIds'> & { promptLength: number }

export const termsOf = (question: Question): Terms => ({ ...question, promptLength: question.prompt.length })

/** H("statement", session, modelId, sampler64, seed32, maxTokens u32, prompt count u32, stop count u32, stop ids u32, peer, from u32, to u32, count u32, inChain, outChain). */
const statementBytes = (session: string, terms: Terms, s: Omit<Statement, 'signature'>): Uint8Array =>
  hashTagged(
    'statement',
    fromHex(session),
    fromHex(terms.modelId),
    encodeSampler(terms.sampler),
    encodeSeed(terms.seed),
    u32s([terms.maxTokens, terms.promptLength, terms.stopIds.length, ...terms.stopIds]),
    fromHex(s.peer),
    u32(s.from, s.to, s.count),
    fromHex(s.inChain),
    fromHex(s.outChain),
  )

export const signStatement = (secret: Uint8Array, session: string, terms: Terms, statement: Omit<Statement, 'signature'>): Statement => ({
  ...statement,
  signature: hex(sign(secret, 'ring-statement', statementBytes(session, terms, statement))),
})

export const isSignedStatement = (session: string, terms: Terms, statement: Statement): boolean =>
  verify(fromHex(statement.peer), 'ring-statement', statementBytes(session, terms, statement), fromHex(statement.signature))

/** The name of a session: nobody else can open one of that name, and the same requester never opens it twice. */
export const sessionName = (requester: PeerKey, seed: Uint8Array, count: number): string =>
  hex(hashTagged('session', fromHex(requester), lengthPrefixed(seed), u32(count))).slice(0, 32)

export const inputHashOf = (question: Question): Uint8Array => inputHash(question)

export const outputHashOf = (question: Question, tokens: readonly number[], stop: Stop): string => hex(outputHash(inputHash(question), tokens, stop))
