// Messages as canonical dag-cbor, and back. A message is described once, as a shape; its type, its encoder and its strict decoder follow from that.
// Order of checks on strangers' bytes: length, dag-cbor, shape (fields, ranges), canonical form. Signatures come after, in messages.ts.
import { decode, encode } from '@ipld/dag-cbor'
import { equalBytes, fromHex, hex } from './hash.ts'

/** What is wrong with a stranger's message, in one sentence. Nothing it quotes can steer a terminal. */
export class MessageError extends Error {
  override name = 'MessageError'
  constructor(message: string) {
    super(message.replace(/[\p{Cc}\p{Bidi_Control}]/gu, '\ufffd'))
  }
}

/** A value's form in memory (T) and in dag-cbor. */
export interface Shape<T> {
  /** Throws MessageError naming what `name` should have been. */
  read(value: unknown, name: string): T
  write(value: T): unknown
}
/** Any shape, for bounds of type parameters. */
export interface SomeShape {
  read(value: unknown, name: string): unknown
  write(value: never): unknown
}
export type Of<S extends SomeShape> = ReturnType<S['read']>

const wrong = (name: string, expected: string): MessageError => new MessageError(`${name} is not ${expected}`)
const same = <T>(value: T): T => value

export const integer = (min: number, max: number): Shape<number> => ({
  read(value, name) {
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) throw wrong(name, `an integer from ${min} to ${max}`)
    return value
  },
  write: same,
})

export const boolean: Shape<boolean> = {
  read(value, name) {
    if (typeof value !== 'boolean') throw wrong(name, 'true or false')
    return value
  },
  write: same,
}

export const text = (bytesMax: number): Shape<string> => ({
  read(value, name) {
    if (typeof value !== 'string' || value.length > bytesMax || new TextEncoder().encode(value).length > bytesMax)
      throw wrong(name, `a text of at most ${bytesMax} bytes`)
    return value
  },
  write: same,
})

export const oneOf = <const T extends string>(choices: readonly T[]): Shape<T> => ({
  read(value, name) {
    const found = choices.find((choice) => choice === value)
    if (found === undefined) throw wrong(name, `one of ${choices.join(', ')}`)
    return found
  },
  write: same,
})

export const bytes = (lengthMin: number, lengthMax: number): Shape<Uint8Array> => ({
  read(value, name) {
    if (!(value instanceof Uint8Array) || value.length < lengthMin || value.length > lengthMax)
      throw wrong(name, lengthMin === lengthMax ? `${lengthMin} bytes` : `${lengthMin} to ${lengthMax} bytes`)
    return value
  },
  write: same,
})

/** Keys, hashes and names: `length` bytes on the wire, hexadecimal digits in memory. */
export const hexBytes = (length: number): Shape<string> => ({
  read: (value, name) => hex(bytes(length, length).read(value, name)),
  write: fromHex,
})

export const list = <T>(item: Shape<T>, countMax: number, countMin = 0): Shape<T[]> => ({
  read(value, name) {
    if (!Array.isArray(value) || value.length < countMin || value.length > countMax) throw wrong(name, `a list of ${countMin} to ${countMax}`)
    return value.map((one, i) => item.read(one, `${name}[${i}]`))
  },
  write: (value) => value.map(item.write),
})

export const nullable = <T>(shape: Shape<T>): Shape<T | null> => ({
  read: (value, name) => (value === null ? null : shape.read(value, name)),
  write: (value) => (value === null ? null : shape.write(value)),
})

/** A map with exactly these fields. */
export const map = <F extends Record<string, SomeShape>>(fields: F): Shape<{ [K in keyof F]: Of<F[K]> }> => {
  const entries = Object.entries(fields) as [string, Shape<unknown>][]
  return {
    read(value, name) {
      if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Uint8Array) throw wrong(name, 'a map')
      const extra = Object.keys(value).find((key) => !Object.hasOwn(fields, key))
      if (extra !== undefined) throw new MessageError(`${name} has an unknown field ${JSON.stringify(extra.slice(0, 64))}`)
      const out: Record<string, unknown> = {}
      for (const [key, shape] of entries) {
        if (!Object.hasOwn(value, key)) throw new MessageError(`${name} lacks the field ${key}`)
        out[key] = shape.read((value as Record<string, unknown>)[key], `${name}.${key}`)
      }
      return out as { [K in keyof F]: Of<F[K]> }
    },
    write(value) {
      const out: Record<string, unknown> = {}
      for (const [key, shape] of entries) out[key] = shape.write((value as Record<string, unknown>)[key])
      return out
    },
  }
}

export interface Codec<T> {
  encode(value: T): Uint8Array
  /** Throws MessageError. */
  decode(bytes: Uint8Array): T
}

/** `name` stands in error messages. One value, one byte string: anything else that means the same is refused. */
export function codec<T>(name: string, shape: Shape<T>, bytesMax: number): Codec<T> {
  const toBytes = (value: T): Uint8Array => encode(shape.write(value))
  return {
    encode: toBytes,
    decode(raw) {
      if (raw.length > bytesMax) throw new MessageError(`${name} has ${raw.length} bytes, at most ${bytesMax} are allowed`)
      const value = shape.read(fromCbor(raw, name), name)
      if (!equalBytes(toBytes(value), raw)) throw new MessageError(`${name} is not in canonical form`)
      return value
    },
  }
}

function fromCbor(raw: Uint8Array, name: string): unknown {
  try {
    return decode(raw)
  } catch (error) {
    // A nesting that exhausts the stack ends here too: a RangeError like any other.
    throw new MessageError(`${name} is not dag-cbor: ${error instanceof Error ? error.message.slice(0, 200) : 'unreadable'}`)
  }
}

/** The same in JSON, where they are digits on both sides. */
export const hexText = (length: number): Shape<string> => ({
  read(value, name) {
    if (typeof value !== 'string' || value.length !== length * 2 || !/^[0-9a-f]*$/.test(value)) throw wrong(name, `${length * 2} hexadecimal digits`)
    return value
  },
  write: same,
})
