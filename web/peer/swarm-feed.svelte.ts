// The swarm as the relay sees it, live.
import { type FeedStatus, LiveFeed } from '../ui/live-feed.svelte.ts'
import { parseSnapshot, type Snapshot } from './snapshot.ts'

/** A relay that is asked and never answers is away: without a limit the page would look for ever. */
const answerMs = 10_000

export class SwarmFeed extends LiveFeed {
  snapshot = $state.raw<Snapshot | null>(null)
  /** performance.now() of the last word from the relay. */
  heardAt = $state(0)

  protected open(): EventSource {
    const events = new EventSource('/swarm/events')
    const read = (event: MessageEvent<string>): void => {
      if (this.take(event.data)) this.heard()
    }
    events.onmessage = read
    events.addEventListener('swarm', read)
    return events
  }

  protected async look(): Promise<FeedStatus> {
    try {
      const response = await fetch('/swarm', { headers: { accept: 'application/json' }, cache: 'no-store', signal: AbortSignal.timeout(answerMs) })
      if (!response.ok || !this.take(await response.text())) return response.status >= 500 ? 'away' : 'none'
      this.status = 'live'
      return 'live'
    } catch {
      return 'away'
    }
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
}
