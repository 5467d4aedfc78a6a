// A host's own defence: when somebody disputes what it signed, an agent answers with its layers and the rows it kept. On a thread of its own, begun with the first claim:
// a trace is seconds of computing, and the thread that speaks with peers must never wait for it.
import { Worker } from 'node:worker_threads'
import { messageOf } from '../errors.ts'
import type { AgentNotice } from '../watch/agent.ts'
import type { RetainedStore } from './retained.ts'

export interface DefenderSetup {
  home: string
  relay: string
  secret: Uint8Array
  /** Folder of the store of retained claims. */
  folder: string
}

export interface Defender {
  /** There is a claim to answer for. */
  begin(): void
  close(): Promise<void>
}

/** A thread that failed is begun again after this. */
const againMs = 30_000

export function startDefender(setup: DefenderSetup, store: RetainedStore, onNotice: (notice: AgentNotice) => void): Defender {
  let worker: Worker | undefined
  let ended = false
  let timer: ReturnType<typeof setTimeout> | undefined
  const begin = (): void => {
    if (worker || ended) return
    worker = new Worker(new URL('./defender-thread.ts', import.meta.url), { name: 'meadow-defender', workerData: setup })
    worker.unref()
    // That the relay is away the host tells itself.
    worker.on('message', (notice: AgentNotice) => (notice.type === 'gap' ? undefined : onNotice(notice)))
    worker.on('error', (error) => onNotice({ type: 'trouble', what: 'The defence', reason: messageOf(error) }))
    worker.on('exit', () => {
      worker = undefined
      if (ended) return
      timer = setTimeout(begin, againMs)
      timer.unref()
    })
  }
  if (store.count > 0) begin()
  return {
    begin,
    async close() {
      ended = true
      clearTimeout(timer)
      const running = worker
      if (!running) return
      const over = new Promise<void>((resolve) => running.once('exit', () => resolve()))
      running.postMessage('stop')
      // What it has sent is on the ledger; what it was computing can be computed again.
      const patience = setTimeout(() => void running.terminate(), 2000)
      await over
      clearTimeout(patience)
    },
  }
}
