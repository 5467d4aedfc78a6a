// What this device's owner would not want to be disturbed by: battery, a network that counts bytes, the hour, somebody at the keyboard; and whether the browser slows
// this tab down. Each is watched only as far as the browser tells it.
import { type LendingChoices, withinHours } from './lending.ts'

interface Battery extends EventTarget {
  charging: boolean
}
interface Connection extends EventTarget {
  saveData?: boolean
  type?: string
}
interface IdleDetectorLike extends EventTarget {
  userState: 'active' | 'idle' | null
  start(options: { threshold: number; signal: AbortSignal }): Promise<void>
}
interface IdleDetectorClass {
  new (): IdleDetectorLike
  requestPermission(): Promise<'granted' | 'denied'>
}

const browser = (): { getBattery?: () => Promise<Battery>; connection?: Connection } => navigator as never
const idleDetector = (): IdleDetectorClass | undefined => (globalThis as { IdleDetector?: IdleDetectorClass }).IdleDetector

/** A second between ticks; browsers let hidden pages tick once a minute at worst. */
const tickMs = 1000
/** A tick so late that work would be late too. */
const lateMs = 1500
/** The browser's least: a minute without a touch. */
const idleMs = 60_000

export class Conditions {
  onBattery = $state(false)
  metered = $state(false)
  /** Null: the browser does not tell. */
  idle = $state<boolean | null>(null)
  hour = $state(new Date().getHours())
  hidden = $state(false)
  /** The browser slows this tab down: its timers came late lately. */
  throttled = $state(false)
  /** Which of the limits this browser can keep. */
  readonly knowsBattery = typeof browser().getBattery === 'function'
  readonly knowsMetered = browser().connection !== undefined
  readonly knowsIdle = idleDetector() !== undefined

  private readonly ending = new AbortController()
  private watchingIdle = false
  private started = false

  /** Starts watching; once is enough. */
  start(): void {
    if (this.started) return
    this.started = true
    const { signal } = this.ending
    const { connection, getBattery } = browser()
    void getBattery?.call(navigator).then((battery) => {
      const look = (): void => {
        this.onBattery = !battery.charging
      }
      look()
      battery.addEventListener('chargingchange', look, { signal })
    })
    const network = (): void => {
      this.metered = connection?.saveData === true || connection?.type === 'cellular'
    }
    network()
    connection?.addEventListener?.('change', network, { signal })
    const visibility = (): void => {
      this.hidden = document.visibilityState === 'hidden'
      if (!this.hidden) this.throttled = false
    }
    visibility()
    document.addEventListener('visibilitychange', visibility, { signal })

    let due = performance.now() + tickMs
    const timer = setInterval(() => {
      const late = performance.now() - due
      due = performance.now() + tickMs
      this.hour = new Date().getHours()
      this.throttled = late > lateMs || (this.throttled && this.hidden && late > lateMs / 3)
    }, tickMs)
    signal.addEventListener('abort', () => clearInterval(timer), { once: true })
  }

  /** Call it from a click: the browser asks the person. False when it may not be known. */
  async watchIdle(): Promise<boolean> {
    const Detector = idleDetector()
    if (!Detector) return false
    if (this.watchingIdle) return true
    try {
      if ((await Detector.requestPermission()) !== 'granted') return false
      const detector = new Detector()
      detector.addEventListener('change', () => {
        this.idle = detector.userState === 'idle'
      })
      await detector.start({ threshold: idleMs, signal: this.ending.signal })
      this.idle = detector.userState === 'idle'
      this.watchingIdle = true
      return true
    } catch {
      return false
    }
  }

  /** Why nothing is lent now, in a few words each; empty: nothing is in the way. */
  reasons(choices: LendingChoices): string[] {
    const reasons: string[] = []
    if (choices.mainsOnly && this.onBattery) reasons.push('this device runs on its battery')
    if (choices.unmeteredOnly && this.metered) reasons.push('the network counts bytes')
    if (choices.idleOnly && this.idle === false) reasons.push('somebody uses this device')
    if (!withinHours(this.hour, choices.fromHour, choices.toHour)) reasons.push(`it is not between ${choices.fromHour} and ${choices.toHour} o’clock`)
    return reasons
  }

  stop(): void {
    this.ending.abort()
  }
}
