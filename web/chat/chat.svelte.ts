// The chat page's state: conversations, the answer that streams, preferences. Components call its methods and show its fields.
import type { Engine } from '../peer/engine.svelte.ts'
import type { Library } from '../peer/library.svelte.ts'
import type { SwarmEvent } from '../peer/swarm-answer.ts'
import type { Ask, DeviceChoice } from '../workers/messages.ts'
import type { Checks } from './checks.svelte.ts'
import { type Conversation, exportText, importText, type Message, titleOf, turnsOf } from './conversation.ts'
import type { History } from './history.ts'
import type { PaymentsPort } from './payments-port.ts'
import { type Preferences, writePreferences } from './preferences.ts'
import { type Settings, samplerFor, seedMax } from './settings.ts'
import type { SwarmSide } from './swarm-side.svelte.ts'
import { takeOver } from './takeover.ts'
import { swarmIsFaster, type Target, targetOf, type Where } from './where.ts'

const newId = (): string => crypto.getRandomValues(new Uint8Array(12)).reduce((text, byte) => text + byte.toString(16).padStart(2, '0'), '')

const newSeed = (): number => {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2))
  return ((high % 0x200000) * 0x100000000 + low) % seedMax
}

const message = (role: Message['role'], text: string): Message => ({ id: newId(), role, text, stats: null, stopped: false, problem: '' })

/** Engines report in lower case and without a full stop, for logs; people read sentences. */
const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?…]$/.test(text) ? '' : '.'}`

/** Tokens after which this device's own speed is known well enough to compare. */
const speedTokens = 16

/** Partial answers reach the disk this often, so that a closed tab loses little. */
const saveMs = 2000

export class Chat {
  conversations = $state<Conversation[]>([])
  /** Null: the new chat that has no message yet. */
  currentId = $state<string | null>(null)
  /** Settings of the new chat. */
  draftSettings = $state<Settings>() as Settings
  preferences = $state<Preferences>() as Preferences
  /** Id of the answer that streams. */
  answeringId = $state<string | null>(null)
  /** What the answer is waiting for, '' once words come. */
  waiting = $state('')
  /** False where the browser forbids storage. */
  kept = $state(true)
  problem = $state('')
  /** Sentences as they complete, for screen readers. */
  spoken = $state('')

  readonly library: Library
  readonly engine: Engine
  readonly swarm: SwarmSide
  readonly checks: Checks
  /** Who pays hosts; null where nothing is paid. */
  payments = $state.raw<PaymentsPort | null>(null)
  /** Where the next question goes; a link may say so for this visit, only the person's choice is kept. */
  where = $state<Where>('local')
  private history: History | null = null
  private controller: AbortController | null = null

  constructor(library: Library, engine: Engine, swarm: SwarmSide, checks: Checks, preferences: Preferences) {
    this.library = library
    this.engine = engine
    this.swarm = swarm
    this.checks = checks
    this.preferences = preferences
    this.visit(preferences.where)
    this.draftSettings = { ...preferences.settings }
  }

  get current(): Conversation | null {
    return this.conversations.find((conversation) => conversation.id === this.currentId) ?? null
  }

  get settings(): Settings {
    return this.current?.settings ?? this.draftSettings
  }

  /** The model that answers: the chosen one if it is here, else any that is. */
  get modelId(): string | null {
    const { ready } = this.library
    return ready.find((model) => model.id === this.preferences.modelId)?.id ?? ready[0]?.id ?? null
  }

  /** Who answers the next question; null when nobody can. */
  get target(): Target | null {
    return targetOf(this.where, this.modelId, this.preferences.modelId, this.where === 'local' ? [] : this.swarm.models)
  }

  /** For this visit. */
  visit(where: Where): void {
    this.where = where
    this.swarm.watch(where !== 'local')
  }

  setWhere(where: Where): void {
    this.stop()
    this.visit(where)
    this.savePreferences({ where })
  }

  async setInvitation(invitation: string | null): Promise<void> {
    this.stop()
    await this.swarm.setInvitation(invitation)
    this.visit(this.where)
  }

  get answering(): boolean {
    return this.answeringId !== null
  }

  async open(history: History): Promise<void> {
    this.history = history
    this.kept = history.kept
    const all = await history.all()
    // An answer without an end was cut off by a closed page.
    for (const { messages } of all) {
      const last = messages.at(-1)
      if (last?.role === 'assistant' && !last.stats && !last.problem) last.stopped = true
    }
    this.conversations = [...this.conversations, ...all]
  }

  private save(conversation: Conversation): void {
    this.history?.put($state.snapshot(conversation) as Conversation).catch((error: Error) => {
      this.problem = `This conversation could not be saved on this device (${error.message}).`
    })
  }

  savePreferences(change: Partial<Preferences> = {}): void {
    Object.assign(this.preferences, change)
    writePreferences($state.snapshot(this.preferences) as Preferences)
  }

  select(id: string | null): void {
    if (id !== this.currentId) this.stop()
    this.currentId = id
    if (id === null) this.draftSettings = { ...this.preferences.settings }
  }

  rename(id: string, title: string): void {
    const conversation = this.conversations.find((c) => c.id === id)
    if (!conversation || !title.trim()) return
    conversation.title = title.trim().slice(0, 200)
    this.save(conversation)
  }

  async remove(id: string): Promise<void> {
    if (id === this.currentId) this.select(null)
    this.conversations = this.conversations.filter((conversation) => conversation.id !== id)
    await this.history?.remove(id)
  }

  export(): string {
    return exportText($state.snapshot(this.conversations) as Conversation[])
  }

  /** Throws ImportError. */
  import(json: string): number {
    const added = importText(json, newId, Date.now())
    for (const conversation of added) this.save(conversation)
    this.conversations = [...added, ...this.conversations].sort((a, b) => b.updatedAt - a.updatedAt)
    return added.length
  }

  changeSettings(change: Partial<Settings>): void {
    Object.assign(this.settings, change)
    this.savePreferences({ settings: { ...($state.snapshot(this.settings) as Settings) } })
    if (this.current) this.save(this.current)
  }

  async setDevice(device: DeviceChoice, threads: number): Promise<void> {
    this.savePreferences({ device, threads })
    this.stop()
    if (this.engine.status !== 'empty') await this.engine.unload()
  }

  /** Chooses the device anew: forgets the measurement, and a fallback to WASM that an accident forced. */
  async measureAgain(): Promise<void> {
    this.savePreferences({ measured: null })
    this.stop()
    await this.engine.unload()
    this.engine.incident = ''
    this.prepare()
  }

  /** Starts loading when the person begins to type: the question follows soon. */
  prepare(): void {
    const { target } = this
    if (target?.place === 'swarm') this.swarm.prepare(target.modelId)
    else if (target) this.engine.load(target.modelId, this.preferences.device, this.preferences.threads).catch(() => {}) // the question that follows says why
  }

  async send(text: string): Promise<void> {
    if (!text.trim() || this.answering) return
    let conversation = this.current
    if (!conversation) {
      const now = Date.now()
      this.conversations.unshift({ id: newId(), title: titleOf(text), createdAt: now, updatedAt: now, settings: { ...this.draftSettings }, messages: [] })
      conversation = this.conversations[0]
      this.currentId = conversation.id
    }
    conversation.messages.push(message('user', text.trim()))
    await this.answer(conversation)
  }

  /** Asks again for an answer, forgetting it and what follows. */
  async retry(id: string): Promise<void> {
    const at = this.current?.messages.findIndex((m) => m.id === id) ?? -1
    if (at < 0 || this.answering) return
    this.current!.messages.splice(at)
    await this.answer(this.current!)
  }

  /** Changes a question and asks it again; what followed is forgotten. */
  async edit(id: string, text: string): Promise<void> {
    const at = this.current?.messages.findIndex((m) => m.id === id) ?? -1
    if (at < 0 || this.answering || !text.trim()) return
    this.current!.messages.splice(at)
    if (at === 0) this.current!.title = titleOf(text)
    this.current!.messages.push(message('user', text.trim()))
    await this.answer(this.current!)
  }

  stop(): void {
    this.controller?.abort()
  }

  private async answer(conversation: Conversation): Promise<void> {
    const controller = new AbortController()
    const { signal } = controller
    conversation.messages.push(message('assistant', ''))
    const answer = conversation.messages.at(-1)!
    const end = conversation.messages.length - 1
    conversation.updatedAt = Date.now()
    this.controller = controller
    this.answeringId = answer.id
    const { target } = this
    this.waiting = target?.place === 'swarm' ? 'Finding hosts' : 'Loading the model'
    this.engine.incident = ''
    this.save(conversation)
    const { settings } = conversation
    let savedAt = performance.now()
    let pending = ''
    let frame = 0
    // Words reach the page once per frame: more often nobody sees.
    const flush = (): void => {
      frame = 0
      answer.text += pending
      pending = ''
    }
    try {
      if (!target) throw new Error(this.where === 'local' ? 'There is no model on this device yet. Download one first.' : this.swarm.stateText(null))
      const ask = {
        turns: turnsOf($state.snapshot(conversation) as Conversation, end),
        sampler: samplerFor(settings),
        seed: settings.seed ?? newSeed(),
        maxTokens: settings.maxTokens,
      }
      for await (const event of this.events(target, ask, signal)) {
        if (event.kind === 'queued') this.waiting = event.place === 0 ? 'Next in the queue of the swarm' : `Number ${event.place + 1} in the queue of the swarm`
        if (event.kind === 'swarm') answer.swarm = event.swarm
        if (event.kind === 'prefill') this.waiting = event.total > 128 ? `Reading ${Math.round((100 * event.done) / event.total)} %` : 'Reading'
        if (event.kind === 'token') {
          this.waiting = ''
          pending += event.text
          frame ||= requestAnimationFrame(flush)
          this.speak(answer.text)
          if (performance.now() - savedAt > saveMs) {
            savedAt = performance.now()
            flush()
            this.save(conversation)
          }
        }
        if (event.kind === 'answered') {
          pending = ''
          answer.text = event.text
          answer.stats = event.stats
        }
      }
    } catch (error) {
      if (signal.aborted) answer.stopped = true
      else answer.problem = sentence((error as Error).message)
      // The store forgets a shard whose bytes are wrong: the list must show that the model is no longer whole.
      if (['hash', 'missing'].includes((error as { kind?: string }).kind ?? '')) void this.library.open()
    } finally {
      cancelAnimationFrame(frame)
      flush()
      this.spoken = answer.problem || (answer.stopped ? 'Stopped.' : answer.text)
      this.answeringId = null
      this.waiting = ''
      if (this.controller === controller) this.controller = null
      conversation.updatedAt = Date.now()
      this.save(conversation)
    }
  }

  /** The answer's events, whoever computes it. */
  private async *events(target: Target, ask: Omit<Ask, 'resume'>, signal: AbortSignal): AsyncGenerator<SwarmEvent> {
    const { modelId, place } = target
    if (place === 'swarm') return yield* this.swarm.requester.ask(modelId, ask, signal)
    await this.engine.load(modelId, this.preferences.device, this.preferences.threads, signal)
    this.waiting = 'Reading'
    const { engine, swarm } = this
    const local = async function* (here: AbortSignal, made: number[]) {
      const resume = made.length > 0 ? { prompt: await swarm.words.prompt(modelId, ask.turns), tokens: made } : null
      yield* engine.ask({ ...ask, resume }, here)
    }
    if (!target.swarmToo) return yield* local(signal, [])
    yield* takeOver(
      {
        local,
        swarm: (there) => swarm.requester.ask(modelId, ask, there),
        isWorthIt: (tokens) => tokens >= speedTokens && swarmIsFaster(swarm.model(modelId)?.tokensPerSecond ?? null, engine.tokensPerSecond),
        onDifference: (position) => {
          engine.incident = `The swarm gave another word than this device at position ${position + 1}: its answer was refused, and this device went on alone.`
        },
      },
      signal,
    )
  }

  /** Whole sentences only, each once: a screen reader should not hear every token. */
  private speak(text: string): void {
    const end = Math.max(text.lastIndexOf('. '), text.lastIndexOf('? '), text.lastIndexOf('! '), text.lastIndexOf('\n'))
    if (end > 0 && text.length - this.spoken.length > 200) this.spoken = text.slice(0, end + 1)
  }
}
