// The ledger live: which block is the newest, and whether the relay is there. Reconnects by itself for as long as somebody looks. What it says starts a look; only what
// that look proves is shown.
import { type Ledger, NoLedger, RelayAway } from './client.ts'

/** `away`: the relay does not answer; `none`: it keeps no ledger. */
export type LedgerStatus = 'connecting' | 'live' | 'away' | 'none'

const retryMsMin = 1000
const retryMsMax = 15_000
/** A busy chain should not have a page look more often than people can read. */
const changeMsMin = 700

export class LedgerFeed {
  status = $state<LedgerStatus>('connecting')
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
  private events: EventSource | null = null
  private timer: ReturnType<typeof setTimeout> | undefined
  private retryMs = retryMsMin
  private wanted = false
  private changing: ReturnType<typeof setTimeout> | undefined
  /** Counts connections: one that was overtaken while it waited must not open a stream of its own. */
  private turn = 0

  /** `account`: only what touches it. */
  constructor(ledger: Ledger, account: () => string | null = () => null) {
    this.ledger = ledger
    this.account = account
  }

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
      clearTimeout(this.changing)
      this.changing = undefined
      this.events?.close()
      this.events = null
    }
  }

  private changed(): void {
    this.changing ??= setTimeout(() => {
      this.changing = undefined
      this.changes++
    }, changeMsMin)
  }

  private async connect(): Promise<void> {
    const turn = ++this.turn
    clearTimeout(this.timer)
    this.events?.close()
    this.events = null
    try {
      await this.ledger.checker()
    } catch (error) {
      if (turn !== this.turn) return
      this.status = error instanceof NoLedger ? 'none' : 'away'
      // A relay that is rebuilt may have a ledger then, but nobody should ask it every second.
      if (!(error instanceof RelayAway)) this.retryMs = retryMsMax
      return this.later()
    }
    if (!this.wanted || turn !== this.turn) return
    const account = this.account()
    const events = new EventSource(`/ledger/follow${account === null ? '' : `?account=${account}`}`)
    this.events = events
    events.addEventListener('status', (event) => {
      const { height, records, stopped } = read(event)
      this.height = Number(height) || 0
      this.records = Number(records) || 0
      this.stopped = typeof stopped === 'string' ? stopped : ''
      this.status = 'live'
      this.retryMs = retryMsMin
      this.changes++
    })
    events.addEventListener('block', (event) => {
      this.height = Math.max(this.height, Number(read(event).height) || 0)
      this.changed()
    })
    events.addEventListener('transaction', () => this.changed())
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
    if (!this.wanted) return
    this.timer = setTimeout(() => void this.connect(), this.retryMs)
    this.retryMs = Math.min(retryMsMax, this.retryMs * 2)
  }
}

function read(event: MessageEvent<string>): Record<string, unknown> {
  try {
    return JSON.parse(event.data) as Record<string, unknown>
  } catch {
    return {}
  }
}
