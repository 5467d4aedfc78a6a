// Questions through a shell, as async sequences: one per ask, from the route to the receipt.
import type { ModelFacts, Notice, Question } from '../protocol/peer/machine.ts'
import type { Payer } from '../protocol/peer/payment.ts'
import type { Shell } from './shell.ts'

export type AskNotice = Extract<Notice, { of: 'ask' }>

/** A question that ended without an answer; `reason` is the machine's. */
export class AskError extends Error {
  override name = 'AskError'
  readonly reason: Extract<AskNotice, { what: 'failed' }>['reason']
  constructor(message: string, reason: Extract<AskNotice, { what: 'failed' }>['reason']) {
    super(message)
    this.reason = reason
  }
}

export interface AskOptions {
  /** False: no speculation. The answer is the same. */
  draft?: boolean
  /** Pays for the answer. */
  payer?: Payer
  signal?: AbortSignal
}

export interface Requester {
  /**
   * Yields what happens, ending with `receipt` (or with `stop` when no host signed in time). Throws AskError when it failed, the signal's reason when aborted.
   * Leaving the loop early cancels the question.
   */
  ask(question: Question, facts: ModelFacts, options?: AskOptions): AsyncGenerator<AskNotice>
  /** Questions about a model that have a place in the queue but no route yet. */
  waiting(modelId: string): number
  /** Cancels what is asked. */
  close(): Promise<void>
}

/** Hosts sign at once; after so long the answer stands without their receipts. */
const receiptMsMax = 6_000

interface Ask {
  modelId: string
  queued: boolean
  notices: AskNotice[]
  wake: () => void
  ended: boolean
}

export function createRequester(shell: Pick<Shell, 'command' | 'subscribe'>): Requester {
  const asks = new Map<number, Ask>()
  let count = 0
  const unsubscribe = shell.subscribe((notice) => {
    if (notice.of !== 'ask') return
    const ask = asks.get(notice.ask)
    if (!ask) return
    ask.queued = notice.what === 'queued'
    ask.notices.push(notice)
    ask.wake()
  })

  return {
    async *ask(question, facts, { draft, payer, signal } = {}) {
      signal?.throwIfAborted()
      const id = count++
      const ask: Ask = { modelId: question.modelId, queued: true, notices: [], wake: () => {}, ended: false }
      asks.set(id, ask)
      const onAbort = () => ask.wake()
      signal?.addEventListener('abort', onAbort)
      let patience: ReturnType<typeof setTimeout> | undefined
      let late = false
      try {
        shell.command({ kind: 'ask', ask: id, question, facts, ...(draft === undefined ? {} : { draft }), ...(payer ? { payer } : {}) })
        for (;;) {
          signal?.throwIfAborted()
          const notice = ask.notices.shift()
          if (!notice) {
            if (late) return
            if (ask.ended) throw new AskError('The peer has left the mesh.', 'cancelled')
            await new Promise<void>((resolve) => {
              ask.wake = resolve
            })
            continue
          }
          if (notice.what === 'failed') throw new AskError(notice.message, notice.reason)
          if (notice.what === 'stop') {
            patience = setTimeout(() => {
              late = true
              ask.wake()
            }, receiptMsMax)
          }
          yield notice
          if (notice.what === 'receipt') return
        }
      } finally {
        clearTimeout(patience)
        signal?.removeEventListener('abort', onAbort)
        asks.delete(id)
        shell.command({ kind: 'cancel', ask: id })
      }
    },
    waiting: (modelId) => [...asks.values()].filter((ask) => ask.queued && ask.modelId === modelId).length,
    async close() {
      unsubscribe()
      for (const ask of asks.values()) {
        ask.ended = true
        ask.wake()
      }
    },
  }
}
