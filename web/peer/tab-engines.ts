// The engines of a tab that lends (the port of mesh/shell.ts): the shards of a segment are fetched from other tabs, or from the relay where that does not work;
// each model's segment then runs in a worker of its own.

import type { Engines, LoadedEngine } from '../../mesh/shell.ts'
import { EngineError, type Row, type Segment } from '../../protocol/engine/engine.ts'
import { shardsOf } from '../../protocol/engine/segment.ts'
import { decodeManifest } from '../../protocol/model/identity.ts'
import type { Manifest } from '../../protocol/model/manifest.ts'
import { cacheBytesOf, factsOf, weightBytesOf } from '../../protocol/peer/facts.ts'
import type { RowWant } from '../../protocol/peer/machine.ts'
import type { DeviceChoice, Measured, SegmentReply, SegmentReport, SegmentRequest } from '../workers/messages.ts'
import { WorkerError } from '../workers/messages.ts'
import { sizeText } from '../workers/store/errors.ts'
import { Channel } from './channel.ts'
import type { LendStore } from './store.ts'
import { TorrentError } from './torrent-error.ts'
import type { Torrents } from './torrents.ts'

/** A device that needs longer for one run (they are kept to 150 ms, measured) hangs. */
const hungMs = 20_000
/** Positions that a host keeps at most: 16 sessions of 1,024. */
const positionsMost = 16_384

/** What a model's segment is doing here, for people. */
export interface SegmentStatus {
  modelId: string
  name: string
  segment: Segment
  layers: number
  /** `fetching`: bytes come; `loading`: the engine takes them in; `ready`: it computes. */
  state: 'fetching' | 'loading' | 'ready' | 'failed'
  doing: string
  loaded: number
  total: number
  /** Bytes per second. */
  rate: number
  report: SegmentReport | null
  memoryBytes: number
}

export interface TabEnginesOptions {
  store: LendStore
  torrents: () => Torrents | null
  makeWorker: () => Worker
  /** Bytes all models may take on the disk, and weights and caches in memory. */
  limits: () => { storageBytes: number; memoryBytes: number; threads: number; device: DeviceChoice }
  /** What the relay calls a model. */
  titleOf: (modelId: string) => string
  onStatus: (modelId: string, status: SegmentStatus | null) => void
  /** Milliseconds of a finished run. */
  onRun: (rows: number, ms: number, memoryBytes: number) => void
}

type SegmentChannel = Channel<SegmentRequest, SegmentReply>

export class TabEngines implements Engines {
  private readonly options: TabEnginesOptions
  private readonly channels = new Map<string, SegmentChannel>()
  private readonly statuses = new Map<string, SegmentStatus>()
  private readonly measured = new Map<string, Measured>()
  /** Models whose graphics card was lost: they go on on WASM. */
  private readonly lost = new Set<string>()
  private readonly manifests = new Map<string, Manifest>()
  /** Bytes of the memory budget that each model's engine may take: weights and full caches. */
  private readonly reserved = new Map<string, number>()

  constructor(options: TabEnginesOptions) {
    this.options = options
  }

  /** A model's manifest, from this device or the relay, checked. Throws WorkerError. */
  async manifestOf(modelId: string): Promise<Manifest> {
    const known = this.manifests.get(modelId)
    if (known) return known
    const { store, limits, titleOf } = this.options
    const manifest = decodeManifest(await store.reserve(modelId, titleOf(modelId), [], limits().storageBytes))
    this.manifests.set(modelId, manifest)
    return manifest
  }

  private show(modelId: string, change: Partial<SegmentStatus> | null): void {
    if (change === null) this.statuses.delete(modelId)
    else this.statuses.set(modelId, { ...this.statuses.get(modelId)!, ...change })
    this.options.onStatus(modelId, this.statuses.get(modelId) ?? null)
  }

  async load(modelId: string, segment: Segment, onProgress: (loaded: number, total: number) => void, signal: AbortSignal): Promise<LoadedEngine> {
    const { store, limits, titleOf } = this.options
    const manifest = await this.manifestOf(modelId)
    signal.throwIfAborted()
    const shards = shardsOf(manifest, segment)
    const total = shards.reduce((sum, index) => sum + manifest.shards[index].bytes, 0)
    this.end(modelId)
    this.show(modelId, {
      modelId,
      name: titleOf(modelId) || manifest.core.name,
      segment,
      layers: manifest.core.layers,
      state: 'fetching',
      doing: 'Asking for a place on the disk',
      loaded: 0,
      total,
      rate: 0,
      report: null,
      memoryBytes: 0,
    })
    try {
      await store.reserve(modelId, titleOf(modelId), shards, limits().storageBytes)
      await this.fetch(modelId, manifest, shards, total, onProgress, signal)
      return await this.start(modelId, manifest, segment, onProgress, signal)
    } catch (error) {
      if (!signal.aborted) this.show(modelId, { state: 'failed', doing: (error as Error).message, rate: 0 })
      throw error
    }
  }

  private async fetch(
    modelId: string,
    manifest: Manifest,
    shards: number[],
    total: number,
    onProgress: (loaded: number, total: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { store, torrents, limits, titleOf } = this.options
    const progress = (loaded: number, rate: number): void => {
      this.show(modelId, { state: 'fetching', doing: 'Fetching layers', loaded, total, rate })
      onProgress(loaded, total)
    }
    const peers = torrents()
    try {
      if (!peers) throw new TorrentError('There is no tracker.')
      await peers.fetch(modelId, manifest, shards, progress, signal)
    } catch (error) {
      if (!(error instanceof TorrentError)) throw error
      // The relay's own files are left: what came as pieces is kept where it is whole.
      await peers?.close(modelId)
      await store.release(modelId)
      await store.reserve(modelId, titleOf(modelId), shards, limits().storageBytes)
      signal.throwIfAborted()
      await store.fetch(modelId, shards, (received) => progress(received, 0))
    }
    signal.throwIfAborted()
  }

  private async start(
    modelId: string,
    manifest: Manifest,
    segment: Segment,
    onProgress: (loaded: number, total: number) => void,
    signal: AbortSignal,
  ): Promise<LoadedEngine> {
    const { makeWorker, limits } = this.options
    const { memoryBytes, threads, device } = limits()
    const facts = factsOf(manifest, modelId)
    const others = [...this.reserved].reduce((sum, [id, bytes]) => sum + (id === modelId ? 0 : bytes), 0)
    const room = memoryBytes - others - weightBytesOf(facts, segment)
    const positionsMax = Math.min(positionsMost, Math.floor(room / cacheBytesOf(facts, segment, 1)))
    if (positionsMax < Math.min(1024, facts.context / 4))
      throw new EngineError(
        `Layers ${segment.from} to ${segment.to - 1} of ${facts.name} leave no room for answers in ${sizeText(memoryBytes)} of memory.`,
        'memory',
      )
    this.reserved.set(modelId, weightBytesOf(facts, segment) + cacheBytesOf(facts, segment, positionsMax))
    const channel: SegmentChannel = new Channel(makeWorker())
    this.channels.set(modelId, channel)
    const abort = (): void => this.end(modelId)
    signal.addEventListener('abort', abort, { once: true })
    let report: SegmentReport | null = null
    const request = {
      kind: 'load',
      modelId,
      segment: { from: segment.from, to: segment.to },
      device: this.lost.has(modelId) ? 'wasm' : device,
      threadsMax: threads,
      positionsMax,
      measured: this.measured.get(modelId) ?? null,
    } as const
    try {
      await channel.send(request, (reply) => {
        if (reply.kind === 'loading') {
          this.show(modelId, { state: 'loading', doing: reply.doing, loaded: reply.loaded, total: reply.total, rate: 0 })
          onProgress(reply.loaded, reply.total)
        }
        if (reply.kind !== 'loaded') return false
        report = reply.report
        return true
      }).ended
    } finally {
      signal.removeEventListener('abort', abort)
    }
    signal.throwIfAborted()
    const { rowsMax, stepMs, measured, memoryBytes: held } = report!
    if (measured) this.measured.set(modelId, measured)
    this.show(modelId, { state: 'ready', doing: '', report, memoryBytes: held })
    return { segment, rowsMax, positionsMax, stepMs }
  }

  async compute(
    modelId: string,
    rows: Row[],
    wants: RowWant[],
    boundary: Int32Array | null,
  ): Promise<{ boundary: Int32Array | null; tokens: (number | null)[] }> {
    const channel = this.channels.get(modelId)
    if (!channel) throw new EngineError('this segment is not loaded', 'lost')
    let result: { boundary: Int32Array | null; tokens: (number | null)[] } | null = null
    const watch = setTimeout(() => channel.close(new WorkerError({ name: 'EngineError', kind: 'lost', message: 'the device does not answer' })), hungMs)
    try {
      await channel.send({ kind: 'run', rows, wants, boundary }, (reply) => {
        if (reply.kind !== 'computed') return false
        result = { boundary: reply.boundary, tokens: reply.tokens }
        this.show(modelId, { memoryBytes: reply.memoryBytes })
        this.options.onRun(rows.length, reply.ms, reply.memoryBytes)
        return true
      }).ended
    } catch (error) {
      if (!(error instanceof WorkerError)) throw error
      const lost = error.kind === 'lost'
      if (lost && this.channels.get(modelId) === channel) {
        this.lost.add(modelId)
        this.end(modelId)
        this.show(modelId, { state: 'failed', doing: error.message })
      }
      throw new EngineError(error.message, lost ? 'lost' : 'input')
    } finally {
      clearTimeout(watch)
    }
    return result!
  }

  truncate(modelId: string, sequence: number, length: number): void {
    this.channels.get(modelId)?.tell({ kind: 'truncate', sequence, length })
  }

  /** Ends the model's worker, and frees its memory with it. */
  private end(modelId: string): void {
    this.channels.get(modelId)?.close(new WorkerError({ name: 'AbortError', kind: 'cancelled', message: 'the segment was unloaded' }))
    this.channels.delete(modelId)
    this.reserved.delete(modelId)
  }

  /** The shards stay on the disk and are passed on. */
  async unload(modelId: string): Promise<void> {
    this.end(modelId)
    this.show(modelId, null)
  }

  /** Ends everything; what is on the disk stays. */
  async close(): Promise<void> {
    for (const modelId of [...this.channels.keys(), ...this.statuses.keys()]) await this.unload(modelId)
    for (const modelId of this.manifests.keys()) await this.options.store.release(modelId)
    this.manifests.clear()
  }
}
