// Asking the swarm: text to tokens (words worker), tokens to the ring of hosts (the peer's machine), tokens back to text, and what is known of the answer beside
// its words. One question at a time, like the engine of this device; the same events, so that the chat need not care who computes.

import { AskError, type Requester as Asking, createRequester } from '../../mesh/requester.ts'
import type { Shell } from '../../mesh/shell.ts'
import { inputHash, outputHash } from '../../protocol/engine/answer.ts'
import type { Stop } from '../../protocol/engine/generate.ts'
import { hex } from '../../protocol/hash.ts'
import type { ModelFacts, Question } from '../../protocol/peer/machine.ts'
import type { Presence } from '../../protocol/peer/presence.ts'
import type { AnswerStats, Ask } from '../workers/messages.ts'
import { wait } from '../workers/wait.ts'
import type { Budget } from './payment-work.ts'
import type { Payments } from './payments.svelte.ts'
import { emptySwarmAnswer, type SwarmEvent, withNotice } from './swarm-answer.ts'
import type { Words } from './words.ts'

/** What the requester needs of this tab's part in the mesh (mesh.svelte.ts). */
export interface MeshPort extends Pick<Shell, 'command' | 'subscribe'> {
  /** Joins, or answers at once when this tab is in. Throws with a sentence: no relay, or a relay without a mesh. */
  join(signal: AbortSignal): Promise<void>
  /** Milliseconds since this tab joined: what is known of others takes a moment to come. */
  joinedMs(): number
  /** What peers have said of themselves. */
  heard(): Presence[]
}

/** Others' records reach a newcomer within this time, measured 2–36 ms a hop; a slow relay may need longer. */
const settleMs = 6_000
const retryMs = 400
/** Proofs of the channel are renewed so often while an answer comes. */
const freshenMs = 20_000

export class Requester {
  /** Tokens/s of the answer that streams, or of the last one. */
  tokensPerSecond = $state<number | null>(null)
  private readonly asking: Asking
  private readonly mesh: MeshPort
  private readonly words: Words
  private readonly payments: Payments | null

  /** `payments`: null where nothing is paid (embed). */
  constructor(mesh: MeshPort, words: Words, payments: Payments | null = null) {
    this.mesh = mesh
    this.payments = payments
    this.asking = createRequester(mesh)
    this.words = words
  }

  /** Fetches what a question needs before it is asked: words and a seat in the mesh. */
  async prepare(modelId: string, signal: AbortSignal): Promise<void> {
    await Promise.all([this.words.open(modelId), this.mesh.join(signal)])
  }

  /** Throws AskError and WorkerError with a sentence, AbortError when `signal` aborts: tokens that came remain valid. */
  async *ask(modelId: string, ask: Omit<Ask, 'resume'>, signal: AbortSignal): AsyncGenerator<SwarmEvent> {
    signal.throwIfAborted()
    const [{ facts, stopIds }, prompt] = await Promise.all([this.words.open(modelId), this.words.prompt(modelId, ask.turns), this.mesh.join(signal)])
    signal.throwIfAborted()
    const question: Question = { modelId, prompt, sampler: ask.sampler, seed: ask.seed, maxTokens: ask.maxTokens, stopIds }
    const budget = (await this.payments?.budget(modelId, ask.maxTokens)) ?? null
    signal.throwIfAborted()
    for (;;) {
      // Of hosts that the ledger says nothing of nobody thinks ill.
      await budget?.meet(this.mesh.heard()).catch(() => {})
      try {
        yield* this.attempt(question, facts, signal, budget)
        return
      } catch (error) {
        // A tab that has just come knows nobody yet.
        if (!(error instanceof AskError && error.reason === 'nobody') || this.mesh.joinedMs() > settleMs) throw error
        await wait(retryMs, signal)
      }
    }
  }

  private async *attempt(question: Question, facts: ModelFacts, signal: AbortSignal, budget: Budget | null): AsyncGenerator<SwarmEvent> {
    const { modelId, prompt, seed } = question
    const decode = this.words.stream(modelId)
    const asked = performance.now()
    const tokens: number[] = []
    let swarm = emptySwarmAnswer()
    let text = ''
    let firstAt = 0
    let stopped: { stop: Stop; at: number } | null = null
    const notices = this.asking.ask(question, facts, { signal, ...(budget ? { payer: budget.payer } : {}) })
    const freshen = budget ? setInterval(() => void budget.freshen().catch(() => {}), freshenMs) : undefined
    try {
      for await (const notice of notices) {
        if (notice.what === 'queued') yield { kind: 'queued', place: notice.place, waitMs: notice.waitMs }
        if (notice.what === 'prefill') yield { kind: 'prefill', done: notice.done, total: notice.total }
        if (notice.what === 'token') {
          if (tokens.length === 0) firstAt = performance.now()
          else this.tokensPerSecond = (tokens.length * 1000) / Math.max(1, performance.now() - firstAt)
          tokens.push(notice.token)
          const piece = await decode([notice.token])
          text += piece
          yield { kind: 'token', token: notice.token, text: piece }
        }
        if (notice.what === 'stop') {
          // Those that came with the end, if any did.
          const rest = notice.tokens.slice(tokens.length)
          text += await decode(rest, true)
          tokens.push(...rest)
          stopped = { stop: notice.stop, at: performance.now() }
        }
        if (notice.what === 'paid' && budget) this.payments?.paid(modelId, budget.channel, notice)
        const next = withNotice(swarm, notice)
        if (next === swarm) continue
        swarm = next
        yield { kind: 'swarm', swarm }
      }
    } finally {
      clearInterval(freshen)
    }
    const { stop, at } = stopped!
    const input = inputHash(question)
    const firstTokenMs = (firstAt || at) - asked
    const stats: AnswerStats = {
      backend: 'swarm',
      threads: 0,
      promptTokens: prompt.length,
      tokens: tokens.length,
      prefillTokensPerSecond: prompt.length > 1 ? (prompt.length * 1000) / Math.max(1, firstTokenMs) : null,
      decodeTokensPerSecond: tokens.length > 1 ? ((tokens.length - 1) * 1000) / Math.max(1, at - firstAt) : null,
      firstTokenMs,
      stop,
      seed,
      modelId,
      inputHash: hex(input),
      outputHash: hex(outputHash(input, tokens, stop)),
    }
    yield { kind: 'answered', text, stats }
  }
}
