// The tensor formats of GGUF files (ggml's blocks), read exactly. A scale is a half-precision number, so an integer times a power of two; hence every value and
// every product below is exact in a double, whatever the machine. Only + − · /, comparisons, abs, max, floor, round and integer operations are used here and in canonical.ts: those
// are defined to the last bit, while Math.exp, pow, sqrt and sin differ between engines (the specification allows it).
// Layouts: ggml-common.h and ggml-quants.c of ggml. Refuses NaN and infinity: readers return NaN and the caller names the tensor.

export interface SourceType {
  name: string
  /** Values a block holds. */
  values: number
  /** Bytes of a block. */
  bytes: number
}

/** ggml_type numbers of the formats that can be imported. */
export const sourceTypes: ReadonlyMap<number, SourceType> = new Map([
  [0, { name: 'F32', values: 1, bytes: 4 }],
  [1, { name: 'F16', values: 1, bytes: 2 }],
  [2, { name: 'Q4_0', values: 32, bytes: 18 }],
  [3, { name: 'Q4_1', values: 32, bytes: 20 }],
  [6, { name: 'Q5_0', values: 32, bytes: 22 }],
  [7, { name: 'Q5_1', values: 32, bytes: 24 }],
  [8, { name: 'Q8_0', values: 32, bytes: 34 }],
  [12, { name: 'Q4_K', values: 256, bytes: 144 }],
  [13, { name: 'Q5_K', values: 256, bytes: 176 }],
  [14, { name: 'Q6_K', values: 256, bytes: 210 }],
  [30, { name: 'BF16', values: 1, bytes: 2 }],
])

/** Names of formats that are known but cannot be imported, for the error. */
export const otherTypes: ReadonlyMap<number, string> = new Map(
  Object.entries({
    4: 'Q4_2',
    5: 'Q4_3',
    9: 'Q8_1',
    10: 'Q2_K',
    11: 'Q3_K',
    15: 'Q8_K',
    16: 'IQ2_XXS',
    17: 'IQ2_XS',
    18: 'IQ3_XXS',
    19: 'IQ1_S',
    20: 'IQ4_NL',
    21: 'IQ3_S',
    22: 'IQ2_S',
    23: 'IQ4_XS',
    24: 'I8',
    25: 'I16',
    26: 'I32',
    27: 'I64',
    28: 'F64',
    29: 'IQ1_M',
    34: 'TQ1_0',
    35: 'TQ2_0',
    39: 'MXFP4',
  }).map(([id, name]) => [Number(id), name]),
)

/** 2^k for −1022 <= k <= 1023, made from its bits. */
export function powerOfTwo(k: number): number {
  return new Float64Array(new Uint32Array([0, (k + 1023) << 20]).buffer)[0]
}

/** The value of each half-precision bit pattern; NaN for those that are no number. */
const halves = /* @__PURE__ */ ((): Float64Array => {
  const table = new Float64Array(65536)
  // One power of two for each exponent, not for each entry: every page and worker that knows a manifest would pay 97 ms of its first task for that (1.5 this way).
  for (let exponent = 0; exponent < 32; exponent++) {
    const unit = powerOfTwo(exponent === 0 ? -24 : exponent - 25)
    const one = exponent === 0 ? 0 : 1024
    for (let fraction = 0; fraction < 1024; fraction++) {
      const size = exponent === 31 ? Number.NaN : (one + fraction) * unit
      table[(exponent << 10) | fraction] = size
      table[32768 | (exponent << 10) | fraction] = -size
    }
  }
  return table
})()

/** Largest |value|, or NaN when one is NaN or infinite. Math.max hands NaN on; a second pass over a row costs less than a test in each reader. */
function largest(values: Float64Array, count: number): number {
  let max = 0
  for (let i = 0; i < count; i++) max = Math.max(max, Math.abs(values[i]))
  return max < Number.POSITIVE_INFINITY ? max : Number.NaN
}

type Reader = (bytes: Uint8Array, view: DataView, at: number, count: number, out: Float64Array) => void

const half = (bytes: Uint8Array, at: number): number => halves[bytes[at] | (bytes[at + 1] << 8)]

/** Sub-block j's 6-bit scale and minimum of Q4_K and Q5_K, packed in 12 bytes (get_scale_min_k4). */
const scaleAt = (bytes: Uint8Array, at: number, j: number): number => (j < 4 ? bytes[at + j] & 63 : (bytes[at + j + 4] & 15) | ((bytes[at + j - 4] >> 6) << 4))
const minimumAt = (bytes: Uint8Array, at: number, j: number): number =>
  j < 4 ? bytes[at + j + 4] & 63 : (bytes[at + j + 4] >> 4) | ((bytes[at + j] >> 6) << 4)

const q5 =
  (withMinimum: boolean): Reader =>
  (bytes, view, from, count, out) => {
    const head = withMinimum ? 4 : 2
    for (let i = 0, at = from; i < count; i += 32, at += head + 20) {
      const d = half(bytes, at)
      const base = withMinimum ? half(bytes, at + 2) : -16 * d
      const high = view.getUint32(at + head, true)
      for (let j = 0; j < 16; j++) {
        const low = bytes[at + head + 4 + j]
        out[i + j] = d * ((low & 15) | (((high >>> j) & 1) << 4)) + base
        out[i + 16 + j] = d * ((low >> 4) | (((high >>> (j + 16)) & 1) << 4)) + base
      }
    }
  }

const q4 =
  (withMinimum: boolean): Reader =>
  (bytes, _view, from, count, out) => {
    const head = withMinimum ? 4 : 2
    for (let i = 0, at = from; i < count; i += 32, at += head + 16) {
      const d = half(bytes, at)
      const base = withMinimum ? half(bytes, at + 2) : -8 * d
      for (let j = 0; j < 16; j++) {
        const low = bytes[at + head + j]
        out[i + j] = d * (low & 15) + base
        out[i + 16 + j] = d * (low >> 4) + base
      }
    }
  }

/** Q4_K, and Q5_K with its 32 bytes of fifth bits. */
const k45 =
  (fifth: boolean): Reader =>
  (bytes, _view, from, count, out) => {
    const size = fifth ? 176 : 144
    for (let i = 0, at = from; i < count; i += 256, at += size) {
      const d = half(bytes, at)
      const dmin = half(bytes, at + 2)
      const nibbles = at + (fifth ? 48 : 16)
      for (let j = 0; j < 8; j++) {
        const scale = d * scaleAt(bytes, at + 4, j)
        const minimum = dmin * minimumAt(bytes, at + 4, j)
        const q = nibbles + (j >> 1) * 32
        const shift = (j & 1) * 4
        for (let l = 0; l < 32; l++) {
          const high = fifth ? ((bytes[at + 16 + l] >> j) & 1) << 4 : 0
          out[i + j * 32 + l] = scale * (((bytes[q + l] >> shift) & 15) | high) - minimum
        }
      }
    }
  }

const readers: Record<string, Reader> = {
  F32(_bytes, view, at, count, out) {
    for (let i = 0; i < count; i++) out[i] = view.getFloat32(at + i * 4, true)
  },
  F16(bytes, _view, at, count, out) {
    for (let i = 0; i < count; i++) out[i] = half(bytes, at + i * 2)
  },
  BF16(_bytes, view, at, count, out) {
    // The upper half of a single: exact through a single's bits.
    for (let i = 0; i < count; i++) {
      bfloatBits[0] = view.getUint16(at + i * 2, true) << 16
      out[i] = bfloat[0]
    }
  },
  Q4_0: q4(false),
  Q4_1: q4(true),
  Q5_0: q5(false),
  Q5_1: q5(true),
  Q8_0(bytes, _view, from, count, out) {
    for (let i = 0, at = from; i < count; i += 32, at += 34) {
      const d = half(bytes, at)
      for (let j = 0; j < 32; j++) out[i + j] = d * ((bytes[at + 2 + j] << 24) >> 24)
    }
  },
  Q4_K: k45(false),
  Q5_K: k45(true),
  Q6_K(bytes, _view, from, count, out) {
    for (let i = 0, at = from; i < count; i += 256, at += 210) {
      const d = half(bytes, at + 208)
      for (let j = 0; j < 16; j++) {
        const scale = d * ((bytes[at + 192 + j] << 24) >> 24)
        // 128 values are four runs of 32: low nibbles of bytes 0–31 and 32–63, then the high ones; two upper bits each.
        const half128 = j >> 3
        const run = (j >> 1) & 3
        const low = at + half128 * 64 + (run & 1) * 32 + (j & 1) * 16
        const high = at + 128 + half128 * 32 + (j & 1) * 16
        for (let l = 0; l < 16; l++) {
          const q = ((bytes[low + l] >> ((run >> 1) << 2)) & 15) | (((bytes[high + l] >> (run * 2)) & 3) << 4)
          out[i + j * 16 + l] = scale * (q - 32)
        }
      }
    }
  },
}
const bfloatBits = new Uint32Array(1)
const bfloat = new Float32Array(bfloatBits.buffer)

/**
 * Values of one row: `count` of them (a multiple of the format's block) from `at` on, exact, into `out`.
 * Returns the largest |value|, NaN when a value or scale is NaN or infinite. `view` and `bytes` are of the same bytes.
 */
export function dequantiseRow(type: SourceType, bytes: Uint8Array, view: DataView, at: number, count: number, out: Float64Array): number {
  readers[type.name](bytes, view, at, count, out)
  return largest(out, count)
}

export const isFourBit = (type: SourceType): boolean => type.name === 'Q4_0' || type.name === 'Q4_1' || type.name === 'Q4_K'

/** One row of Q8_0 in groups of 32 as shipped: value = weight · d. Returns the largest |d|, NaN when one is NaN or infinite. */
export function readGroups8(bytes: Uint8Array, from: number, columns: number, weights: Int8Array, d: Float64Array): number {
  for (let g = 0, at = from; g < columns / 32; g++, at += 34) {
    d[g] = half(bytes, at)
    for (let j = 0; j < 32; j++) weights[g * 32 + j] = bytes[at + 2 + j]
  }
  return largest(d, columns / 32)
}

/** One row of a 4-bit source in groups of 32: value = d · (q − 8) + m. */
export interface Groups {
  /** Four words a group: canonical nibble blocks (specification, section 2), little-endian. */
  nibbles: Uint32Array
  d: Float64Array
  m: Float64Array
}

export const createGroups = (columns: number): Groups => ({
  nibbles: new Uint32Array(columns / 8),
  d: new Float64Array(columns / 32),
  m: new Float64Array(columns / 32),
})

const low = 0x0f0f0f0f

/**
 * Groups of one row of Q4_0 (m = 0), Q4_1 (m = minimum + 8d) or Q4_K (sub-blocks: d·scale, m = 8·d·scale − dmin·minimum), nibbles as shipped.
 * Returns the largest |d| or |m|, NaN when a scale is NaN or infinite.
 */
export function readGroups(type: SourceType, bytes: Uint8Array, view: DataView, from: number, columns: number, out: Groups): number {
  const { nibbles, d, m } = out
  if (type.name === 'Q4_K') {
    for (let g = 0, at = from; g < columns / 32; g += 8, at += 144) {
      const scale = half(bytes, at)
      const minimum = half(bytes, at + 2)
      for (let j = 0; j < 8; j++) {
        d[g + j] = scale * scaleAt(bytes, at + 4, j)
        m[g + j] = 8 * d[g + j] - minimum * minimumAt(bytes, at + 4, j)
        // 32 consecutive bytes hold two sub-blocks: the low nibbles and the high ones. Block k wants values 8k..8k+3 low and 8k+4..8k+7 high.
        const q = at + 16 + (j >> 1) * 32
        const shift = (j & 1) * 4
        for (let k = 0; k < 4; k++) {
          const a = view.getUint32(q + k * 8, true) >>> shift
          const b = view.getUint32(q + k * 8 + 4, true) >>> shift
          nibbles[(g + j) * 4 + k] = (a & low) | ((b & low) << 4)
        }
      }
    }
  } else {
    const head = type.bytes - 16
    for (let g = 0, at = from; g < columns / 32; g++, at += type.bytes) {
      d[g] = half(bytes, at)
      m[g] = head === 4 ? half(bytes, at + 2) + 8 * d[g] : 0
      // Low nibbles are values 0–15, high ones 16–31.
      for (let k = 0; k < 2; k++) {
        const a = view.getUint32(at + head + k * 8, true)
        const b = view.getUint32(at + head + k * 8 + 4, true)
        nibbles[g * 4 + k] = (a & low) | ((b & low) << 4)
        nibbles[g * 4 + 2 + k] = ((a >>> 4) & low) | (b & ~low)
      }
    }
  }
  const max = largest(d, columns / 32)
  const other = largest(m, columns / 32)
  return other > max || Number.isNaN(other) ? other : max
}
