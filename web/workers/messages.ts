// Everything that crosses between the page and its workers, as typed unions with matched ids. The page's classes in web/peer hide it from the UI.
import type { Row, Segment } from '../../protocol/engine/engine.ts'
import type { Stop } from '../../protocol/engine/generate.ts'
import type { Sampler } from '../../protocol/engine/sampler.ts'
import type { RowWant } from '../../protocol/peer/machine.ts'

/** An error on the wire: `kind` is that of EngineError, StoreError, or '' for any other. */
export interface WireError {
  name: string
  kind: string
  message: string
}

export function wireError(error: unknown): WireError {
  if (!(error instanceof Error || error instanceof DOMException)) return { name: 'Error', kind: '', message: String(error) }
  return { name: error.name, kind: 'kind' in error ? String(error.kind) : '', message: error.message || error.name }
}

/** What a worker refused or failed at; the message is a sentence for people. */
export class WorkerError extends Error {
  override name: string
  readonly kind: string
  constructor(wire: WireError) {
    super(wire.message)
    this.name = wire.name
    this.kind = wire.kind
  }
}

// ---- storage

/** A model this browser knows, whole or in part. */
export interface StoredModel {
  id: string
  /** What the relay called it, else the name in its manifest. */
  title: string
  architecture: string
  licence: string
  bytes: number
  received: number
  complete: boolean
  paused: boolean
  storage: 'opfs' | 'indexeddb'
}

/** Held, shared, by every tab that downloads the model; exclusively by one that deletes it. */
export const downloadLock = (modelId: string): string => `meadow-model ${modelId}`

export type StoreRequest = { id: number } & (
  | { kind: 'list' }
  /** Answered with `progress` as bytes come, then `done`. */
  | { kind: 'download'; modelId: string; title: string }
  /** Stops a download (its request fails with AbortError) and remembers that the person wanted it so. */
  | { kind: 'pause'; modelId: string }
  | { kind: 'remove'; modelId: string }
  | LendRequest
)

/** What a device that lends asks of its store. Shards are named by their index in the manifest. */
export type LendRequest =
  /** Fetches the manifest if need be, keeps the shards from being removed, and makes room for them under the cap; `manifest`, then `done`. */
  | { kind: 'reserve'; modelId: string; title: string; shards: number[]; capBytes: number }
  /** Downloads shards from the relay, without peers; `progress`, then `done`. */
  | { kind: 'fetch'; modelId: string; shards: number[] }
  /** Opens the model's shards as pieces of its torrent and asks for some; `shard` whenever one is decided, `done` when all are here. */
  | { kind: 'pieces'; modelId: string; pieceBytes: number; shards: number[] }
  /** Which pieces are here: `bits`. */
  | { kind: 'bitfield'; modelId: string }
  | { kind: 'put'; modelId: string; piece: number; bytes: Uint8Array<ArrayBuffer> }
  /** All of a shard that this tab fetches, from elsewhere than its torrent; checked like any other. */
  | { kind: 'whole'; modelId: string; shard: number; bytes: Uint8Array<ArrayBuffer> }
  /** `bytes` of a piece, or of a shard that is whole. */
  | { kind: 'get'; modelId: string; piece: number; from: number; length: number }
  | { kind: 'read'; modelId: string; shard: string; from: number; length: number }
  /** Which shards of which models are whole here: `held`. */
  | { kind: 'held' }
  /** Gives back what `reserve` and `pieces` took; what came is kept. */
  | { kind: 'release'; modelId: string }
  /** Removes shards that are only here to be lent, least recently used first, until the cap is kept. */
  | { kind: 'trim'; capBytes: number }

/** What is whole on this device of one model. */
export interface HeldModel {
  id: string
  title: string
  /** Indices of the shards, in order. */
  shards: number[]
  /** Bytes of all shards of it here, whole or not. */
  bytes: number
  /** Only here to be lent. */
  lent: boolean
}

export type StoreReply = { id: number } & (
  | { kind: 'models'; models: StoredModel[] }
  | { kind: 'progress'; received: number }
  | { kind: 'manifest'; manifest: Uint8Array<ArrayBuffer> }
  | { kind: 'shard'; name: string; state: 'claimed' | 'complete' | 'refused'; why: string }
  | { kind: 'bits'; bits: Uint8Array<ArrayBuffer> }
  | { kind: 'bytes'; bytes: Uint8Array<ArrayBuffer> }
  | { kind: 'held'; models: HeldModel[]; storedBytes: number }
  | { kind: 'done' }
  | { kind: 'failed'; error: WireError }
)

// ---- engine

export type DeviceChoice = 'auto' | 'webgpu' | 'wasm'

/** One measurement of `auto`, kept by the page so that the next visit need not repeat it. */
export interface Measured {
  /** What it holds for: browser, threads, model. */
  key: string
  backend: 'webgpu' | 'wasm'
  reason: string
  /** Date.now() of it. */
  at: number
}

export interface DeviceReport {
  backend: 'reference' | 'wasm' | 'webgpu'
  threads: number
  description: string
  /** Why this device: a sentence. */
  reason: string
  /** Plain statements about what this browser lacks. */
  notes: string[]
  measured: Measured | null
  context: number
  loadMs: number
  selfTestMs: number
}

export interface Turn {
  role: 'system' | 'user' | 'assistant'
  content: string
}

export interface Ask {
  /** The conversation so far; the last turn is the question. */
  turns: Turn[]
  sampler: Sampler
  seed: number
  maxTokens: number
  /** An answer that a lost device broke off: goes on from these tokens to the very same text. */
  resume: { prompt: number[]; tokens: number[] } | null
}

export interface AnswerStats {
  backend: string
  threads: number
  promptTokens: number
  tokens: number
  /** Null when nothing was left to prefill, or too little came to time. */
  prefillTokensPerSecond: number | null
  decodeTokensPerSecond: number | null
  firstTokenMs: number
  stop: Stop
  seed: number
  modelId: string
  inputHash: string
  outputHash: string
}

export type EngineRequest = { id: number } & (
  | { kind: 'load'; modelId: string; device: DeviceChoice; threadsMax: number; measured: Measured | null }
  | { kind: 'ask'; ask: Ask }
  /** Aborts the request with id `target`; it then fails with AbortError. */
  | { kind: 'stop'; target: number }
  | { kind: 'unload' }
)

export type EngineReply = { id: number } & (
  | { kind: 'loading'; loaded: number; total: number; doing: string }
  | { kind: 'loaded'; report: DeviceReport }
  | { kind: 'prompt'; tokens: number[] }
  | { kind: 'prefill'; done: number; total: number }
  | { kind: 'token'; token: number; text: string }
  | { kind: 'answered'; text: string; stats: AnswerStats }
  | { kind: 'done' }
  | { kind: 'failed'; error: WireError }
)

/** What the page sees of an answer, in order. */
export type AskEvent = Extract<EngineReply, { kind: 'prefill' | 'token' | 'answered' }>

// ---- a segment that is lent

export interface SegmentReport {
  backend: 'reference' | 'wasm' | 'webgpu'
  threads: number
  description: string
  reason: string
  notes: string[]
  measured: Measured | null
  /** Rows of one run at most, so that a run ends soon enough for a pause. */
  rowsMax: number
  /** Positions over all sequences. */
  positionsMax: number
  /** One row through the whole segment, measured. */
  stepMs: number
  /** Bytes of weights and caches now. */
  memoryBytes: number
  loadMs: number
}

export type SegmentRequest = { id: number } & (
  | {
      kind: 'load'
      modelId: string
      segment: Segment
      device: DeviceChoice
      threadsMax: number
      positionsMax: number
      measured: Measured | null
    }
  | { kind: 'run'; rows: Row[]; wants: RowWant[]; boundary: Int32Array | null }
  /** Without an answer: the worker does what it is told in order. */
  | { kind: 'truncate'; sequence: number; length: number }
  | { kind: 'stop'; target: number }
)

export type SegmentReply = { id: number } & (
  | { kind: 'loading'; loaded: number; total: number; doing: string }
  | { kind: 'loaded'; report: SegmentReport }
  | { kind: 'computed'; boundary: Int32Array | null; tokens: (number | null)[]; memoryBytes: number; ms: number }
  | { kind: 'failed'; error: WireError }
)
