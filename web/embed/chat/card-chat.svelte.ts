// State of the chat card: a conversation in memory, asked of the swarm.
import { defaultSettings, samplerFor } from '../../chat/settings.ts'
import type { SwarmSide } from '../../chat/swarm-side.svelte.ts'
import { targetOf } from '../../chat/where.ts'
import type { SwarmAnswer } from '../../peer/swarm-answer.ts'
import type { Turn } from '../../workers/messages.ts'
import type { CardState } from '../messages.ts'

export interface Line {
  role: 'user' | 'assistant'
  text: string
  /** Why there is no (whole) answer, or ''. */
  problem: string
  swarm: SwarmAnswer | null
}

/** A card is small, and so is what one asks in it. */
const tokensMax = 512

export class CardChat {
  lines = $state<Line[]>([])
  paused = $state(true)
  answering = $state(false)
  waiting = $state('')
  readonly swarm: SwarmSide
  private readonly wished: string | null
  private readonly tell: (state: CardState) => void
  private controller: AbortController | null = null

  constructor(swarm: SwarmSide, wished: string | null, tell: (state: CardState) => void) {
    this.swarm = swarm
    this.wished = wished
    this.tell = tell
  }

  /** The model that answers next, or null. */
  get modelId(): string | null {
    return targetOf('swarm', null, this.wished, this.swarm.models)?.modelId ?? null
  }

  get stateText(): string {
    return this.swarm.stateText(this.modelId ?? this.wished)
  }

  get stateLabel(): string {
    return this.swarm.stateLabel(this.modelId ?? this.wished)
  }

  resume(): void {
    this.paused = false
    this.swarm.watch(true)
    this.tell('running')
  }

  /** Ends everything that runs or connects; what was said stays on the card. */
  async pause(): Promise<void> {
    this.paused = true
    this.stop()
    this.swarm.watch(false)
    this.tell('paused')
    await this.swarm.mesh.leave()
  }

  stop(): void {
    this.controller?.abort()
  }

  async send(question: string): Promise<void> {
    const { modelId } = this
    if (this.answering || this.paused || modelId === null || !question.trim()) return
    this.lines.push({ role: 'user', text: question.trim(), problem: '', swarm: null })
    const turns: Turn[] = []
    for (const { role, text } of this.lines) {
      if (!text) continue
      if (turns.at(-1)?.role === role) turns.at(-1)!.content += `\n\n${text}`
      else turns.push({ role, content: text })
    }
    this.lines.push({ role: 'assistant', text: '', problem: '', swarm: null })
    const answer = this.lines.at(-1)!
    const controller = new AbortController()
    this.controller = controller
    this.answering = true
    this.waiting = 'Finding hosts'
    const settings = { ...defaultSettings, maxTokens: tokensMax }
    const seed = crypto.getRandomValues(new Uint32Array(1))[0]
    try {
      for await (const event of this.swarm.requester.ask(modelId, { turns, sampler: samplerFor(settings), seed, maxTokens: tokensMax }, controller.signal)) {
        if (event.kind === 'queued') this.waiting = event.place === 0 ? 'Next in the queue' : `Number ${event.place + 1} in the queue`
        if (event.kind === 'prefill') this.waiting = 'Reading'
        if (event.kind === 'token') answer.text += event.text
        if (event.kind === 'swarm') answer.swarm = event.swarm
        if (event.kind === 'answered') answer.text = event.text
      }
    } catch (error) {
      const { message } = error as Error
      if (!controller.signal.aborted) answer.problem = `${message.charAt(0).toUpperCase()}${message.slice(1)}`
    } finally {
      this.answering = false
      this.controller = null
    }
  }
}
