// Values as canonical dag-cbor arrays, and back. A codec says what a value is once; encoder, strict decoder and type follow from it. Structures are arrays in
// field order, not maps: a name per field would double the ledger. Decoding refuses everything that would not encode to the very same bytes.
import { decode, encode } from '@ipld/dag-cbor'
import { equalBytes } from '../protocol/hash.ts'
import { LedgerError } from './errors.ts'

/** Turns a T into what dag-cbor encodes (`write`), and strangers' data into a T or a LedgerError (`read`, `name` is what the sentence calls it). */
export interface Codec<T> {
  write(value: T): unknown
  read(data: unknown, name: string): T
}
export type Of<C> = C extends Codec<infer T> ? T : never

const wrong = (name: string, expected: string): LedgerError => new LedgerError('encoding', `${name} is not ${expected}`)

/** Whole numbers that a double holds: counts, heights, times in ms. */
export const integer = (min: number, max: number): Codec<number> => ({
  write: (value) => {
    if (!Number.isSafeInteger(value) || value < min || value > max) throw new LedgerError('range', `${value} is not a whole number from ${min} to ${max}`)
    return value
  },
  read: (data, name) => {
    if (typeof data === 'bigint' || (typeof data === 'number' && Number.isSafeInteger(data) && (data < min || data > max)))
      throw new LedgerError('range', `${name} is ${data}, allowed are ${min} to ${max}`)
    if (typeof data !== 'number' || !Number.isSafeInteger(data)) throw wrong(name, `a whole number from ${min} to ${max}`)
    return data
  },
})
export const u8 = integer(0, 255)
export const u16 = integer(0, 65535)
export const u32 = integer(0, 4294967295)
/** ms since 1970. */
export const time = integer(0, Number.MAX_SAFE_INTEGER)

/** Money in µ (amount.ts); below 2^63, so that sums of two fit what databases hold. */
export const amountMax = (1n << 63n) - 1n
export const amount: Codec<bigint> = {
  write: (value) => {
    if (value < 0n || value > amountMax) throw new LedgerError('range', `${value} is not an amount`)
    return value
  },
  read: (data, name) => {
    const value = typeof data === 'number' && Number.isSafeInteger(data) ? BigInt(data) : data
    if (typeof value !== 'bigint') throw wrong(name, 'an amount')
    if (value < 0n || value > amountMax) throw new LedgerError('range', `${name} is ${value}, amounts are 0 to 2^63 − 1`)
    return value
  },
}

export const flag: Codec<boolean> = {
  write: (value) => value,
  read: (data, name) => {
    if (typeof data !== 'boolean') throw wrong(name, 'true or false')
    return data
  },
}

/** Exactly `length` bytes. */
export const bytes = (length: number): Codec<Uint8Array> => ({
  write: (value) => {
    if (value.length !== length) throw new LedgerError('range', `${value.length} bytes where ${length} belong`)
    return value
  },
  read: (data, name) => {
    if (!(data instanceof Uint8Array) || data.length !== length) throw wrong(name, `${length} bytes`)
    return data
  },
})
export const hash = bytes(32)
export const signature = bytes(64)

export const bytesUpTo = (max: number): Codec<Uint8Array> => ({
  write: (value) => value,
  read: (data, name) => {
    if (!(data instanceof Uint8Array)) throw wrong(name, 'a byte string')
    if (data.length > max) throw new LedgerError('oversized', `${name} has ${data.length} bytes, at most ${max} are allowed`)
    return data
  },
})

const utf8 = new TextEncoder()
export const text = (bytesMax: number): Codec<string> => ({
  write: (value) => value,
  read: (data, name) => {
    if (typeof data !== 'string') throw wrong(name, 'a text')
    if (utf8.encode(data).length > bytesMax) throw new LedgerError('oversized', `${name} is longer than ${bytesMax} bytes`)
    return data
  },
})

export const list = <T>(item: Codec<T>, max: number): Codec<T[]> => ({
  write: (value) => value.map((one) => item.write(one)),
  read: (data, name) => {
    if (!Array.isArray(data)) throw wrong(name, 'a list')
    if (data.length > max) throw new LedgerError('oversized', `${name} has ${data.length} entries, at most ${max} are allowed`)
    return data.map((one, i) => item.read(one, `${name}[${i}]`))
  },
})

export const optional = <T>(item: Codec<T>): Codec<T | null> => ({
  write: (value) => (value === null ? null : item.write(value)),
  read: (data, name) => (data === null ? null : item.read(data, name)),
})

export const oneOf = <const T extends string>(names: readonly T[]): Codec<T> => ({
  write: (value) => names.indexOf(value),
  read: (data, name) => {
    const found = typeof data === 'number' ? names[data] : undefined
    if (found === undefined) throw wrong(name, `0 to ${names.length - 1} (${names.join(', ')})`)
    return found
  },
})

type Fields = Record<string, Codec<never>>
type Struct<F> = { -readonly [K in keyof F]: Of<F[K]> }

/** An object as the array of its fields in the order given. */
export function struct<const F extends { [K in keyof F]: Codec<unknown> | Codec<never> }>(fields: F): Codec<Struct<F>> {
  const names = Object.keys(fields) as (keyof F & string)[]
  const codecs = names.map((name) => (fields as unknown as Fields)[name] as unknown as Codec<unknown>)
  return {
    write: (value) => codecs.map((codec, i) => codec.write((value as Record<string, unknown>)[names[i]])),
    read: (data, name) => {
      if (!Array.isArray(data)) throw wrong(name, 'a list of fields')
      if (data.length !== names.length) throw new LedgerError('encoding', `${name} has ${data.length} fields, expected ${names.length}: ${names.join(', ')}`)
      const value: Record<string, unknown> = {}
      for (let i = 0; i < codecs.length; i++) value[names[i]] = codecs[i].read(data[i], `${name}.${names[i]}`)
      return value as Struct<F>
    },
  }
}

/** Canonical bytes. Throws LedgerError for a value out of range: our own mistake. */
export const encodeAs = <T>(codec: Codec<T>, value: T): Uint8Array => encode(codec.write(value))

/** Bytes that a root vouches for: fields are read as strictly, but whether the form is canonical is not asked again. Throws LedgerError. */
export function decodeOwn<T>(codec: Codec<T>, data: Uint8Array, name: string): T {
  try {
    return codec.read(decode(data), name)
  } catch (error) {
    if (error instanceof LedgerError) throw error
    throw new LedgerError('encoding', `${name} is not dag-cbor: ${error instanceof Error ? error.message : 'unreadable'}`)
  }
}

/** A stranger's bytes. Throws LedgerError; what it returns encodes to exactly these bytes. */
export function decodeAs<T>(codec: Codec<T>, data: Uint8Array, name: string): T {
  const value = decodeOwn(codec, data, name)
  if (!equalBytes(encodeAs(codec, value), data)) throw new LedgerError('encoding', `${name} is not in canonical form`)
  return value
}
