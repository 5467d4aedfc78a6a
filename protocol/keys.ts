// Ed25519 for everyone: who said what. Portable by default (@noble/curves); a host with a native one injects it with setEd25519 (10 times faster, measured).
// Every signature is over H(domain, bytes), so that what was signed for one purpose can never be shown for another.
import { ed25519 } from '@noble/curves/ed25519.js'
import { sha512 } from '@noble/hashes/sha2.js'
import { hashTagged, join } from './hash.ts'

/** Ed25519 on plain messages (RFC 8032). `verify` must use the equation without cofactor, as OpenSSL, BoringSSL and NSS do. */
export interface Ed25519 {
  publicKey(secret32: Uint8Array): Uint8Array
  sign(secret32: Uint8Array, message: Uint8Array): Uint8Array
  verify(public32: Uint8Array, message: Uint8Array, signature64: Uint8Array): boolean
}

const { Point } = ed25519
const order = Point.Fn.ORDER

function numberOf(bytes: Uint8Array): bigint {
  let value = 0n
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i])
  return value
}

/**
 * noble's own verify multiplies by the cofactor and native ones do not: a crafted signature would pass here and fail there, and a ledger would split.
 * So the native rule: R is the encoding of s·B − k·A.
 */
function verifyPortable(public32: Uint8Array, message: Uint8Array, signature64: Uint8Array): boolean {
  const r = signature64.subarray(0, 32)
  const s = numberOf(signature64.subarray(32))
  const k = numberOf(sha512(join([r, public32, message]))) % order
  const minusA = Point.fromBytes(public32).negate()
  const expected = Point.BASE.multiplyUnsafe(s).add(minusA.multiplyUnsafe(k)).toBytes()
  return expected.every((byte, i) => byte === r[i])
}

const portable: Ed25519 = {
  publicKey: (secret32) => ed25519.getPublicKey(secret32),
  sign: (secret32, message) => ed25519.sign(message, secret32),
  verify: verifyPortable,
}

let current = portable

/** Replaces the implementation. Null: back to the portable one. */
export function setEd25519(native: Ed25519 | null): void {
  current = native ?? portable
}

const prime = (1n << 255n) - 19n

/** Encodings that implementations disagree about are nobody's key: y beyond the prime, and the eight points of small order. */
function isSoundKey(public32: Uint8Array): boolean {
  const y = numberOf(public32) & ((1n << 255n) - 1n)
  return y < prime && !smallOrder.has(y)
}

/** The y coordinates of points whose order divides 8 (0: order 4; 1 and −1: orders 1 and 2; the other two: order 8). */
const smallOrder = new Set([
  0n,
  1n,
  prime - 1n,
  2707385501144840649318225287225658788936804267575313519463743609750303402022n,
  prime - 2707385501144840649318225287225658788936804267575313519463743609750303402022n,
])

/** 32 bytes. Throws RangeError for a secret of another length. */
export function publicKeyOf(secret32: Uint8Array): Uint8Array {
  if (secret32.length !== 32) throw new RangeError(`a secret key has 32 bytes, not ${secret32.length}`)
  return current.publicKey(secret32)
}

/** 64 bytes over H(domain, bytes). Throws RangeError for a secret of another length. */
export function sign(secret32: Uint8Array, domain: string, bytes: Uint8Array): Uint8Array {
  if (secret32.length !== 32) throw new RangeError(`a secret key has 32 bytes, not ${secret32.length}`)
  return current.sign(secret32, hashTagged(domain, bytes))
}

/** Whether a key and a signature are well formed: what `verify` asks before any curve arithmetic. For hosts that check in a thread pool of their own. */
export const isCheckable = (public32: Uint8Array, signature: Uint8Array): boolean =>
  public32.length === 32 && signature.length === 64 && isSoundKey(public32) && numberOf(signature.subarray(32)) < order

/** Whether `signature` is that key's over H(domain, bytes). A key or signature that is none is simply false; nothing throws. */
export function verify(public32: Uint8Array, domain: string, bytes: Uint8Array, signature: Uint8Array): boolean {
  if (!isCheckable(public32, signature)) return false
  try {
    return current.verify(public32, hashTagged(domain, bytes), signature)
  } catch {
    return false
  }
}
