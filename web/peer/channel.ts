// Requests to a worker and their replies, matched by id. Nobody above this file sees postMessage.
import { type WireError, WorkerError } from '../workers/messages.ts'

type Reply = { id: number; kind: string; error?: WireError }

/** Omit over each member of a union. */
export type Without<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never

interface Waiting<R> {
  onReply: (reply: R) => void
  reject: (error: unknown) => void
}

export class Channel<Q extends { id: number }, R extends { id: number; kind: string }> {
  private readonly worker: Worker
  private readonly waiting = new Map<number, Waiting<R>>()
  private nextId = 1
  private closed: unknown = null
  /** performance.now() of the last sign of life. */
  heardAt = performance.now()

  constructor(worker: Worker) {
    this.worker = worker
    worker.onmessage = ({ data }: MessageEvent<R>) => {
      this.heardAt = performance.now()
      const waiting = this.waiting.get(data.id)
      if (!waiting) return
      if (data.kind === 'failed') {
        this.waiting.delete(data.id)
        waiting.reject(new WorkerError((data as Reply).error!))
      } else waiting.onReply(data)
    }
    worker.onerror = (event) =>
      this.close(new WorkerError({ name: 'WorkerError', kind: 'lost', message: `The worker stopped (${event.message || 'it could not be started'}).` }))
  }

  /** Sends, and calls `onReply` for every reply until it returns true (the last one). Rejects with WorkerError when the worker refuses or dies. `transfer`: handed over, not copied. */
  send(message: Without<Q, 'id'>, onReply: (reply: R) => boolean, transfer: Transferable[] = []): { id: number; ended: Promise<void> } {
    const id = this.nextId++
    const ended = new Promise<void>((resolve, reject) => {
      if (this.closed) return reject(this.closed)
      this.waiting.set(id, {
        reject,
        onReply: (reply) => {
          if (!onReply(reply)) return
          this.waiting.delete(id)
          resolve()
        },
      })
    })
    try {
      if (!this.closed) this.worker.postMessage({ ...message, id }, transfer)
    } catch (error) {
      this.waiting.get(id)?.reject(error)
      this.waiting.delete(id)
    }
    return { id, ended }
  }

  /** Sends what has no answer worth waiting for. */
  tell(message: Without<Q, 'id'>): void {
    this.worker.postMessage({ ...message, id: this.nextId++ })
  }

  /** Ends the worker; everything that waits fails with `reason`. */
  close(reason: unknown): void {
    if (this.closed) return
    this.closed = reason
    this.worker.terminate()
    for (const { reject } of this.waiting.values()) reject(reason)
    this.waiting.clear()
  }
}
