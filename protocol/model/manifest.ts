// The canonical model package: what a model is, independent of the file it came from.
// Types only, plus the few derived facts everyone needs. Building one from a GGUF is import.ts; hashing one is identity.ts.

export const architectures = ['llama', 'qwen2', 'qwen3', 'gemma3'] as const
export type Architecture = (typeof architectures)[number]

/** Everything about a model but its tensors. Canonical dag-cbor of this is at most `coreBytesMax`. */
export interface Core {
  version: 1
  name: string
  architecture: Architecture
  /** SPDX id or the text the file carries, '' when it carries none. */
  licence: string
  hidden: number
  ffn: number
  layers: number
  heads: number
  kvHeads: number
  headDim: number
  vocab: number
  /** Longest sequence in tokens. */
  context: number
  /** IEEE-754 bits of the RMSNorm epsilon, as the file carries it. */
  epsBits: number
  /** Attention logits are scaled by 1/sqrt(attentionScaleOf): headDim, or gemma's query_pre_attn_scalar. */
  attentionScaleOf: number
  /** Rotary frequencies F_i (u48 little-endian, turns per position · 2^48), headDim/2 of them. `local` is for sliding layers. */
  ropeGlobal: Uint8Array
  ropeLocal: Uint8Array | null
  /** Positions a sliding layer sees (0 = no layer slides); layer l slides iff (l + 1) % slidingPattern !== 0. */
  slidingWindow: number
  slidingPattern: number
  /** Fractional bits, see protocol/README.md section 3. */
  residualBits: number
  hiddenBits: number
  /** The head is the embedding tensor. */
  tied: boolean
}

export type MatrixFormat = 'w8' | 'g8' | 'w4'
export type TensorFormat = MatrixFormat | 'v32'

export interface Tensor {
  /** `embed`, `output_norm`, `head`, `layers.3.wq`, … see tensorNames in engine/program.ts. */
  name: string
  format: TensorFormat
  /** Outputs N (for v32: the length). */
  rows: number
  /** Inputs K (for v32: 1). */
  columns: number
  /** Fractional bits (v32 only, else 0). */
  bits: number
  /** Index into Manifest.shards, and where in it: multiples of 64 bytes. */
  shard: number
  offset: number
  bytes: number
  /** Merkle root over the tensor's tiles. */
  root: Uint8Array
}

export interface Shard {
  /** `embed`, `layer-0` … , `head` (output_norm and, unless tied, the head), `tokenizer` (dag-cbor, see tokenizer.ts). */
  name: string
  bytes: number
  sha256: Uint8Array
  /** Merkle root over the roots of the shard's tensors (for the tokenizer shard: of its bytes). */
  root: Uint8Array
}

export interface Manifest {
  core: Core
  tensors: Tensor[]
  shards: Shard[]
}

/** Where an engine gets bytes from: a directory, OPFS, a torrent, memory. */
export interface ModelSource {
  readonly manifest: Manifest
  /** Fills `into` (exactly manifest.shards[index].bytes long, possibly over shared memory). Throws when the bytes cannot be had or fail their SHA-256. */
  readShard(index: number, into: Uint8Array, signal?: AbortSignal): Promise<void>
}

export const panelRows = 16
export const groupColumns = 32

/** Bytes of a tensor in its canonical layout (protocol/README.md section 2). */
export function tensorBytes(format: TensorFormat, rows: number, columns: number): number {
  const padded = Math.ceil(rows / panelRows) * panelRows
  if (format === 'w8') return padded * columns + padded * 4
  if (format === 'g8') return (padded / panelRows) * (columns / groupColumns) * 544 + padded * 4
  if (format === 'w4') return (padded / panelRows) * (columns / groupColumns) * 320 + padded * 4
  return Math.ceil(rows / 16) * 64
}

/** What is wrong with a model, in one sentence. It may quote the file, so nothing in it can steer a terminal or turn the text around. */
export class ModelError extends Error {
  override name = 'ModelError'
  constructor(message: string) {
    super(message.replace(/[\p{Cc}\p{Bidi_Control}]/gu, '\ufffd'))
  }
}
