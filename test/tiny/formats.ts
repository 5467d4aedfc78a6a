// Random weights in every tensor format of GGUF files: random integers in the blocks, scales so that weights have the spread asked for.

export const formatNames = ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q4_K', 'Q5_K', 'Q6_K'] as const
export type FormatName = (typeof formatNames)[number]

const ids: Record<FormatName, number> = { F32: 0, F16: 1, Q4_0: 2, Q4_1: 3, Q5_0: 6, Q5_1: 7, Q8_0: 8, Q4_K: 12, Q5_K: 13, Q6_K: 14, BF16: 30 }
export const typeId = (format: FormatName): number => ids[format]

export const isKQuant = (format: FormatName): boolean => format.endsWith('_K')

/** Bits of a half-precision number near x, |x| < 65504. */
export function halfBits(x: number): number {
  const bits = new Uint32Array(new Float32Array([x]).buffer)[0]
  const exponent = ((bits >> 23) & 255) - 127 + 15
  const sign = (bits >>> 31) << 15
  if (exponent <= 0) return sign | Math.floor(Math.abs(x) * 2 ** 24)
  return sign | (exponent << 10) | ((bits >> 13) & 1023)
}

interface Block {
  values: number
  bytes: number
  /** Where half-precision scales stand, and how large they are for weights of spread 1. */
  scales: [at: number, size: number][]
}

const blocks: Record<Exclude<FormatName, 'F32' | 'F16' | 'BF16'>, Block> = {
  Q8_0: { values: 32, bytes: 34, scales: [[0, 1 / 74]] },
  Q4_0: { values: 32, bytes: 18, scales: [[0, 1 / 4.6]] },
  Q4_1: {
    values: 32,
    bytes: 20,
    scales: [
      [0, 1 / 4.6],
      [2, -7.5 / 4.6],
    ],
  },
  Q5_0: { values: 32, bytes: 22, scales: [[0, 1 / 9.2]] },
  Q5_1: {
    values: 32,
    bytes: 24,
    scales: [
      [0, 1 / 9.2],
      [2, -15.5 / 9.2],
    ],
  },
  Q4_K: {
    values: 256,
    bytes: 144,
    scales: [
      [0, 1 / 4.6 / 32],
      [2, 7.5 / 4.6 / 32],
    ],
  },
  Q5_K: {
    values: 256,
    bytes: 176,
    scales: [
      [0, 1 / 9.2 / 32],
      [2, 15.5 / 9.2 / 32],
    ],
  },
  Q6_K: { values: 256, bytes: 210, scales: [[208, 1 / 18.5 / 74]] },
}

/** `rows` rows of `columns` weights whose root mean square is about `spread`, from the generator. */
export function randomWeights(format: FormatName, rows: number, columns: number, spread: number, next: () => number): Uint8Array {
  const count = rows * columns
  const uniform = (): number => next() / 2147483648 - 1
  if (format === 'F32' || format === 'F16' || format === 'BF16') {
    const values = Float32Array.from({ length: count }, () => uniform() * spread * 1.732)
    if (format === 'F32') return new Uint8Array(values.buffer)
    const bits = new Uint32Array(values.buffer)
    return new Uint8Array(Uint16Array.from(values, (v, i) => (format === 'F16' ? halfBits(v) : bits[i] >>> 16)).buffer)
  }
  const block = blocks[format]
  const bytes = Uint8Array.from({ length: (count / block.values) * block.bytes }, () => next() >>> 24)
  const view = new DataView(bytes.buffer)
  for (let at = 0; at < bytes.length; at += block.bytes) {
    for (const [where, size] of block.scales) view.setUint16(at + where, halfBits(size * spread * (0.75 + Math.abs(uniform()) / 2)), true)
  }
  return bytes
}

/** Norm weights about 1, as F32. */
export const randomNorm = (count: number, next: () => number): Uint8Array =>
  new Uint8Array(Float32Array.from({ length: count }, () => 0.7 + (next() / 4294967296) * 0.6).buffer)
