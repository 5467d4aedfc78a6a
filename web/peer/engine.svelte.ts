// The engine as the page sees it: load, ask, unload, with rune state for what to show. A lost or hung device is replaced behind the caller's back:
// the token list is the conversation's state, so a new worker reads it again and goes on to the very same text.
import type { Ask, AskEvent, DeviceChoice, DeviceReport, EngineReply, EngineRequest, Measured } from '../workers/messages.ts'
import { WorkerError } from '../workers/messages.ts'
import { Channel } from './channel.ts'

/** Seconds without a sign of life before a device counts as hung. A device that needs longer for one batch (load.ts keeps them small) is better off on WASM. */
const hungSeconds = 30
/** Losses of one answer before the person is told instead. */
const lossesMax = 3

export type EngineStatus = 'empty' | 'loading' | 'ready' | 'answering'

const abortReason = (): DOMException => new DOMException('Stopped.', 'AbortError')
const recoverable = (error: unknown): boolean => error instanceof WorkerError && error.kind === 'lost'

export class Engine {
  status = $state<EngineStatus>('empty')
  modelId = $state<string | null>(null)
  progress = $state({ loaded: 0, total: 0, doing: '' })
  report = $state<DeviceReport | null>(null)
  /** What happened to the device, for people: one sentence, or ''. */
  incident = $state('')
  /** Tokens/s of the answer that streams, or of the last one. */
  tokensPerSecond = $state<number | null>(null)

  private channel: Channel<EngineRequest, EngineReply> | null = null
  /** `awaited`: a question waits for it. */
  private loading: { key: string; done: Promise<void>; awaited: boolean } | null = null
  /** A load that nobody waited for found wrong bytes, which the store then removed: trying again would only say that they are missing. */
  private unheard: { key: string; error: unknown } | null = null
  private device: DeviceChoice = 'auto'
  private threadsMax = 0
  private readonly makeWorker: () => Worker
  private readonly remember: (measured: Measured) => void
  private readonly recall: () => Measured | null

  /** `recall` and `remember` keep the measurement of `auto` between visits. */
  constructor(makeWorker: () => Worker, recall: () => Measured | null, remember: (measured: Measured) => void) {
    this.makeWorker = makeWorker
    this.recall = recall
    this.remember = remember
  }

  private worker(): Channel<EngineRequest, EngineReply> {
    this.channel ??= new Channel(this.makeWorker())
    return this.channel
  }

  /** Starts the worker's own start, so that its code is there when a question comes. Touches no model. */
  warm(): void {
    this.worker()
  }

  /** Waits like the reply would, but ends the worker when it shows no sign of life. Sleep of the machine does not count: only ticks that happened. */
  private async watched(channel: Channel<EngineRequest, EngineReply>, ended: Promise<void>): Promise<void> {
    let silent = 0
    let seen = channel.heardAt
    const timer = setInterval(() => {
      silent = channel.heardAt === seen ? silent + 1 : 0
      seen = channel.heardAt
      if (silent >= hungSeconds) {
        this.device = 'wasm'
        channel.close(new WorkerError({ name: 'EngineError', kind: 'lost', message: `The device did not answer for ${hungSeconds} seconds.` }))
      }
    }, 1000)
    try {
      await ended
    } catch (error) {
      if (recoverable(error)) {
        channel.close(error)
        if (this.channel === channel) this.drop()
      }
      throw error
    } finally {
      clearInterval(timer)
    }
  }

  private drop(): void {
    this.channel = null
    this.report = null
    this.status = 'empty'
  }

  /**
   * Loads a stored model, or waits for the load that is under way. Throws WorkerError with a sentence: shard missing or wrong (StoreError kinds), no room, self-test failed;
   * AbortError when `signal` aborts.
   */
  async load(modelId: string, device: DeviceChoice, threadsMax: number, signal?: AbortSignal): Promise<void> {
    const key = `${modelId} ${device} ${threadsMax}`
    const { unheard } = this
    if (unheard?.key === key) {
      // `signal` comes from a question: the person hears it now, and a next question tries again.
      if (signal) this.unheard = null
      throw unheard.error
    }
    if (this.loading?.key !== key) {
      this.unheard = null
      // A new worker, so that nothing of what was loaded, or is loading, stays in memory.
      if (this.loading) this.cancel()
      this.device = device
      this.threadsMax = threadsMax
      this.incident = ''
      const loading = { key, done: this.start(modelId), awaited: false }
      this.loading = loading
      loading.done.catch((error) => {
        if (!loading.awaited && error instanceof WorkerError && error.kind === 'hash') this.unheard = { key, error }
        if (this.loading === loading) this.loading = null
      })
    }
    const { done } = this.loading
    if (!signal) return done
    this.loading.awaited = true
    signal.throwIfAborted()
    const aborted = new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(abortReason()), { once: true }))
    await Promise.race([done, aborted])
  }

  /** Loads; a device that is lost or hangs meanwhile is tried once more, then WASM. */
  private async start(modelId: string): Promise<void> {
    for (let losses = 0; ; ) {
      try {
        return await this.attemptLoad(modelId)
      } catch (error) {
        if (!recoverable(error) || ++losses >= lossesMax) throw error
        if (losses > 1) this.device = 'wasm'
        this.incident = `${(error as Error).message} The model is loaded again${this.device === 'wasm' ? ' on WASM' : ''}.`
      }
    }
  }

  private async attemptLoad(modelId: string): Promise<void> {
    const channel = this.worker()
    this.status = 'loading'
    this.modelId = modelId
    this.report = null
    this.progress = { loaded: 0, total: 0, doing: 'Starting' }
    const message = {
      kind: 'load',
      modelId,
      device: this.device,
      threadsMax: this.threadsMax,
      measured: $state.snapshot(this.recall()) as Measured | null,
    } as const
    const { ended } = channel.send(message, (reply) => {
      if (reply.kind === 'loading') this.progress = { loaded: reply.loaded, total: reply.total, doing: reply.doing }
      if (reply.kind !== 'loaded') return false
      this.report = reply.report
      if (reply.report.measured) this.remember(reply.report.measured)
      return true
    })
    try {
      await this.watched(channel, ended)
      this.status = 'ready'
    } catch (error) {
      if (this.channel === channel || !this.channel) {
        this.status = 'empty'
        if (!recoverable(error)) this.modelId = null
      }
      throw error
    }
  }

  /** Cancels a load: the worker goes, with all it holds. */
  cancel(): void {
    this.channel?.close(abortReason())
    this.drop()
    this.loading = null
    this.modelId = null
  }

  async unload(): Promise<void> {
    this.cancel()
  }

  /**
   * The answer to a conversation on the loaded model, event by event. Throws WorkerError with a sentence (prompt too long, sampler out of range, device lost too often),
   * AbortError when `signal` aborts: tokens that came remain valid.
   */
  async *ask(ask: Ask, signal: AbortSignal): AsyncGenerator<AskEvent> {
    const modelId = this.modelId
    if (!modelId) throw new WorkerError({ name: 'EngineError', kind: 'input', message: 'No model is loaded.' })
    let resume = ask.resume
    const tokens = resume?.tokens.slice() ?? []
    const key = this.loading?.key ?? ''
    for (let losses = 0; ; ) {
      try {
        for await (const event of this.attempt({ ...ask, resume }, signal)) {
          if (event.kind === 'prompt') resume = { prompt: event.tokens, tokens }
          else {
            if (event.kind === 'token') tokens.push(event.token)
            yield event
          }
        }
        return
      } catch (error) {
        if (!recoverable(error)) throw error
        this.loading = null
        if (signal.aborted || ++losses >= lossesMax) throw error
        // The first loss tries the same device again in a new worker; a hang (which chose WASM already) or a second loss goes to WASM.
        if (losses > 1) this.device = 'wasm'
        this.loading = { key, done: this.start(modelId), awaited: true }
        await this.loading.done
        this.incident = `${(error as Error).message} The answer went on ${this.device === 'wasm' ? 'on WASM' : 'in a new worker'}.`
        if (resume) resume = { prompt: resume.prompt, tokens: tokens.slice() }
      }
    }
  }

  private async *attempt(ask: Ask, signal: AbortSignal): AsyncGenerator<AskEvent | Extract<EngineReply, { kind: 'prompt' }>> {
    signal.throwIfAborted()
    const channel = this.worker()
    const queue: (AskEvent | Extract<EngineReply, { kind: 'prompt' }>)[] = []
    let wake: () => void = () => {}
    let over = false
    let failure: unknown = null
    let firstAt = 0
    let count = 0
    this.status = 'answering'
    const { id, ended } = channel.send({ kind: 'ask', ask }, (reply) => {
      if (reply.kind === 'token') {
        if (count++ === 0) firstAt = performance.now()
        else this.tokensPerSecond = ((count - 1) * 1000) / (performance.now() - firstAt)
      }
      if (reply.kind === 'prompt' || reply.kind === 'prefill' || reply.kind === 'token' || reply.kind === 'answered') queue.push(reply)
      wake()
      return reply.kind === 'answered'
    })
    const stop = (): void => channel.tell({ kind: 'stop', target: id })
    signal.addEventListener('abort', stop, { once: true })
    const finished = this.watched(channel, ended)
      .catch((error) => {
        failure = error
      })
      .finally(() => {
        over = true
        wake()
      })
    try {
      for (;;) {
        while (queue.length > 0) yield queue.shift()!
        if (over) break
        await new Promise<void>((resolve) => {
          wake = resolve
          if (queue.length > 0 || over) resolve()
        })
      }
      if (failure) throw failure
    } finally {
      signal.removeEventListener('abort', stop)
      if (!over) stop()
      await finished
      if (this.channel === channel) this.status = 'ready'
    }
  }
}
