// How kernels are cut for a device. Speed only: every choice gives the same bytes (test/protocol/engine/webgpu.test.ts runs several).

export interface Tuning {
  /** Activations as two int8 planes (int8 dot products) or as i16 pairs (plain products). */
  form: 'planes' | 'wide'
  /** Whether the language has packed_4x8_integer_dot_product. */
  packed: boolean
  /** Which rows of a panel a thread has, see ../ops/rows_quad.wgsl and rows_strided.wgsl. */
  rows: 'quad' | 'strided'
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
 * against 64 halve the vector kernels). lavapipe multiplies plainly 1.2 to 1.3 times as fast as through its emulated int8 dot product (3072 x 576, 4-bit: 0.57 against 0.70 ms).
 */
const software: Tuning = {
  ...gpu,
  form: 'wide',
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

/** SwiftShader loads neighbouring words as one vector and has the int8 dot product: 278 to 308 ms a token against 348 (rows quad) and 422 (form wide), one run on a busy machine. */
const swiftShader: Tuning = { ...software, form: 'planes', rows: 'strided' }

/** The tuning for a device. `languageFeatures` is navigator.gpu.wgslLanguageFeatures; without it the plain dot product is used. */
export function tuningOf(info: Parameters<typeof isSoftware>[0], languageFeatures: ReadonlySet<string> | undefined): Tuning {
  const packed = languageFeatures?.has('packed_4x8_integer_dot_product') ?? false
  const isSwiftShader = /swiftshader/i.test(`${info?.architecture} ${info?.description}`)
  const base = !isSoftware(info) ? gpu : isSwiftShader ? swiftShader : software
  return { ...base, packed, form: packed ? base.form : 'wide' }
}
