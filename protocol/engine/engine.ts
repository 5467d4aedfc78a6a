// The one interface the three engines share. Cutting a model into segments, a prompt into batches or a batch into rows changes no byte of any result.
import type { Manifest } from '../model/manifest.ts'
import type { Draw } from './sampler.ts'

/** Layers [from, to). `from === 0` includes the embedding, `to === layers` includes the tail (final norm and head). */
export interface Segment {
  from: number
  to: number
}

/** One token position of one sequence. Rows of a sequence come in order: position = how many are cached already. */
export interface Row {
  sequence: number
  position: number
  /** Needed when the segment starts at layer 0. */
  token: number
}

export type Want = 'nothing' | 'logits'

export interface RunResult {
  /** Residual after the segment's last layer, rows · hidden, Q residualBits; only when the segment ends before the tail. */
  boundary: Int32Array | null
  /** For each row that wanted them: vocab logits in Q16 (a view that is valid until the next call), else null. */
  logits: (Int32Array | null)[]
}

export interface StepValues {
  /** Step label, the same in all engines: `3.wq.q` = layer 3, see program.ts. */
  label: string
  /** Vector name as in protocol/README.md section 3, rows in batch order. Integer values. */
  values: ArrayLike<number>
}

export interface SegmentEngine {
  readonly backend: 'reference' | 'wasm' | 'webgpu'
  readonly manifest: Manifest
  readonly segment: Segment
  /** Threads for wasm, 1 otherwise. */
  readonly threads: number
  /** One line for people: adapter, features, threads. */
  readonly description: string
  /** Rows one run call may hold. */
  readonly rowsMax: number
  /**
   * Runs the segment over `rows`. `boundary` is rows · hidden residuals when the segment starts after layer 0.
   * `wants[i]` says whether row i needs logits (only when the segment has the tail). `trace` receives every step's values in program order.
   * Throws EngineError when a position is out of order or beyond the context, or the device is lost.
   */
  run(rows: Row[], wants: Want[], boundary?: Int32Array, trace?: (step: StepValues) => void): Promise<RunResult>
  /**
   * As run, but answers with a token for each row that has a draw (only when the segment has the tail), null for the others: logits then need not leave the device.
   * Engines without it are asked for logits, and `sample` draws (see chooseTokens in generate.ts).
   */
  choose?(rows: Row[], draws: (Draw | null)[], boundary?: Int32Array): Promise<(number | null)[]>
  /** Forgets cached positions >= length of a sequence; length 0 frees it. */
  truncate(sequence: number, length: number): void
  /** Bytes held beyond the weights (KV pages, scratch). */
  memoryBytes(): { weights: number; other: number }
  close(): Promise<void>
}

export interface EngineOptions {
  segment?: Segment
  /** Upper bound on positions over all sequences together; KV pages are made as they are needed. Default: the model's context. */
  kvTokensMax?: number
  /** Called with bytes loaded and bytes in all. */
  onProgress?: (loaded: number, total: number) => void
  signal?: AbortSignal
}

/** `lost`: the device is gone and a new engine may work. */
export type EngineErrorKind = 'input' | 'memory' | 'unsupported' | 'lost' | 'cancelled'

/** What a caller did wrong, or what the device could not do, in one sentence. */
export class EngineError extends Error {
  override name = 'EngineError'
  readonly kind: EngineErrorKind
  constructor(message: string, kind: EngineErrorKind = 'input') {
    super(message)
    this.kind = kind
  }
}
