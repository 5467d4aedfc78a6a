// The GGUF container, versions 2 and 3, whole or split: metadata and where the tensors lie. A strict parser of our own, because the kept one
// (@huggingface/gguf 0.4.6; test/protocol/model/gguf.test.ts compares the two on good files) cannot be made safe from outside: it reads only URLs and, in Node, paths, so a page has
// no way to give it a local file; it reads past a file's end into the zeros of its buffer, which is grown by 2 MB at a time whatever arrives; it takes 30 rounds a value
// to give up; it lets a later duplicate of a key win, decodes broken UTF-8 silently, and checks neither tensor offsets nor overlaps. Here every count and length is
// compared with the bytes that are there before anything is allocated, and whatever is wrong is one ModelError sentence.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Refuses version 1, big-endian files and lists of lists.
import {
  ggufAlignmentMax,
  ggufHeaderBytesMax,
  ggufKeyBytesMax,
  ggufKeysMax,
  ggufListMax,
  ggufPartsMax,
  ggufTensorNameBytesMax,
  ggufTensorsMax,
  ggufTextBytesMax,
} from '../limits.ts'
import { otherTypes, type SourceType, sourceTypes } from './dequantise.ts'
import { ModelError } from './manifest.ts'

/** Bytes somewhere: a file, a Blob, memory. */
export interface RandomAccess {
  /** File name without folders; parts of a split file are recognised by it. */
  readonly name: string
  readonly size: number
  /** Exactly `length` bytes from `offset`; they belong to the caller until the next read. */
  read(offset: number, length: number): Promise<Uint8Array>
}

export type MetadataList =
  | string[]
  | boolean[]
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | BigUint64Array
  | BigInt64Array
  | Float64Array
/** 64-bit integers are numbers where they are safe, else bigints. */
export type MetadataValue = number | bigint | string | boolean | MetadataList

export interface GgufTensor {
  name: string
  type: SourceType
  /** ggml order: the first is a row's length. Trailing ones removed. */
  dims: number[]
  /** Which of the files, and where in it. */
  file: number
  offset: number
  bytes: number
}

export interface Gguf {
  /** In the order of parts. */
  files: readonly RandomAccess[]
  /** Of the first part; later ones only number themselves. */
  metadata: ReadonlyMap<string, MetadataValue>
  tensors: ReadonlyMap<string, GgufTensor>
}

/** First read; files with large vocabularies take one or two more. */
const firstReadBytes = 1 << 20

/** Reads the headers of all parts. Throws ModelError, and whatever `read` throws. */
export async function openGguf(given: readonly RandomAccess[], signal?: AbortSignal): Promise<Gguf> {
  if (given.length === 0) throw new ModelError('there is no file')
  if (given.length > ggufPartsMax) throw new ModelError(`the model has ${given.length} parts, at most ${ggufPartsMax} are allowed`)
  const parts: { file: RandomAccess; header: Header }[] = []
  for (const file of given) {
    signal?.throwIfAborted()
    parts.push({ file, header: await readHeader(file) })
  }
  const ordered = orderParts(parts)
  const tensors = new Map<string, GgufTensor>()
  for (const [index, { file, header }] of ordered.entries()) {
    for (const tensor of header.tensors) {
      if (tensors.has(tensor.name)) throw new ModelError(`${file.name} has the tensor ${show(tensor.name)} a second time`)
      tensors.set(tensor.name, { ...tensor, file: index })
    }
  }
  if (tensors.size > ggufTensorsMax) throw new ModelError(`the model has ${tensors.size} tensors, at most ${ggufTensorsMax} are allowed`)
  const { metadata } = ordered[0].header
  const expected = metadata.get('split.tensors.count')
  if (ordered.length > 1 && expected !== undefined && expected !== tensors.size)
    throw new ModelError(`the parts hold ${tensors.size} tensors, but split.tensors.count says ${expected}`)
  return { files: ordered.map(({ file }) => file), metadata, tensors }
}

/** Parts in the order of split.no. Throws ModelError when one is missing, doubled or of another model. */
function orderParts<T extends { file: RandomAccess; header: Header }>(parts: T[]): T[] {
  const ordered: (T | undefined)[] = parts.map(() => undefined)
  for (const part of parts) {
    const { metadata } = part.header
    const { name } = part.file
    const count = metadata.get('split.count') ?? 1
    const number = metadata.get('split.no') ?? 0
    if (typeof count !== 'number' || !Number.isInteger(count) || count < 0) throw new ModelError(`split.count in ${name} is not a count`)
    if (Math.max(1, count) !== parts.length)
      throw new ModelError(`${name} is one of ${count} parts, but ${parts.length} ${parts.length === 1 ? 'file was' : 'files were'} given`)
    if (typeof number !== 'number' || !Number.isInteger(number) || number < 0 || number >= parts.length)
      throw new ModelError(`split.no in ${name} is ${show(number)}, expected 0 to ${parts.length - 1}`)
    if (ordered[number]) throw new ModelError(`${name} and ${ordered[number].file.name} both say they are part ${number + 1} of ${parts.length}`)
    const numbered = /-(\d{5})-of-(\d{5})\.gguf$/.exec(name)
    if (parts.length > 1 && numbered && (Number(numbered[1]) !== number + 1 || Number(numbered[2]) !== parts.length)) {
      throw new ModelError(`${name} says inside that it is part ${number + 1} of ${parts.length}`)
    }
    ordered[number] = part
  }
  return ordered as T[]
}

interface Header {
  metadata: Map<string, MetadataValue>
  tensors: Omit<GgufTensor, 'file'>[]
}

/** Reads as much of the beginning as the header turns out to need: the parser starts again with four times the bytes, so at most a third of the work is done twice. */
async function readHeader(file: RandomAccess): Promise<Header> {
  for (let length = firstReadBytes; ; length *= 4) {
    const wanted = Math.min(length, file.size, ggufHeaderBytesMax)
    const bytes = await file.read(0, wanted)
    if (bytes.length !== wanted) throw new ModelError(`${file.name} could not be read: ${bytes.length} bytes came, ${wanted} were expected`)
    try {
      return parseHeader(bytes, file.name, file.size)
    } catch (error) {
      if (error !== more) throw error
    }
  }
}

const show = (value: unknown): string => (typeof value === 'string' ? JSON.stringify(value.length > 64 ? `${value.slice(0, 64)}…` : value) : String(value))

/** Thrown when the header goes on behind the bytes at hand, and the file does too. */
const more = new Error('more bytes of the header are needed')

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A position in the first bytes of a file. Every read is checked against the file's size first, then against what is at hand. */
class Cursor {
  readonly bytes: Uint8Array
  readonly view: DataView
  readonly name: string
  readonly size: number
  at = 0
  constructor(bytes: Uint8Array, name: string, size: number) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.name = name
    this.size = size
  }

  /** The position before `length` bytes that are there; moves behind them. */
  take(length: number, what: string): number {
    const from = this.at
    if (length > this.size - from) {
      throw new ModelError(`${this.name} ends too early: ${what} takes ${length} bytes from byte ${from} on, but the file has ${this.size}`)
    }
    if (from + length > ggufHeaderBytesMax)
      throw new ModelError(`the metadata of ${this.name} goes on behind ${ggufHeaderBytesMax} bytes, the limit (at ${what})`)
    if (length > this.bytes.length - from) throw more
    this.at = from + length
    return from
  }

  u32(what: string): number {
    return this.view.getUint32(this.take(4, what), true)
  }

  /** Exact up to 2^53, approximate beyond, which every caller's limit refuses. */
  u64(what: string): number {
    const at = this.take(8, what)
    return this.view.getUint32(at, true) + this.view.getUint32(at + 4, true) * 4294967296
  }

  count(what: string, max: number): number {
    const count = this.u64(what)
    if (count > max) throw new ModelError(`${this.name} claims ${show(count)} ${what}, at most ${max} are allowed`)
    return count
  }

  text(what: string, max: number): string {
    const length = this.u64(`the length of ${what}`)
    if (length > max) throw new ModelError(`${what} in ${this.name} claims ${length} bytes, at most ${max} are allowed`)
    const from = this.take(length, what)
    try {
      return utf8.decode(this.bytes.subarray(from, from + length))
    } catch {
      throw new ModelError(`${what} in ${this.name} is not UTF-8`)
    }
  }
}

function parseHeader(bytes: Uint8Array, name: string, size: number): Header {
  const cursor = new Cursor(bytes, name, size)
  if (size < 24 || cursor.u32('the magic number') !== 0x46554747) throw new ModelError(`${name} is no GGUF file: it does not begin with "GGUF"`)
  const version = cursor.u32('the version')
  if (version !== 2 && version !== 3) {
    throw new ModelError(
      version === 0x03000000 || version === 0x02000000
        ? `${name} is a big-endian GGUF file; only little-endian ones are supported`
        : `${name} is GGUF version ${version}; 2 and 3 are supported`,
    )
  }
  const tensorCount = cursor.count('tensors', ggufTensorsMax)
  const keyCount = cursor.count('metadata keys', ggufKeysMax)

  const metadata = new Map<string, MetadataValue>()
  for (let i = 0; i < keyCount; i++) {
    const key = cursor.text(`the name of metadata key ${i}`, ggufKeyBytesMax)
    if (metadata.has(key)) throw new ModelError(`${name} has the metadata key ${show(key)} twice`)
    metadata.set(key, readValue(cursor, cursor.u32(`the type of ${show(key)}`), show(key)))
  }
  const alignment = metadata.get('general.alignment') ?? 32
  if (typeof alignment !== 'number' || alignment < 1 || alignment > ggufAlignmentMax || (alignment & (alignment - 1)) !== 0) {
    throw new ModelError(`general.alignment in ${name} is ${show(alignment)}, expected a power of two of at most ${ggufAlignmentMax}`)
  }

  const tensors: Omit<GgufTensor, 'file'>[] = []
  const names = new Set<string>()
  for (let i = 0; i < tensorCount; i++) {
    const tensor = readTensorInfo(cursor, i, alignment)
    if (names.has(tensor.name)) throw new ModelError(`${name} has the tensor ${show(tensor.name)} twice`)
    names.add(tensor.name)
    tensors.push(tensor)
  }
  const dataAt = Math.ceil(cursor.at / alignment) * alignment
  for (const tensor of tensors) tensor.offset += dataAt
  checkPlaces(tensors, name, size)
  return { metadata, tensors }
}

/** Every tensor inside the file, no two over the same bytes. */
function checkPlaces(tensors: Omit<GgufTensor, 'file'>[], name: string, size: number): void {
  const sorted = [...tensors].sort((a, b) => a.offset - b.offset)
  for (const [i, tensor] of sorted.entries()) {
    const end = tensor.offset + tensor.bytes
    if (end > size) throw new ModelError(`tensor ${show(tensor.name)} ends at byte ${end}, but ${name} has only ${size} bytes`)
    const next = sorted[i + 1]
    if (next && next.offset < end) throw new ModelError(`the tensors ${show(tensor.name)} and ${show(next.name)} of ${name} overlap`)
  }
}

function readTensorInfo(cursor: Cursor, index: number, alignment: number): Omit<GgufTensor, 'file'> {
  const name = cursor.text(`the name of tensor ${index}`, ggufTensorNameBytesMax)
  const what = `tensor ${show(name)}`
  const dimCount = cursor.u32(`the number of dimensions of ${what}`)
  if (dimCount < 1 || dimCount > 4) throw new ModelError(`${what} has ${dimCount} dimensions, expected 1 to 4`)
  const dims: number[] = []
  let values = 1
  for (let d = 0; d < dimCount; d++) {
    const dim = cursor.u64(`dimension ${d} of ${what}`)
    if (dim < 1 || dim > 4294967295) throw new ModelError(`dimension ${d} of ${what} is ${dim}, expected 1 to 4294967295`)
    dims.push(dim)
    values *= dim
    // 256 values take at least 110 bytes in any format: a file that held so many would be larger than this one.
    if (values > cursor.size * 8) throw new ModelError(`${what} claims ${dims.join(' × ')} values, more than ${cursor.name} has room for`)
  }
  while (dims.length > 1 && dims.at(-1) === 1) dims.pop()
  const typeId = cursor.u32(`the type of ${what}`)
  const type = sourceTypes.get(typeId)
  if (!type) {
    const known = otherTypes.get(typeId)
    throw new ModelError(
      `${what} is stored as ${known ?? `unknown type ${typeId}`}, which cannot be imported; supported are ${[...sourceTypes.values()].map((t) => t.name).join(', ')}`,
    )
  }
  if (dims[0] % type.values !== 0) throw new ModelError(`${what} has rows of ${dims[0]} values, but ${type.name} stores them in blocks of ${type.values}`)
  const offset = cursor.u64(`the offset of ${what}`)
  if (offset % alignment !== 0 || offset > cursor.size)
    throw new ModelError(`${what} starts at offset ${offset}, expected a multiple of ${alignment} within the ${cursor.size} bytes of ${cursor.name}`)
  return { name, type, dims, offset, bytes: (values / type.values) * type.bytes }
}

/** gguf_metadata_value_type. Sizes of the fixed ones; 0 for text (8) and list (9). */
const valueBytes = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8]
const typeText = 8
const typeList = 9
const typeBool = 7

function checkType(cursor: Cursor, type: number, what: string): void {
  if (type >= valueBytes.length) throw new ModelError(`${what} in ${cursor.name} has the unknown type ${type}`)
}

function readValue(cursor: Cursor, type: number, what: string): MetadataValue {
  checkType(cursor, type, what)
  if (type === typeText) return cursor.text(what, ggufTextBytesMax)
  if (type === typeList) return readList(cursor, what)
  const { view } = cursor
  const at = cursor.take(valueBytes[type], what)
  if (type === 0) return view.getUint8(at)
  if (type === 1) return view.getInt8(at)
  if (type === 2) return view.getUint16(at, true)
  if (type === 3) return view.getInt16(at, true)
  if (type === 4) return view.getUint32(at, true)
  if (type === 5) return view.getInt32(at, true)
  if (type === 6) return view.getFloat32(at, true)
  if (type === typeBool) return flagOf(view.getUint8(at), what)
  if (type === 12) return view.getFloat64(at, true)
  const big = type === 10 ? view.getBigUint64(at, true) : view.getBigInt64(at, true)
  return big <= BigInt(Number.MAX_SAFE_INTEGER) && big >= BigInt(Number.MIN_SAFE_INTEGER) ? Number(big) : big
}

function flagOf(byte: number, what: string): boolean {
  if (byte > 1) throw new ModelError(`${what} is ${byte}, expected 0 or 1`)
  return byte === 1
}

function readList(cursor: Cursor, what: string): MetadataList {
  const type = cursor.u32(`the type of the entries of ${what}`)
  checkType(cursor, type, what)
  if (type === typeList) throw new ModelError(`${what} in ${cursor.name} is a list of lists, which is not supported`)
  const length = cursor.count(`entries of ${what}`, ggufListMax)
  if (type === typeText) {
    // Each text takes 8 bytes at least: the claim must fit before the first is read.
    cursor.at = cursor.take(length * 8, what)
    const texts: string[] = []
    for (let i = 0; i < length; i++) texts.push(cursor.text(what, ggufTextBytesMax))
    return texts
  }
  const from = cursor.take(length * valueBytes[type], what)
  if (type === typeBool) return Array.from(cursor.bytes.subarray(from, cursor.at), (byte) => flagOf(byte, what))
  // Copies, so that they start aligned. Hosts are little-endian, as WebAssembly and WebGPU are.
  const copy = cursor.bytes.slice(from, cursor.at).buffer
  const arrays = [
    Uint8Array,
    Int8Array,
    Uint16Array,
    Int16Array,
    Uint32Array,
    Int32Array,
    Float32Array,
    null,
    null,
    null,
    BigUint64Array,
    BigInt64Array,
    Float64Array,
  ]
  return new arrays[type]!(copy)
}
