// How kernels are cut for a device. Speed only: every choice gives the same bytes (test/protocol/engine/webgpu.test.ts runs several).

export interface Tuning {
  /** Activations as two int8 planes (int8 dot products) or as i16 pairs (plain products). */
  form: 'planes' | 'wide'
  /** Whether the language has packed_4x8_integer_dot_product. */
  packed: boolean
  /** Which rows of a panel a thread has, see ../ops/rows_quad.wgsl and rows_strided.wgsl. */
  rows: 'quad' | 'strided'
  /** Matrix, one token: a thread has 4 rows of two panels (w4 and g8) instead of one; such threads do not share columns. */
  pairs: boolean
  /** Matrix, one token: threads side by side in a workgroup (4 rows each) and threads that share the columns. lanes · split <= 256. */
  lanesOne: number
  split: number
  /** Matrix, several tokens: threads side by side (4 rows each) and above each other (4 tokens each). */
  lanesMany: number
  tokens: number
  /** Threads per row of the vector kernels and per head of attention: powers of two. */
  threads: number
  attentionThreads: number
  /** Visible positions from which scores get workgroups of their own, and pages of 64 positions per such workgroup. */
  tileFrom: number
  tile: number
  /** Rows that run at once, and bytes of attention scratch they may use. */
  rowsMax: number
  scratchBytesMax: number
  /** Largest part of a matrix, so that one dispatch stays short. */
  partBytesMax: number
  /** Multiplications in one submit: watchdogs end what runs for seconds. A token of a model this large is still one. */
  submitWorkMax: number
}

const gpu: Tuning = {
  form: 'planes',
  packed: true,
  rows: 'quad',
  pairs: false,
  lanesOne: 8,
  split: 16,
  lanesMany: 16,
  tokens: 8,
  threads: 128,
  attentionThreads: 64,
  tileFrom: 256,
  tile: 2,
  rowsMax: 256,
  scratchBytesMax: 32 << 20,
  partBytesMax: 32 << 20,
  submitWorkMax: 2 ** 37,
}

/**
 * Software adapters run a workgroup on one core, several threads a vector: reductions over one vector's width need no switching between threads (llvmpipe: 8 threads
 * against 64 halve the vector kernels). Plain products beat their emulated int8 dot product: lavapipe 0.57 against 0.70 ms (3072 x 576, 4-bit).
 * SwiftShader, one busy machine, ms of all ops of a token: planes 300 to 324, wide 239, wide and pairs 199; it loads neighbouring words as one vector, hence strided rows
 * (348 against 278 to 308 with planes). lavapipe, the least of three runs on a busy machine: 58 without pairs, 44 with, 41 with and strided.
 */
const software: Tuning = {
  ...gpu,
  form: 'wide',
  rows: 'strided',
  pairs: true,
  lanesOne: 16,
  split: 1,
  lanesMany: 16,
  tokens: 1,
  threads: 8,
  attentionThreads: 16,
  tileFrom: 0xffffffff,
  rowsMax: 64,
  submitWorkMax: 2 ** 32,
}

/** True for adapters that are a program on the CPU (SwiftShader, llvmpipe, WARP). */
export function isSoftware(
  info: { vendor?: string; architecture?: string; description?: string; device?: string; isFallbackAdapter?: boolean } | undefined,
): boolean {
  if (!info) return false
  return (
    info.isFallbackAdapter === true ||
    /swiftshader|llvmpipe|lavapipe|basic render|warp/i.test(`${info.vendor} ${info.architecture} ${info.description} ${info.device}`)
  )
}

/** The tuning for a device. `languageFeatures` is navigator.gpu.wgslLanguageFeatures; without it the plain dot product is used. */
export function tuningOf(info: Parameters<typeof isSoftware>[0], languageFeatures: ReadonlySet<string> | undefined): Tuning {
  const packed = languageFeatures?.has('packed_4x8_integer_dot_product') ?? false
  const base = isSoftware(info) ? software : gpu
  return { ...base, packed, form: packed ? base.form : 'wide' }
}
