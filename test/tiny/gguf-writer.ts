// Writes GGUF files: the opposite of protocol/model/gguf.ts, made apart from it. Knows nothing of models, and writes nonsense when told to (tests need hostile files).

export const ggufTypes = { u8: 0, i8: 1, u16: 2, i16: 3, u32: 4, i32: 5, f32: 6, bool: 7, text: 8, list: 9, u64: 10, i64: 11, f64: 12 } as const
export type ScalarType = Exclude<keyof typeof ggufTypes, 'list'>
export type Entry = [key: string, type: ScalarType | `${ScalarType}[]`, value: unknown]

export interface WrittenTensor {
  name: string
  /** ggml order: row length first. */
  dims: number[]
  /** ggml_type. */
  type: number
  data: Uint8Array
  /** Told instead of the true one. */
  offset?: number | bigint
}

export interface GgufContents {
  version?: number
  alignment?: number
  metadata: Entry[]
  tensors: WrittenTensor[]
  /** Told instead of the true ones. */
  tensorCount?: number | bigint
  keyCount?: number | bigint
}

class Writer {
  private bytes = new Uint8Array(1 << 16)
  private view = new DataView(this.bytes.buffer)
  at = 0
  room(length: number): number {
    while (this.at + length > this.bytes.length) {
      const larger = new Uint8Array(this.bytes.length * 2)
      larger.set(this.bytes)
      this.bytes = larger
      this.view = new DataView(larger.buffer)
    }
    this.at += length
    return this.at - length
  }
  raw(bytes: Uint8Array): void {
    const at = this.room(bytes.length)
    this.bytes.set(bytes, at)
  }
  u32(value: number): void {
    const at = this.room(4)
    this.view.setUint32(at, value, true)
  }
  u64(value: number | bigint): void {
    const at = this.room(8)
    this.view.setBigUint64(at, BigInt(value), true)
  }
  text(value: string): void {
    const bytes = new TextEncoder().encode(value)
    this.u64(bytes.length)
    this.raw(bytes)
  }
  value(type: ScalarType, value: unknown): void {
    if (type === 'text') return this.text(value as string)
    const size = { u8: 1, i8: 1, u16: 2, i16: 2, u32: 4, i32: 4, f32: 4, bool: 1, u64: 8, i64: 8, f64: 8 }[type]
    const at = this.room(size)
    const n = value as number
    if (type === 'u8') this.view.setUint8(at, n)
    if (type === 'i8') this.view.setInt8(at, n)
    if (type === 'u16') this.view.setUint16(at, n, true)
    if (type === 'i16') this.view.setInt16(at, n, true)
    if (type === 'u32') this.view.setUint32(at, n, true)
    if (type === 'i32') this.view.setInt32(at, n, true)
    if (type === 'f32') this.view.setFloat32(at, n, true)
    if (type === 'f64') this.view.setFloat64(at, n, true)
    if (type === 'bool') this.view.setUint8(at, Number(value))
    if (type === 'u64') this.view.setBigUint64(at, BigInt(n), true)
    if (type === 'i64') this.view.setBigInt64(at, BigInt(n), true)
  }
  align(to: number): void {
    this.room((to - (this.at % to)) % to)
  }
  done(): Uint8Array<ArrayBuffer> {
    return this.bytes.slice(0, this.at)
  }
}

export function writeGguf({ version = 3, alignment = 32, metadata, tensors, tensorCount, keyCount }: GgufContents): Uint8Array<ArrayBuffer> {
  const w = new Writer()
  w.u32(0x46554747)
  w.u32(version)
  w.u64(tensorCount ?? tensors.length)
  w.u64(keyCount ?? metadata.length)
  for (const [key, type, value] of metadata) {
    w.text(key)
    if (type.endsWith('[]')) {
      const entry = type.slice(0, -2) as ScalarType
      const values = value as ArrayLike<unknown>
      w.u32(ggufTypes.list)
      w.u32(ggufTypes[entry])
      w.u64(values.length)
      for (let i = 0; i < values.length; i++) w.value(entry, values[i])
    } else {
      w.u32(ggufTypes[type as ScalarType])
      w.value(type as ScalarType, value)
    }
  }
  let offset = 0
  for (const tensor of tensors) {
    w.text(tensor.name)
    w.u32(tensor.dims.length)
    for (const dim of tensor.dims) w.u64(dim)
    w.u32(tensor.type)
    w.u64(tensor.offset ?? offset)
    offset += Math.ceil(tensor.data.length / alignment) * alignment
  }
  w.align(alignment)
  for (const tensor of tensors) {
    w.raw(tensor.data)
    w.align(alignment)
  }
  return w.done()
}

export interface Part {
  name: string
  bytes: Uint8Array<ArrayBuffer>
}

/** As llama-gguf-split does: all metadata in the first part, tensors dealt out in order. */
export function splitGguf(contents: GgufContents, parts: number, stem = 'model'): Part[] {
  const each = Math.ceil(contents.tensors.length / parts)
  return Array.from({ length: parts }, (_, number) => {
    const numbering: Entry[] = [
      ['split.no', 'u16', number],
      ['split.count', 'u16', parts],
      ['split.tensors.count', 'i32', contents.tensors.length],
    ]
    const five = (n: number): string => String(n).padStart(5, '0')
    return {
      name: `${stem}-${five(number + 1)}-of-${five(parts)}.gguf`,
      bytes: writeGguf({
        ...contents,
        metadata: number === 0 ? [...contents.metadata, ...numbering] : numbering,
        tensors: contents.tensors.slice(number * each, (number + 1) * each),
      }),
    }
  })
}
