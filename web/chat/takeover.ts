// An answer that starts on this device and that the swarm finishes when it is faster. Exact models make this invisible: both make the same tokens, so whoever is
// ahead is shown, and where they are both there they are compared.
import type { SwarmEvent } from '../peer/swarm-answer.ts'
import type { AskEvent } from '../workers/messages.ts'

export interface TakeOver {
  /** `made`: tokens that are there already, when this device goes on where a failed swarm left off. */
  local(signal: AbortSignal, made: number[]): AsyncGenerator<AskEvent>
  swarm(signal: AbortSignal): AsyncGenerator<SwarmEvent>
  /** Asked after every local token until it says yes. */
  isWorthIt(localTokens: number): boolean
  /** The swarm gave another token at a position than this device: one of the two is wrong, and it is not this device, which was tested. */
  onDifference(position: number): void
}

export async function* takeOver({ local, swarm, isWorthIt, onDifference }: TakeOver, signal: AbortSignal): AsyncGenerator<SwarmEvent> {
  const here = new AbortController()
  const there = new AbortController()
  const both = (): void => {
    here.abort(signal.reason)
    there.abort(signal.reason)
  }
  signal.addEventListener('abort', both, { once: true })
  const shown: number[] = []
  /** What the swarm has made, while this device is ahead. */
  const ahead: Extract<SwarmEvent, { kind: 'token' }>[] = []
  let held: SwarmEvent[] = []
  let reading: Promise<void> | null = null
  let taken = false
  let differs = false
  let over = false
  let failure: unknown = null
  let wake: () => void = () => {}

  const readSwarm = async (): Promise<void> => {
    try {
      for await (const event of swarm(there.signal)) {
        if (event.kind === 'token') ahead.push(event)
        else held.push(event)
        if (event.kind === 'token' && ahead.length <= shown.length && event.token !== shown[ahead.length - 1] && !differs) {
          differs = true
          onDifference(ahead.length - 1)
          there.abort()
          return
        }
        if (!differs && ahead.length > shown.length && !taken) {
          taken = true
          here.abort()
        }
        wake()
      }
    } catch (error) {
      failure = error
    } finally {
      over = true
      wake()
    }
  }

  try {
    try {
      for await (const event of local(here.signal, [])) {
        if (taken) break
        if (event.kind === 'token') shown.push(event.token)
        yield event
        if (event.kind === 'answered') return
        if (event.kind === 'token' && reading === null && isWorthIt(shown.length)) reading = readSwarm()
      }
    } catch (error) {
      if (!taken || signal.aborted) throw error
    }
    // The swarm is ahead: its tokens from where this device stopped, and everything it knows.
    for (;;) {
      while (shown.length < ahead.length) {
        const event = ahead[shown.length]
        shown.push(event.token)
        yield event
      }
      const facts = held
      held = []
      for (const event of facts) if (event.kind !== 'prefill') yield event
      if (over && held.length === 0 && shown.length >= ahead.length) break
      if (!over && held.length === 0 && shown.length >= ahead.length) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    }
    // The swarm broke off: this device goes on to the very same text.
    if (failure && !signal.aborted) yield* local(signal, shown)
    else if (failure) throw failure
  } finally {
    signal.removeEventListener('abort', both)
    here.abort()
    there.abort()
    await reading
  }
}
