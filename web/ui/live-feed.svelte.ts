// What a relay tells live: a look, then server-sent events. Rune state; reconnects by itself for as long as somebody watches.

/** `away`: the relay does not answer; `none`: it answers, but has nothing of this kind. */
export type FeedStatus = 'connecting' | 'live' | 'away' | 'none'

const retryMsMin = 1000
const retryMsMax = 15_000

export abstract class LiveFeed {
  status = $state<FeedStatus>('connecting')

  private events: EventSource | null = null
  private timer: ReturnType<typeof setTimeout> | undefined
  private retryMs = retryMsMin
  private wanted = false
  /** Counts connections: one that was overtaken while it waited must not open a stream of its own. */
  private turn = 0

  /** What is there now. Throws nothing. The stream is opened after `live`. */
  protected abstract look(): Promise<FeedStatus>
  /** The stream, listened to; calls `heard` for each event that makes sense. */
  protected abstract open(): EventSource

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

  protected heard(): void {
    this.status = 'live'
    this.retryMs = retryMsMin
  }

  private async connect(): Promise<void> {
    const turn = ++this.turn
    clearTimeout(this.timer)
    this.events?.close()
    this.events = null
    const status = await this.look()
    if (!this.wanted || turn !== this.turn) return
    if (status !== 'live') {
      this.status = status
      // A relay that is rebuilt may have it then, but nobody should ask every second.
      if (status === 'none') this.retryMs = retryMsMax
      return this.later()
    }
    const events = this.open()
    this.events = events
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
}
