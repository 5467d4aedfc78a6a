// The engines of a Node host, each on a thread of its own, within one memory budget.
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import type { Engines, LoadedEngine } from '../../mesh/shell.ts'
import { EngineError, type Row, type Segment } from '../../protocol/engine/engine.ts'
import { cacheBytesOf, factsOf, weightBytesOf } from '../../protocol/peer/facts.ts'
import type { RowWant } from '../../protocol/peer/machine.ts'
import type { FromEngine, ToEngine } from './engine-thread.ts'
import { openShards } from './shards.ts'

export interface NodeEnginesOptions {
  home: string
  /** Threads of each engine; default one per core, at most 8. */
  threads?: number
  /** Weights and caches of all models together. */
  memoryBytes: number
  /** Gets shards that are not on this machine yet, before they are loaded. */
  fetchShards?: (modelId: string, segment: Segment, onProgress: (loaded: number, total: number) => void, signal: AbortSignal) => Promise<void>
  onLine?: (line: string) => void
}

/** More positions than this gain nothing: 16 sessions of 4,096. */
const positionsMost = 65_536

export function createNodeEngines(options: NodeEnginesOptions): Engines & { close(): Promise<void> } {
  const threads = options.threads ?? Math.min(availableParallelism(), 8)
  const open = new Map<string, EngineThread>()

  const unload = async (modelId: string): Promise<void> => {
    const thread = open.get(modelId)
    open.delete(modelId)
    await thread?.close()
  }

  return {
    async load(modelId, segment, onProgress, signal): Promise<LoadedEngine> {
      await unload(modelId)
      // Fetching and loading are halves of one bar.
      await options.fetchShards?.(modelId, segment, (loaded, total) => onProgress(loaded, total * 2), signal)
      signal.throwIfAborted()
      const facts = factsOf((await openShards(options.home, modelId)).manifest, modelId)
      const others = [...open.values()].reduce((sum, thread) => sum + thread.bytes, 0)
      const weights = weightBytesOf(facts, segment)
      const room = options.memoryBytes - others - weights
      const positionsMax = Math.min(positionsMost, Math.floor(room / Math.max(1, cacheBytesOf(facts, segment, 1))))
      if (positionsMax < facts.context / 4 && positionsMax < 1024)
        throw new EngineError(`${facts.name}, layers ${segment.from} to ${segment.to}, leaves no room for answers in ${options.memoryBytes} bytes`, 'memory')
      const thread = new EngineThread(weights + cacheBytesOf(facts, segment, positionsMax))
      open.set(modelId, thread)
      signal.addEventListener('abort', () => void thread.close(), { once: true })
      try {
        const loaded = await thread.load({ home: options.home, modelId, segment, threads, positionsMax }, (done, total) => onProgress(total + done, total * 2))
        signal.throwIfAborted()
        options.onLine?.(`${facts.name}, layers ${segment.from} to ${segment.to}: ${loaded.description}, ${loaded.stepMs.toFixed(1)} ms a row.`)
        return { segment, rowsMax: loaded.rowsMax, positionsMax, stepMs: loaded.stepMs }
      } catch (error) {
        if (open.get(modelId) === thread) open.delete(modelId)
        await thread.close()
        throw error
      }
    },
    unload,
    async compute(modelId, rows, wants, boundary) {
      const thread = open.get(modelId)
      if (!thread) throw new EngineError('nothing is loaded', 'lost')
      return thread.compute(rows, wants, boundary)
    },
    truncate: (modelId, sequence, length) => open.get(modelId)?.post({ kind: 'truncate', sequence, length }),
    async close() {
      await Promise.all([...open.keys()].map(unload))
    },
  }
}

type Answer = Extract<FromEngine, { kind: 'loaded' | 'computed' | 'closed' }>

class EngineThread {
  /** What it holds of the budget. */
  readonly bytes: number
  private readonly worker = new Worker(new URL('./engine-thread.ts', import.meta.url), { name: 'meadow-engine' })
  private readonly waiting = new Map<
    number,
    { resolve: (answer: Answer) => void; reject: (error: Error) => void; progress?: (loaded: number, total: number) => void }
  >()
  private count = 0
  private ended = false

  constructor(bytes: number) {
    this.bytes = bytes
    this.worker.on('message', (message: FromEngine) => this.take(message))
    const lost = (why: string) => {
      this.ended = true
      for (const { reject } of this.waiting.values()) reject(new EngineError(why, 'lost'))
      this.waiting.clear()
    }
    this.worker.on('error', (error) => lost(`the engine's thread failed: ${error.message}`))
    this.worker.on('exit', () => lost('the engine was closed'))
  }

  private take(message: FromEngine): void {
    const waiting = this.waiting.get(message.id)
    if (!waiting) return
    if (message.kind === 'progress') return waiting.progress?.(message.loaded, message.total)
    this.waiting.delete(message.id)
    if (message.kind === 'failed') waiting.reject(message.errorKind ? new EngineError(message.message, message.errorKind) : new Error(message.message))
    else waiting.resolve(message)
  }

  post(message: ToEngine, transfer: ArrayBuffer[] = []): void {
    if (!this.ended) this.worker.postMessage(message, transfer)
  }

  private ask<K extends Answer['kind']>(
    kind: K,
    make: (id: number) => ToEngine,
    progress?: (loaded: number, total: number) => void,
  ): Promise<Extract<Answer, { kind: K }>> {
    return new Promise((resolve, reject) => {
      if (this.ended) return reject(new EngineError('the engine was closed', 'lost'))
      const id = this.count++
      const settle = (answer: Answer): void => {
        if (answer.kind === kind) resolve(answer as Extract<Answer, { kind: K }>)
        else reject(new Error(`the engine answered ${answer.kind} to ${kind}`))
      }
      this.waiting.set(id, { resolve: settle, reject, ...(progress ? { progress } : {}) })
      this.post(make(id))
    })
  }

  load(what: Omit<Extract<ToEngine, { kind: 'load' }>, 'kind' | 'id'>, progress: (loaded: number, total: number) => void) {
    return this.ask('loaded', (id) => ({ kind: 'load', id, ...what }), progress)
  }

  async compute(rows: Row[], wants: RowWant[], boundary: Int32Array | null): Promise<{ boundary: Int32Array | null; tokens: (number | null)[] }> {
    const { boundary: out, tokens } = await this.ask('computed', (id) => ({ kind: 'compute', id, rows, wants, boundary }))
    return { boundary: out, tokens }
  }

  async close(): Promise<void> {
    if (this.ended) return
    this.ended = true
    await this.worker.terminate()
  }
}
