// Checking an answer: its tokens are put through the model again, and every host's signed running hashes are compared with what they should have been.
// Who got right rows and signed for wrong ones is named, by its own signature. Who got wrong rows already is not: nobody answers for what came before.
import { hexText, integer, list, MessageError, map, nullable, oneOf } from '../codec.ts'
import { noiseKey } from '../engine/answer.ts'
import type { Row, SegmentEngine, Want } from '../engine/engine.ts'
import { checkSampler, sample } from '../engine/sampler.ts'
import { hex } from '../hash.ts'
import { chainMax, contextMax, layersMax, stopIdsMax, vocabMax } from '../limits.ts'
import type { PeerKey } from './machine.ts'
import { layerAt, stops } from './messages.ts'
import { paidLegsShape } from './payment.ts'
import {
  type AnswerReceipt,
  boundaryBytes,
  chainNext,
  chainStart,
  type HostReceipt,
  inputHashOf,
  isSignedStatement,
  outputHashOf,
  termsOf,
  tokenBytes,
} from './receipt.ts'

const token = integer(0, vocabMax - 1)
const u32 = integer(0, 2 ** 32 - 1)
const statement = {
  peer: hexText(32),
  from: layerAt,
  to: layerAt,
  count: integer(0, contextMax),
  inChain: hexText(32),
  outChain: hexText(32),
  signature: hexText(64),
}
const receiptShape = map({
  version: integer(1, 1),
  session: hexText(16),
  requester: hexText(32),
  question: map({
    modelId: hexText(32),
    prompt: list(token, contextMax, 1),
    sampler: map({ temperature: u32, topK: u32, topP: u32, minP: u32, repeatPenalty: u32, repeatWindow: u32 }),
    seed: integer(0, Number.MAX_SAFE_INTEGER),
    maxTokens: integer(1, contextMax),
    stopIds: list(token, stopIdsMax),
  }),
  inputHash: hexText(32),
  tokens: list(token, contextMax, 1),
  stop: oneOf(stops),
  outputHash: hexText(32),
  hosts: list(map({ ...statement, link: nullable(map(statement)) }), chainMax),
})

/** Reads a receipt from what JSON.parse gave. Throws MessageError (shape, sampler) saying which field is wrong. */
export function parseReceipt(json: unknown): AnswerReceipt {
  const { payments, ...rest } = (json ?? {}) as Record<string, unknown>
  const receipt = receiptShape.read(rest, 'the receipt') as AnswerReceipt
  // Left out where nothing was paid.
  if (payments !== undefined) receipt.payments = paidLegsShape.read(payments, 'the receipt.payments')
  try {
    checkSampler(receipt.question.sampler)
  } catch (error) {
    throw new MessageError(`the receipt's sampler: ${(error as Error).message}`)
  }
  for (const { from, to } of receipt.hosts) if (from >= to) throw new MessageError(`the receipt has a host with the layers ${from} to ${to}`)
  return receipt
}

/** Layers at which rows passed from host to host, from 0 to the end: a recomputation is cut there. */
export function edgesOf(receipt: AnswerReceipt, layers: number): number[] {
  const edges = new Set([0, layers])
  for (const { from, to } of receipt.hosts) for (const layer of [from, to]) if (layer <= Math.min(layers, layersMax)) edges.add(layer)
  return [...edges].sort((a, b) => a - b)
}

export interface Recomputed {
  /** What should have been chosen after each row from the prompt's last one on, given the tokens before it as the receipt has them. */
  tokens: number[]
  /** By edge: the running hash over all rows that pass it. At the end of the model: over the tokens that should have been chosen. */
  chains: Map<number, string>
}

/**
 * Runs prompt and answer again. `engines`: one for each stretch between edgesOf(…), in order; they are used with sequence `sequence` and left empty.
 * Throws what engines throw, and the signal's reason.
 */
export async function recompute(
  receipt: AnswerReceipt,
  engines: readonly SegmentEngine[],
  options: { sequence?: number; onProgress?: (done: number, total: number) => void; signal?: AbortSignal } = {},
): Promise<Recomputed> {
  const { question, session } = receipt
  const { prompt, sampler, seed } = question
  const { sequence = 0, onProgress, signal } = options
  const tokens = [...prompt, ...receipt.tokens]
  const rows = tokens.length - 1
  const { hidden, layers } = engines[0].manifest.core
  const key = noiseKey(seed)
  const chains = new Map([0, ...engines.map((engine) => engine.segment.to)].map((edge) => [edge, chainStart(session, edge)]))
  const add = (edge: number, position: number, bytes: Uint8Array): unknown => chains.set(edge, chainNext(chains.get(edge)!, position, bytes))
  const chosen: number[] = []
  const batch = Math.min(...engines.map((engine) => engine.rowsMax))
  try {
    for (let at = 0; at < rows; at += batch) {
      signal?.throwIfAborted()
      onProgress?.(at, rows)
      const count = Math.min(batch, rows - at)
      const part: Row[] = Array.from({ length: count }, (_, i) => ({ sequence, position: at + i, token: tokens[at + i] }))
      for (const { position, token: id } of part) add(0, position, tokenBytes(id))
      let boundary: Int32Array | undefined
      for (const engine of engines) {
        const last = engine.segment.to === layers
        const wants: Want[] = part.map(({ position }) => (last && position >= prompt.length - 1 ? 'logits' : 'nothing'))
        const result = await engine.run(part, wants, boundary)
        for (const [i, { position }] of part.entries()) {
          if (!last) add(engine.segment.to, position, boundaryBytes(result.boundary!, i, hidden))
          else if (wants[i] === 'logits') {
            const id = sample(result.logits[i]!, sampler, key, position + 1, tokens.slice(0, position + 1))
            chosen.push(id)
            add(layers, position + 1, tokenBytes(id))
          }
        }
        boundary = result.boundary?.slice()
      }
    }
    onProgress?.(rows, rows)
  } finally {
    for (const engine of engines) engine.truncate(sequence, 0)
  }
  return { tokens: chosen, chains: new Map([...chains].map(([edge, chain]) => [edge, hex(chain)])) }
}

export interface HostVerdict {
  peer: PeerKey
  from: number
  to: number
  /** `right`: right rows in, right rows out. `wrong`: right in, wrong out, signed: named. `unclear`: wrong rows came in already. `invalid`: the signature is not its own. */
  verdict: 'right' | 'wrong' | 'unclear' | 'invalid'
  why: string
}

export interface Verdict {
  /** The tokens are what the model says, for this question. */
  equal: boolean
  /** Index in the answer of the first token that should be another one, and which. */
  firstDifference: { index: number; token: number; expected: number } | null
  hosts: HostVerdict[]
  /** Hosts whose own signatures show that they computed wrongly. */
  named: PeerKey[]
  /** What else is amiss: hashes that are not of this question and answer, layers that nobody signed for, links that do not agree. */
  faults: string[]
}

/** Judges a receipt by its recomputation. */
export function blame(receipt: AnswerReceipt, recomputed: Recomputed, layers: number): Verdict {
  const { question, tokens, session } = receipt
  const faults: string[] = []
  if (hex(inputHashOf(question)) !== receipt.inputHash) faults.push('the input hash is not of this question')
  if (outputHashOf(question, tokens, receipt.stop) !== receipt.outputHash) faults.push('the output hash is not of this answer')
  const index = tokens.findIndex((one, i) => one !== recomputed.tokens[i])
  const firstDifference = index < 0 ? null : { index, token: tokens[index], expected: recomputed.tokens[index] }

  const hosts = receipt.hosts.map((host) => judge(receipt, host, recomputed))
  const covered = Array.from({ length: layers }, (_, l) => receipt.hosts.some((host, i) => hosts[i].verdict !== 'invalid' && host.from <= l && l < host.to))
  const bare = covered.indexOf(false)
  if (bare >= 0) faults.push(`nobody signed for layer ${bare}`)
  const named = new Set(hosts.flatMap((host) => (host.verdict === 'wrong' ? [host.peer] : [])))

  // Words of predecessors: for one input a model has one output, so who signed two for it is named, whichever was right.
  for (const { link, inChain, from } of receipt.hosts) {
    if (!link || link.to !== from || !isSignedStatement(session, termsOf(question), link)) continue
    const sender = receipt.hosts.findIndex((one) => one.peer === link.peer && one.to === from)
    const own = sender >= 0 && hosts[sender].verdict !== 'invalid' ? receipt.hosts[sender] : null
    if (own && own.from === link.from && own.count === link.count && own.inChain === link.inChain && own.outChain !== link.outChain) {
      named.add(link.peer)
      faults.push(`host ${link.peer.slice(0, 8)} signed two different hashes for what it sent into layer ${from}`)
    } else if (link.outChain !== inChain) faults.push(`into layer ${from} came something else than its sender signed for`)
  }
  const last = receipt.hosts.find((host) => host.to === layers)
  if (last && last.outChain !== chainOfTokens(receipt)) faults.push('the tokens are not those that the last host signed for')
  return {
    equal: firstDifference === null && faults.length === 0 && hosts.every((one) => one.verdict === 'right'),
    firstDifference,
    hosts,
    named: [...named],
    faults,
  }
}

function judge(receipt: AnswerReceipt, host: HostReceipt, recomputed: Recomputed): HostVerdict {
  const { peer, from, to } = host
  const say = (verdict: HostVerdict['verdict'], why: string): HostVerdict => ({ peer, from, to, verdict, why })
  if (!isSignedStatement(receipt.session, termsOf(receipt.question), host)) return say('invalid', 'its signature is not for this question')
  if (host.count !== receipt.question.prompt.length + receipt.tokens.length - 1) return say('invalid', `it signed for ${host.count} rows of another answer`)
  if (host.inChain !== recomputed.chains.get(from)) return say('unclear', 'other rows than the right ones came in')
  if (host.outChain !== recomputed.chains.get(to)) return say('wrong', 'the right rows came in and wrong ones went out, by its own signature')
  return say('right', 'the right rows came in and went out')
}

function chainOfTokens({ session, question, tokens, hosts }: AnswerReceipt): string {
  let chain = chainStart(session, Math.max(...hosts.map((host) => host.to)))
  for (const [i, one] of tokens.entries()) chain = chainNext(chain, question.prompt.length + i, tokenBytes(one))
  return hex(chain)
}
