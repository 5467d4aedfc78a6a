// This device as a host, as rune state: joins the mesh, lends what the person chose, pauses when something is in the way, leaves clean.
import { factsOf } from '../../protocol/peer/facts.ts'
import type { HostState, ModelFacts, Notice } from '../../protocol/peer/machine.ts'
import { Channel } from './channel.ts'
import { Conditions } from './conditions.svelte.ts'
import { KeepAwake } from './keep-awake.ts'
import { type LendingChoices, readChoices, writeChoices } from './lending.ts'
import type { Mesh } from './mesh.svelte.ts'
import { type Offer, parseOffers } from './offers.ts'
import type { TabEarning } from './payment-work.ts'
import { payments } from './payments.svelte.ts'
import { LendStore } from './store.ts'
import { type SegmentStatus, TabEngines } from './tab-engines.ts'
import type { Exchange, Torrents } from './torrents.ts'

/** Numbers for people are renewed so often. */
const countMs = 1000
/** What the disk holds changes slowly: looked at every so many times. */
const storedEvery = 5
/** Tokens/s is the mean over this time. */
const rateMs = 10_000

export interface HostNumbers {
  /** Requests (sessions) served to their end, and being served. */
  served: number
  serving: number
  refused: number
  /** Rows through the segments held here: one per token and host. */
  rows: number
  /** Rows per second of the last ten. */
  rowsPerSecond: number
  /** Share of the last ten seconds spent computing, 0..1. */
  busy: number
  memoryBytes: number
  storedBytes: number
  /** Bytes through the ring. */
  ringIn: number
  ringOut: number
  /** Bytes of shards. */
  shardsIn: number
  shardsOut: number
  /** Milliseconds from the click to the first row computed for somebody. */
  firstRowMs: number | null
  /** Milliseconds from the click to being ready to serve. */
  readyMs: number | null
}

const noNumbers = (): HostNumbers => ({
  served: 0,
  serving: 0,
  refused: 0,
  rows: 0,
  rowsPerSecond: 0,
  busy: 0,
  memoryBytes: 0,
  storedBytes: 0,
  ringIn: 0,
  ringOut: 0,
  shardsIn: 0,
  shardsOut: 0,
  firstRowMs: null,
  readyMs: null,
})

export class Host {
  /** What the machine says; 'idle' before the click and after leaving. */
  state = $state<HostState>('idle')
  /** Between the click and the machine's first word. */
  joining = $state(false)
  problem = $state('')
  offers = $state<Offer[]>([])
  segments = $state<SegmentStatus[]>([])
  exchanges = $state<Exchange[]>([])
  numbers = $state<HostNumbers>(noNumbers())
  choices = $state<LendingChoices>() as LendingChoices
  /** The person pressed pause. */
  stopped = $state(false)
  /** What happened last, a sentence for a screen reader too. */
  said = $state('')
  /** The browser refused what was asked for (wake lock, tone, idle detection). */
  refusal = $state('')
  readonly conditions = new Conditions()
  readonly mesh: Mesh
  /** False where nothing may outlive the page (embed). */
  keeps = true

  private readonly makeStore: () => Worker
  private readonly makeWorker: () => Worker
  private readonly awake = new KeepAwake()
  private store: LendStore | null = null
  private torrents: Torrents | null = null
  private engines: TabEngines | null = null
  private earning: TabEarning | null = null
  private readonly facts = new Map<string, ModelFacts>()
  private readonly runs: { at: number; rows: number; ms: number }[] = []
  private startedAt = 0
  private ticks = 0
  private counting: ReturnType<typeof setInterval> | undefined
  private toldPaused = false

  /** `makeStore` and `makeWorker` start the store worker and the worker of one segment. */
  constructor(mesh: Mesh, makeStore: () => Worker, makeWorker: () => Worker) {
    this.mesh = mesh
    this.makeStore = makeStore
    this.makeWorker = makeWorker
    this.choices = readChoices()
    mesh.subscribe((notice) => this.hear(notice))
  }

  /** What the relay offers; answers before the click, and asks nothing of this device. Throws nothing: `problem` says it. */
  async look(): Promise<void> {
    try {
      const response = await fetch('/models', { headers: { accept: 'application/json' } })
      if (!response.ok) throw new Error(`status ${response.status}`)
      this.offers = parseOffers(await response.json())
      if (this.offers.length === 0) this.problem = 'The relay has no model to lend yet.'
    } catch {
      this.problem = 'The relay cannot be reached. Its address may have changed, or it is off.'
    }
  }

  get lending(): boolean {
    return this.joining || (this.state !== 'idle' && this.state !== 'left')
  }

  /** Why nothing is computed now: the person, or what stands in the way. */
  get obstacles(): string[] {
    return this.lending ? this.conditions.reasons(this.choices) : []
  }

  get paused(): boolean {
    return this.stopped || this.obstacles.length > 0
  }

  /** Layers that the link asks for; empty: placement decides. */
  hold: { model: string; from: number; to: number }[] = []

  /** The one click. `invitation`: 32 hex digits of a private group. Resolves when the machine has taken over; failures are `problem`. */
  async lend(invitation: string | null): Promise<void> {
    if (this.lending) return
    this.joining = true
    this.problem = ''
    this.stopped = false
    this.startedAt = performance.now()
    this.numbers = noNumbers()
    // From the click: the browser asks the person whether the data may stay only then.
    if (this.keeps) void navigator.storage?.persist?.().catch(() => false)
    try {
      const { choices } = this
      if (this.offers.length === 0) await this.look()
      if (this.offers.length === 0) throw new Error(this.problem)
      this.problem = ''
      this.store ??= new LendStore(new Channel(this.makeStore()))
      this.engines ??= this.makeEngines(this.store)
      if (choices.wake) await this.setWake(true)
      if (choices.tone) await this.setTone(true)
      const { store } = this
      // A pause sends nothing.
      const readShard = async (modelId: string, shard: string, from: number, length: number) =>
        this.paused ? null : store.read(modelId, shard, from, length).catch(() => null)
      // Where nothing is kept, nothing can be earned.
      this.earning = this.keeps ? await payments.earn(() => [...this.facts.values()]) : null
      await this.mesh.join({
        engines: this.engines,
        readShard,
        invitation,
        ...(this.earning ? { earnings: this.earning.earnings, vault: this.earning.vault } : {}),
      })
      await this.openTorrents()
      await this.lendModels()
      this.conditions.start()
      this.counting ??= setInterval(() => void this.count(), countMs)
    } catch (error) {
      this.problem = (error as Error).message
      await this.end()
    } finally {
      this.joining = false
    }
  }

  private makeEngines(store: LendStore): TabEngines {
    return new TabEngines({
      store,
      torrents: () => this.torrents,
      makeWorker: this.makeWorker,
      limits: () => {
        const { storageMB, memoryMB, threads, device } = this.choices
        return { storageBytes: storageMB * 1e6, memoryBytes: memoryMB * 1e6, threads, device }
      },
      titleOf: (modelId) => this.offers.find((offer) => offer.id === modelId)?.title ?? '',
      onStatus: (modelId, status) => {
        const others = this.segments.filter((segment) => segment.modelId !== modelId)
        this.segments = status ? [...others, status].sort((a, b) => a.name.localeCompare(b.name)) : others
      },
      onRun: (rows, ms) => {
        this.numbers.rows += rows
        this.numbers.firstRowMs ??= performance.now() - this.startedAt
        this.runs.push({ at: performance.now(), rows, ms })
      },
    })
  }

  private async openTorrents(): Promise<void> {
    const { config, identity } = this.mesh
    if (!config?.tracker || !identity || typeof RTCPeerConnection === 'undefined') return
    const { Torrents } = await import('./torrents.ts')
    this.torrents = new Torrents({
      store: this.store!,
      tracker: config.tracker,
      key: identity.key,
      iceServers: config.iceServers,
      shards: () => this.mesh.shards,
    })
    await this.torrents.limitUpload(this.uploadLimit)
  }

  /** Bytes per second, -1 for no limit. A pause sends nothing either. */
  private get uploadLimit(): number {
    const { uploadKBps } = this.choices
    if (this.paused) return 0
    return uploadKBps > 0 ? uploadKBps * 1000 : -1
  }

  /** Tells the machine what may be lent; whenever a choice changes. */
  private async lendModels(): Promise<void> {
    const { memoryMB, share, without } = this.choices
    const wanted = this.offers.filter((offer) => !without.includes(offer.id))
    await Promise.all(
      wanted.map(async ({ id }) => {
        if (!this.facts.has(id)) this.facts.set(id, factsOf(await this.engines!.manifestOf(id), id))
      }),
    )
    const cached = (await this.store!.held()).models.filter((model) => model.shards.length > 0).map((model) => model.id)
    const models = wanted.map(({ id }) => this.facts.get(id)!)
    const fixed = this.hold.flatMap(({ model, from, to }) => {
      const found = models.find((one) => one.modelId.startsWith(model))
      return found && to <= found.layers ? [{ modelId: found.modelId, segment: { from, to } }] : []
    })
    this.mesh.command({
      kind: 'lend',
      lending: { models, memoryBytes: memoryMB * 1e6, share, cached, friends: this.mesh.identity?.own ?? [], ...(fixed.length > 0 ? { fixed } : {}) },
    })
    this.keepPause()
  }

  /** Brings the machine in line with `paused`. The page calls it whenever that changes. */
  keepPause(): void {
    if (this.mesh.status !== 'in' || this.paused === this.toldPaused) return
    this.toldPaused = this.paused
    this.mesh.command({ kind: this.paused ? 'pause' : 'resume' })
    void this.torrents?.limitUpload(this.uploadLimit)
  }

  /** The page calls it when the browser begins or ends to slow this tab down. */
  tellThrottled(throttled: boolean): void {
    if (this.mesh.status === 'in') this.mesh.command({ kind: 'throttled', throttled })
  }

  pause(): void {
    this.stopped = true
    this.keepPause()
    this.said = 'Paused: this device computes nothing for others.'
  }

  resume(): void {
    this.stopped = false
    this.keepPause()
    this.said = this.paused ? '' : 'Lending again.'
  }

  /** Takes nothing new, finishes what runs, then leaves. */
  drain(): void {
    this.mesh.command({ kind: 'drain' })
    this.said = 'Finishing what runs, then leaving.'
  }

  async leave(): Promise<void> {
    this.said = 'You left. Others were told at once.'
    await this.end()
  }

  private async end(): Promise<void> {
    clearInterval(this.counting)
    this.counting = undefined
    const { mesh, engines, torrents } = this
    this.torrents = null
    await mesh.leave()
    await this.count(torrents)
    await torrents?.closeAll()
    await engines?.close()
    await this.awake.end()
    this.earning?.end()
    this.earning = null
    this.engines = null
    this.toldPaused = false
    this.state = 'idle'
    this.segments = []
  }

  /** For `pagehide`. */
  goodbye(): void {
    this.mesh.goodbye()
  }

  /** Changes choices, keeps them, and acts on them at once. */
  async choose(change: Partial<LendingChoices>): Promise<void> {
    Object.assign(this.choices, change)
    writeChoices($state.snapshot(this.choices) as LendingChoices)
    this.refusal = ''
    if (change.idleOnly && !(await this.conditions.watchIdle())) {
      this.choices.idleOnly = false
      this.refusal = 'The browser does not tell whether somebody uses this device.'
    }
    if (!this.lending) return
    if (change.wake !== undefined) await this.setWake(change.wake)
    if (change.tone !== undefined) await this.setTone(change.tone)
    if (change.uploadKBps !== undefined) await this.torrents?.limitUpload(this.uploadLimit)
    if (change.storageMB !== undefined) await this.store?.trim(change.storageMB * 1e6)
    if (['share', 'memoryMB', 'without', 'storageMB'].some((name) => name in change) && this.mesh.status === 'in') await this.lendModels()
    this.keepPause()
  }

  private async setWake(on: boolean): Promise<void> {
    if (!(await this.awake.wake(on))) this.refusal = 'The browser did not keep the screen on.'
  }

  private async setTone(on: boolean): Promise<void> {
    if (!(await this.awake.tone(on))) this.refusal = 'The browser played no tone.'
  }

  private hear(notice: Notice): void {
    if (notice.of !== 'host') return
    if (notice.what === 'state') {
      this.state = notice.state
      if (notice.state === 'serving') this.numbers.readyMs ??= performance.now() - this.startedAt
      if (notice.state === 'left') void this.end()
    }
    if (notice.what === 'loadFailed') this.said = notice.message
    if (notice.what === 'opened') this.numbers.serving++
    if (notice.what === 'closed') {
      this.numbers.serving = Math.max(0, this.numbers.serving - 1)
      this.numbers.served++
    }
    if (notice.what === 'refused') this.numbers.refused++
    if (notice.what === 'vouched') {
      const segment = this.segments.find((one) => one.modelId === notice.modelId)?.segment
      const layers = this.facts.get(notice.modelId)?.layers
      void payments.vouched(notice, segment && layers ? (segment.to - segment.from) / layers : 0)
    }
  }

  private async count(torrents: Torrents | null = this.torrents): Promise<void> {
    const now = performance.now()
    while (this.runs[0] && this.runs[0].at < now - rateMs) this.runs.shift()
    const over = Math.min(rateMs, Math.max(1, now - this.startedAt))
    const sum = (of: (run: { rows: number; ms: number }) => number): number => this.runs.reduce((total, run) => total + of(run), 0)
    const statistics = this.mesh.network?.statistics()
    this.exchanges = torrents?.exchanges() ?? this.exchanges
    Object.assign(this.numbers, {
      rowsPerSecond: (sum((run) => run.rows) * 1000) / over,
      busy: Math.min(1, sum((run) => run.ms) / over),
      memoryBytes: this.segments.reduce((total, segment) => total + segment.memoryBytes, 0),
      ...(statistics ? { ringIn: statistics.bytesReceived, ringOut: statistics.bytesSent } : {}),
      shardsIn: this.exchanges.reduce((total, { received }) => total + received, 0),
      shardsOut: this.exchanges.reduce((total, { sent }) => total + sent, 0),
    })
    if (this.ticks++ % storedEvery !== 0) return
    const held = await this.store?.held().catch(() => null)
    if (held) this.numbers.storedBytes = held.storedBytes
  }

  /** Deletes what was only kept to be lent. */
  async forget(): Promise<void> {
    this.store ??= new LendStore(new Channel(this.makeStore()))
    for (const { id, lent } of (await this.store.held()).models) if (lent) await this.store.remove(id)
    this.ticks = 0
    await this.count()
  }
}
