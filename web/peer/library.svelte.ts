// The models a person can choose from: what the relay offers and what this device holds, with downloads. Rune state; all storage work happens in the store worker.
// Tabs of one browser share the store: a download that another tab runs is shown here with its progress, can be paused here, and ends in a model that is ready in both.
import { downloadLock, type StoredModel, type StoreReply, type StoreRequest, WorkerError } from '../workers/messages.ts'
import { Channel, type Without } from './channel.ts'
import { type Offer, parseOffers } from './offers.ts'

export type ModelState = 'offered' | 'downloading' | 'paused' | 'ready'

export interface ModelEntry {
  id: string
  /** For people. */
  title: string
  /** The relay starts newcomers with it. */
  isDefault: boolean
  architecture: string
  licence: string
  bytes: number
  received: number
  state: ModelState
  /** The relay has it: it can be downloaded (again). */
  offered: boolean
  /** Why the last download stopped, '' when nothing went wrong. */
  problem: string
  /** Bytes per second of the running download. */
  rate: number
}

const underWay = (old: ModelEntry | undefined): Partial<ModelEntry> => ({ state: 'downloading', received: old?.received ?? 0, rate: old?.rate ?? 0 })

/** What tabs tell each other: bytes of a download that runs, or that something in the store changed. */
type TabMessage = { kind: 'progress'; id: string; received: number; rate: number } | { kind: 'changed' }

/** A tab that was closed in the middle of a download says nothing: whether it still holds the download's lock is looked up this often. */
const elsewhereMs = 1000

export class Library {
  models = $state<ModelEntry[]>([])
  /** The first list is in: before, an empty list means nothing. */
  known = $state(false)
  relayReachable = $state(true)
  problem = $state('')
  quota = $state<{ free: number; used: number; persisted: boolean } | null>(null)
  storage = $state<'opfs' | 'indexeddb' | null>(null)

  private readonly channel: Channel<StoreRequest, StoreReply>
  private readonly tabs = new BroadcastChannel('meadow-library')
  private offers: Offer[] = []
  /** Models that this tab downloads, and those that other tabs do. */
  private readonly here = new Set<string>()
  private elsewhere = new Set<string>()
  private watching = false

  constructor(worker: Worker) {
    this.channel = new Channel(worker)
    this.tabs.onmessage = ({ data }: MessageEvent<TabMessage>) => {
      if (data.kind === 'progress') this.progressElsewhere(data)
      else void this.refreshTabs()
    }
  }

  private tell(message: TabMessage): void {
    this.tabs.postMessage(message)
  }

  private downloads(id: string): boolean {
    return this.here.has(id) || this.elsewhere.has(id)
  }

  private progressElsewhere({ id, received, rate }: Extract<TabMessage, { kind: 'progress' }>): void {
    if (this.here.has(id)) return
    this.elsewhere.add(id)
    if (this.model(id)?.state !== 'ready') this.patch(id, { state: 'downloading', problem: '', received, rate })
    void this.watchElsewhere()
  }

  /** Which models other tabs download, by the lock that each download holds (workers/store.worker.ts); none where the browser has no locks. */
  private async lookElsewhere(): Promise<void> {
    const { held = [] } = (await navigator.locks?.query()) ?? {}
    const found = held.flatMap(({ name, mode }) => (mode === 'shared' && name?.startsWith(downloadLock('')) ? [name.slice(downloadLock('').length)] : []))
    this.elsewhere = new Set(found.filter((id) => !this.here.has(id)))
  }

  private async refreshTabs(): Promise<void> {
    await this.lookElsewhere()
    await this.refreshStored()
    void this.watchElsewhere()
  }

  /** Until no other tab downloads any more, however it ended. */
  private async watchElsewhere(): Promise<void> {
    if (this.watching || !navigator.locks) return
    this.watching = true
    while (this.elsewhere.size > 0) {
      await new Promise((resolve) => setTimeout(resolve, elsewhereMs))
      const before = this.elsewhere.size
      await this.lookElsewhere()
      if (this.elsewhere.size < before) await this.refreshStored()
    }
    this.watching = false
  }

  model(id: string | null): ModelEntry | null {
    return this.models.find((model) => model.id === id) ?? null
  }

  get ready(): ModelEntry[] {
    return this.models.filter((model) => model.state === 'ready')
  }

  /** Lists what is stored, then what the relay offers. The first answers without a network. */
  async open(): Promise<void> {
    await this.refreshTabs()
    await this.refreshOffers()
    this.known = true
  }

  private async refreshStored(): Promise<void> {
    try {
      await this.call({ kind: 'list' }, (reply) => {
        if (reply.kind === 'models') this.merge(reply.models)
      })
      this.problem = ''
    } catch (error) {
      this.problem = (error as Error).message
    }
    await this.refreshQuota()
  }

  async refreshOffers(): Promise<void> {
    try {
      const response = await fetch('/models', { headers: { accept: 'application/json' } })
      if (!response.ok) throw new Error(`status ${response.status}`)
      this.offers = parseOffers(await response.json())
      this.relayReachable = true
    } catch {
      this.relayReachable = false
    }
    this.merge(null)
  }

  async refreshQuota(): Promise<void> {
    const estimate = await navigator.storage?.estimate?.().catch(() => null)
    if (estimate?.quota === undefined) return
    const used = estimate.usage ?? 0
    this.quota = { used, free: Math.max(0, estimate.quota - used), persisted: (await navigator.storage.persisted?.()) ?? false }
  }

  /** Rows of offers and of the store (null: as they are shown now), by id. */
  private merge(stored: StoredModel[] | null): void {
    const before = new Map(this.models.map((model) => [model.id, model]))
    const next = new Map<string, ModelEntry>()
    for (const offer of this.offers)
      next.set(offer.id, { ...offer, received: 0, state: 'offered', offered: true, problem: before.get(offer.id)?.problem ?? '', rate: 0 })
    for (const [id, model] of next) if (this.downloads(id)) next.set(id, { ...model, ...underWay(before.get(id)) })
    const here: StoredModel[] =
      stored ??
      [...before.values()]
        .filter((m) => m.state !== 'offered')
        .map((m) => ({ ...m, complete: m.state === 'ready', paused: m.state === 'paused', storage: 'opfs' }))
    if (stored?.[0]) this.storage = stored[0].storage
    for (const { id, title, architecture, licence, bytes, received, complete } of here) {
      const old = before.get(id)
      const state = complete ? 'ready' : this.downloads(id) ? 'downloading' : 'paused'
      next.set(id, {
        id,
        title: next.get(id)?.title ?? title,
        isDefault: next.get(id)?.isDefault ?? false,
        architecture,
        licence,
        bytes,
        received: state === 'downloading' ? Math.max(received, old?.received ?? 0) : received,
        state,
        offered: next.has(id),
        problem: complete ? '' : (old?.problem ?? ''),
        rate: old?.rate ?? 0,
      })
    }
    this.models = [...next.values()].sort((a, b) => a.title.localeCompare(b.title))
  }

  private call(message: Without<StoreRequest, 'id'>, onReply: (reply: StoreReply) => void = () => {}): Promise<void> {
    return this.channel.send(message, (reply) => {
      onReply(reply)
      return reply.kind === 'done' || reply.kind === 'models'
    }).ended
  }

  private patch(id: string, change: Partial<ModelEntry>): void {
    const model = this.model(id)
    if (model) Object.assign(model, change)
  }

  /** Downloads what is missing. Call it from a click: browsers ask the person whether the data may stay only then. Resolves when it is ready, paused, or failed (`problem` says why). */
  async download(id: string): Promise<void> {
    if (this.here.has(id)) return
    this.here.add(id)
    this.elsewhere.delete(id)
    this.patch(id, { state: 'downloading', problem: '', rate: 0 })
    void navigator.storage?.persist?.().then(() => this.refreshQuota())
    let at = performance.now()
    let bytes = this.model(id)?.received ?? 0
    try {
      await this.call({ kind: 'download', modelId: id, title: this.model(id)?.title ?? '' }, (reply) => {
        if (reply.kind !== 'progress') return
        const now = performance.now()
        const rate = this.model(id)?.rate ?? 0
        const current = Math.max(0, ((reply.received - bytes) * 1000) / Math.max(1, now - at))
        this.patch(id, { received: reply.received, rate: rate === 0 ? current : rate * 0.8 + current * 0.2 })
        at = now
        bytes = reply.received
        this.tell({ kind: 'progress', id, received: bytes, rate: this.model(id)?.rate ?? 0 })
      })
      this.patch(id, { state: 'ready', problem: '' })
    } catch (error) {
      const stopped = error instanceof WorkerError && error.name === 'AbortError'
      this.patch(id, { state: (this.model(id)?.received ?? 0) > 0 ? 'paused' : 'offered', problem: stopped ? '' : (error as Error).message })
    }
    this.here.delete(id)
    await this.refreshTabs()
    this.tell({ kind: 'changed' })
  }

  async pause(id: string): Promise<void> {
    await this.call({ kind: 'pause', modelId: id })
  }

  async remove(id: string): Promise<void> {
    this.patch(id, { state: 'offered', received: 0, problem: '' })
    await this.call({ kind: 'remove', modelId: id })
    await this.refreshStored()
    await this.refreshOffers()
    this.tell({ kind: 'changed' })
  }
}
