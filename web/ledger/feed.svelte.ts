// The ledger live: which block is the newest, and whether the relay is there. What it says starts a look; only what that look proves is shown.
import { type FeedStatus, LiveFeed } from '../ui/live-feed.svelte.ts'
import { type Ledger, NoLedger } from './client.ts'

/** A busy chain should not have a page look more often than people can read. */
const changeMsMin = 700

export class LedgerFeed extends LiveFeed {
  /** Height of the newest finished block, on the relay's word. */
  height = $state(0)
  /** Rises with every block and every transaction that is heard of: look again. */
  changes = $state(0)
  /** Records there are, on the relay's word. */
  records = $state(0)
  /** Why the ledger has stopped, '' while it runs. */
  stopped = $state('')

  readonly ledger: Ledger
  private readonly account: () => string | null
  private changing: ReturnType<typeof setTimeout> | undefined

  /** `account`: only what touches it. */
  constructor(ledger: Ledger, account: () => string | null = () => null) {
    super()
    this.ledger = ledger
    this.account = account
  }

  private changed(): void {
    this.changing ??= setTimeout(() => {
      this.changing = undefined
      this.changes++
    }, changeMsMin)
  }

  protected async look(): Promise<FeedStatus> {
    try {
      await this.ledger.checker()
      return 'live'
    } catch (error) {
      // What is not proven says so where it is shown (look.svelte.ts).
      return error instanceof NoLedger ? 'none' : 'away'
    }
  }

  protected open(): EventSource {
    const account = this.account()
    const events = new EventSource(`/ledger/follow${account === null ? '' : `?account=${account}`}`)
    events.addEventListener('status', (event) => {
      const { height, records, stopped } = read(event)
      this.height = Number(height) || 0
      this.records = Number(records) || 0
      this.stopped = typeof stopped === 'string' ? stopped : ''
      this.heard()
      this.changes++
    })
    events.addEventListener('block', (event) => {
      this.height = Math.max(this.height, Number(read(event).height) || 0)
      this.changed()
    })
    events.addEventListener('transaction', () => this.changed())
    return events
  }
}

function read(event: MessageEvent<string>): Record<string, unknown> {
  try {
    return JSON.parse(event.data) as Record<string, unknown>
  } catch {
    return {}
  }
}
