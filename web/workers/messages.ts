// Everything that crosses between the page and its two workers, as typed unions with matched ids. The page's classes in web/peer hide it from the UI.
import type { Stop } from '../../protocol/engine/generate.ts'
import type { Sampler } from '../../protocol/engine/sampler.ts'

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

export type StoreRequest = { id: number } & (
  | { kind: 'list' }
  /** Answered with `progress` as bytes come, then `done`. */
  | { kind: 'download'; modelId: string; title: string }
  /** Stops a download (its request fails with AbortError) and remembers that the person wanted it so. */
  | { kind: 'pause'; modelId: string }
  | { kind: 'remove'; modelId: string }
)

export type StoreReply = { id: number } & (
  | { kind: 'models'; models: StoredModel[] }
  | { kind: 'progress'; received: number }
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
