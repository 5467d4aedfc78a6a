// One question from a terminal to the mesh of a relay. This machine needs the model's tokenizer, nothing else of it.
import { writeFile } from 'node:fs/promises'
import type { Budget } from '../../ledger/wallet.ts'
import { AskError, type AskNotice, createRequester } from '../../mesh/requester.ts'
import type { Stop } from '../../protocol/engine/generate.ts'
import type { Sampler } from '../../protocol/engine/sampler.ts'
import type { Tokenizer } from '../../protocol/model/tokenizer.ts'
import { factsOf } from '../../protocol/peer/facts.ts'
import type { ChainLink, PeerKey, Question } from '../../protocol/peer/machine.ts'
import type { AnswerReceipt } from '../../protocol/peer/receipt.ts'
import { RelayError } from '../errors.ts'
import type { Identity } from './identity.ts'
import { joinMesh } from './join.ts'
import { askLine } from './lines.ts'
import { obtainTokenizer } from './shards.ts'

export interface SwarmAsk {
  home: string
  relay: URL
  identity: Identity
  modelId: string
  text: string
  system?: string
  sampler: Sampler
  seed: number
  maxTokens: number
  invitation?: string
  /** False: no speculation. */
  draft?: boolean
  /** Called once the model is known: what it is paid from. */
  budget?: () => Promise<Budget>
  signal: AbortSignal
  onText: (piece: string) => void
  onLine?: (line: string) => void
}

export interface SwarmAnswer {
  question: Question
  tokens: number[]
  stop: Stop
  receipt: AnswerReceipt | null
  /** The last route, and hosts that were lost on the way. */
  chain: ChainLink[]
  lost: PeerKey[]
  stallsMs: number[]
  /** Rounds of the ring and rows they verified: fewer rounds than tokens is speculation at work. */
  rounds: number
  /** What it cost, µ; null when nothing was paid. */
  paid: Extract<AskNotice, { what: 'paid' }> | null
  firstMs: number
  prefillMs: number
  decodeMs: number
}

/** How long a fresh peer listens for hosts before it says that there are none: presence is told at once by the relay. */
const patienceMs = 15_000

/** Throws RelayError when it cannot be answered. */
export async function askSwarm(options: SwarmAsk): Promise<SwarmAnswer> {
  const { home, relay, identity, modelId, signal } = options
  const { manifest, tokenizer } = await obtainTokenizer(home, relay, modelId, signal)
  const peer = await joinMesh({ home, relay, identity, reachable: false, ...(options.invitation === undefined ? {} : { invitation: options.invitation }) })
  const requester = createRequester(peer.shell)
  try {
    await untilConnected(peer.network, relay, signal)
    const question = questionOf(options, tokenizer)
    const facts = factsOf(manifest, modelId)
    const budget = await options.budget?.()
    const payer = budget?.payer
    const startMs = performance.now()
    for (;;) {
      // Of hosts that the ledger says nothing of nobody thinks ill.
      await budget?.meet(peer.table.all()).catch(() => {})
      try {
        return await follow(
          requester.ask(question, facts, { signal, ...(options.draft === undefined ? {} : { draft: options.draft }), ...(payer ? { payer } : {}) }),
          question,
          tokenizer,
          options,
        )
      } catch (error) {
        // Who has just come knows nobody yet.
        if (!(error instanceof AskError)) throw error
        if (error.reason !== 'nobody' || performance.now() - startMs > patienceMs) throw new RelayError(error.message)
        await new Promise((resolve) => setTimeout(resolve, 250))
        signal.throwIfAborted()
      }
    }
  } finally {
    await requester.close()
    await peer.close()
  }
}

function questionOf({ modelId, text, system, sampler, seed, maxTokens }: SwarmAsk, tokenizer: Tokenizer): Question {
  return { modelId, prompt: tokenizer.encodePrompt(text, system), sampler, seed, maxTokens, stopIds: tokenizer.stopIds }
}

async function follow(
  notices: ReturnType<ReturnType<typeof createRequester>['ask']>,
  question: Question,
  tokenizer: Tokenizer,
  { onText, onLine }: SwarmAsk,
): Promise<SwarmAnswer> {
  const decoder = tokenizer.decoder()
  const answer: SwarmAnswer = {
    question,
    tokens: [],
    stop: 'length',
    receipt: null,
    chain: [],
    lost: [],
    stallsMs: [],
    rounds: 0,
    paid: null,
    firstMs: 0,
    prefillMs: 0,
    decodeMs: 0,
  }
  const startMs = performance.now()
  let firstMs = startMs
  let lastMs = startMs
  for await (const notice of notices) {
    const line = onLine && askLine(notice)
    if (line) onLine(line)
    switch (notice.what) {
      case 'route':
        answer.chain = notice.chain
        break
      case 'round':
        answer.rounds++
        break
      case 'repaired':
        answer.lost.push(...notice.lost)
        answer.stallsMs.push(notice.stallMs)
        break
      case 'token':
        lastMs = performance.now()
        if (answer.tokens.length === 0) firstMs = lastMs
        answer.tokens.push(notice.token)
        if (!question.stopIds.includes(notice.token)) onText(decoder.push(notice.token))
        break
      case 'stop':
        answer.stop = notice.stop
        onText(decoder.end())
        break
      case 'paid':
        answer.paid = notice
        break
      case 'receipt':
        answer.receipt = notice.receipt
        break
    }
  }
  answer.firstMs = firstMs - startMs
  answer.prefillMs = firstMs - startMs
  answer.decodeMs = lastMs - firstMs
  return answer
}

async function untilConnected(
  network: { relays(): { up: boolean }[]; subscribe(listener: () => void): () => void },
  relay: URL,
  signal: AbortSignal,
): Promise<void> {
  const stop = AbortSignal.any([signal, AbortSignal.timeout(patienceMs)])
  while (!network.relays().some((one) => one.up)) {
    signal.throwIfAborted()
    if (stop.aborted) throw new RelayError(`The mesh of ${relay.origin} cannot be reached: its web port answers, its WebSockets do not.`)
    await new Promise<void>((resolve) => {
      const done = () => {
        unsubscribe()
        stop.removeEventListener('abort', done)
        resolve()
      }
      const unsubscribe = network.subscribe(done)
      stop.addEventListener('abort', done, { once: true })
    })
  }
}

/** Writes a receipt where `meadow verify` reads it. */
export async function writeReceipt(path: string, receipt: AnswerReceipt): Promise<void> {
  await writeFile(path, `${JSON.stringify(receipt)}\n`)
}
