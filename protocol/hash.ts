// SHA-256 for everyone, and H of the specification (section 1). Portable by default (@noble/hashes); a host with a native one injects it with setSha256:
// importing a model takes hundreds of thousands of short hashes. Refuses to know any other hash.
import { sha256 as portable } from '@noble/hashes/sha2.js'

/** A SHA-256 over pieces. */
export interface Sha256Stream {
  update(bytes: Uint8Array): unknown
  /** 32 bytes; the stream is used up. */
  digest(): Uint8Array
}

let hashNow: (bytes: Uint8Array) => Uint8Array = portable
let hashStream: () => Sha256Stream = () => portable.create()

/**
 * Replaces the implementation: `now` hashes one byte string at once, `stream` (optional) one that comes in pieces.
 * With node:crypto: setSha256((bytes) => hash('sha256', bytes, 'buffer'), () => createHash('sha256')).
 */
export function setSha256(now: (bytes: Uint8Array) => Uint8Array, stream?: () => Sha256Stream): void {
  hashNow = now
  if (stream) hashStream = stream
}

/** SHA-256, 32 bytes. */
export const sha256 = (bytes: Uint8Array): Uint8Array => hashNow(bytes)

export const sha256Stream = (): Sha256Stream => hashStream()

const text = new TextEncoder()

/** Tags are words of the specification, a few dozen. */
const prefixes = new Map<string, Uint8Array>()

/** u8 length ‖ "mw/"tag"/1": what every H begins with, so that no two kinds of thing share a hash. Not to be written to. */
export function tagPrefix(tag: string): Uint8Array {
  const known = prefixes.get(tag)
  if (known) return known
  const name = text.encode(`mw/${tag}/1`)
  if (name.length > 255) throw new RangeError(`tag ${tag} is too long`)
  const prefix = join([Uint8Array.of(name.length), name])
  if (prefixes.size < 256) prefixes.set(tag, prefix)
  return prefix
}

/** H(tag, parts…): the parts are joined as they are, so they must be of fixed width or carry their length (see lengthPrefixed). */
export const hashTagged = (tag: string, ...parts: Uint8Array[]): Uint8Array => sha256(join([tagPrefix(tag), ...parts]))

export function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/** A byte string or text (as UTF-8) behind its length as u32. */
export function lengthPrefixed(value: Uint8Array | string): Uint8Array {
  const bytes = typeof value === 'string' ? text.encode(value) : value
  return join([u32(bytes.length), bytes])
}

/** Numbers as u32 little-endian. */
export const u32 = (...values: number[]): Uint8Array => u32s(values)

/** The same for a list of any length: as arguments a long prompt could overflow a worker's stack. */
export function u32s(values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 4)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < values.length; i++) view.setUint32(i * 4, values[i], true)
  return bytes
}

const digits = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0'))

/** Lower-case hexadecimal digits. */
export function hex(bytes: Uint8Array): string {
  let out = ''
  for (let i = 0; i < bytes.length; i++) out += digits[bytes[i]]
  return out
}

/** Throws RangeError for anything but pairs of hexadecimal digits. */
export function fromHex(digitsText: string): Uint8Array<ArrayBuffer> {
  if (!/^([0-9a-fA-F]{2})*$/.test(digitsText)) throw new RangeError(`${JSON.stringify(digitsText.slice(0, 80))} is not a row of pairs of hexadecimal digits`)
  const bytes = new Uint8Array(digitsText.length / 2)
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(digitsText.slice(i * 2, i * 2 + 2), 16)
  return bytes
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}
