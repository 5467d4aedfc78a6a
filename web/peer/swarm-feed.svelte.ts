// The swarm as the relay sees it, live: one GET, then server-sent events. Rune state; reconnects by itself for as long as somebody looks.
import { parseSnapshot, type Snapshot } from './snapshot.ts'

/** `away`: the relay does not answer; `none`: it answers but keeps no mesh. */
export type FeedStatus = 'connecting' | 'live' | 'away' | 'none'

const retryMsMin = 1000
const retryMsMax = 15_000

export class SwarmFeed {
  snapshot = $state.raw<Snapshot | null>(null)
  status = $state<FeedStatus>('connecting')
  /** performance.now() of the last word from the relay. */
  heardAt = $state(0)

  private events: EventSource | null = null
  private timer: ReturnType<typeof setTimeout> | undefined
  private retryMs = retryMsMin
  private wanted = false

  /** Starts looking; returns the function that stops. */
  watch(): () => void {
    this.wanted = true
    void this.connect()
    const online = (): void => {
      if (this.status === 'away') void this.connect()
    }
    addEventListener('online', online)
    return () => {
      this.wanted = false
      removeEventListener('online', online)
      clearTimeout(this.timer)
      this.events?.close()
      this.events = null
    }
  }

  private async connect(): Promise<void> {
    clearTimeout(this.timer)
    this.events?.close()
    this.events = null
    const status = await this.refresh()
    if (!this.wanted) return
    if (status !== 'live') return this.later()
    const events = new EventSource('/swarm/events')
    this.events = events
    const read = (event: MessageEvent<string>): void => {
      if (this.take(event.data)) this.retryMs = retryMsMin
    }
    events.onmessage = read
    events.addEventListener('swarm', read)
    events.onopen = () => {
      this.status = 'live'
    }
    // The browser's own retry gives up on some errors and hides others: one way of our own is simpler to tell.
    events.onerror = () => {
      events.close()
      if (this.events !== events) return
      this.events = null
      this.status = 'away'
      this.later()
    }
  }

  private later(): void {
    clearTimeout(this.timer)
    this.timer = setTimeout(() => void this.connect(), this.retryMs)
    this.retryMs = Math.min(retryMsMax, this.retryMs * 2)
  }

  private take(json: string): boolean {
    let parsed: unknown
    try {
      parsed = JSON.parse(json)
    } catch {
      return false
    }
    const snapshot = parseSnapshot(parsed)
    if (!snapshot) return false
    this.snapshot = snapshot
    this.heardAt = performance.now()
    return true
  }

  /** One look, without staying. */
  async refresh(): Promise<FeedStatus> {
    let status: FeedStatus
    try {
      const response = await fetch('/swarm', { headers: { accept: 'application/json' }, cache: 'no-store' })
      if (response.ok && this.take(await response.text())) status = 'live'
      else status = response.status >= 500 ? 'away' : 'none'
    } catch {
      status = 'away'
    }
    this.status = status
    return status
  }
}
