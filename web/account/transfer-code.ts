// An account on its way to a second device: the secret, encrypted with a code that is shown apart from it. The picture alone is worth nothing, the code alone neither; both are
// the account. AES-256-GCM under PBKDF2-SHA-256 of the code: 600,000 rounds (OWASP's figure for it), so that guessing its 50 bits costs more than any account holds.
import { equalBytes, join } from '../../protocol/hash.ts'

export class TransferError extends Error {
  override name = 'TransferError'
}

const version = 1
const rounds = 600_000
const saltBytes = 16
const ivBytes = 12
/** Crockford's: no I, L, O, U. */
const letters = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const codeLength = 10

/** "7K2QD-9XMB4": 50 random bits. */
export function newCode(random: (bytes: Uint8Array<ArrayBuffer>) => Uint8Array = (bytes) => crypto.getRandomValues(bytes)): string {
  const text = Array.from(random(new Uint8Array(codeLength)), (byte) => letters[byte & 31]).join('')
  return `${text.slice(0, 5)}-${text.slice(5)}`
}

/** What a person typed, as the letters that were meant; null when it is no code. */
export function codeTyped(text: string): string | null {
  const plain = text.toUpperCase().replace(/[\s-]/g, '').replace(/O/g, '0').replace(/[IL]/g, '1')
  return plain.length === codeLength && [...plain].every((letter) => letters.includes(letter)) ? plain : null
}

async function keyOf(code: string, salt: Uint8Array): Promise<CryptoKey> {
  const base = await crypto.subtle.importKey('raw', new TextEncoder().encode(code), 'PBKDF2', false, ['deriveKey'])
  return crypto.subtle.deriveKey(
    { name: 'PBKDF2', hash: 'SHA-256', salt: salt as Uint8Array<ArrayBuffer>, iterations: rounds },
    base,
    { name: 'AES-GCM', length: 256 },
    false,
    ['encrypt', 'decrypt'],
  )
}

/** Browsers have WebCrypto on https and on this machine only. */
export const canTransfer = (): boolean => typeof crypto.subtle !== 'undefined'

/** version u8 ‖ salt ‖ iv ‖ ciphertext, base64url: fits a link. */
export async function sealSecret(secret: Uint8Array, code: string): Promise<string> {
  const salt = crypto.getRandomValues(new Uint8Array(saltBytes))
  const iv = crypto.getRandomValues(new Uint8Array(ivBytes))
  const key = await keyOf(codeTyped(code)!, salt)
  const sealed = new Uint8Array(await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, key, secret as Uint8Array<ArrayBuffer>))
  return btoa(String.fromCharCode(...join([Uint8Array.of(version), salt, iv, sealed])))
    .replace(/\+/g, '-')
    .replace(/\//g, '_')
    .replace(/=+$/, '')
}

/** The secret again. Throws TransferError with a sentence. */
export async function openSecret(text: string, typed: string): Promise<Uint8Array> {
  const code = codeTyped(typed)
  if (!code) throw new TransferError('A code has ten letters and digits, such as 7K2QD-9XMB4.')
  let bytes: Uint8Array
  try {
    bytes = Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (letter) => letter.charCodeAt(0))
  } catch {
    throw new TransferError('This link is damaged: scan or copy it again.')
  }
  if (bytes.length !== 1 + saltBytes + ivBytes + 32 + 16 || !equalBytes(bytes.subarray(0, 1), Uint8Array.of(version)))
    throw new TransferError('This link is damaged, or of a newer version of Meadow.')
  const key = await keyOf(code, bytes.subarray(1, 1 + saltBytes))
  const iv = bytes.slice(1 + saltBytes, 1 + saltBytes + ivBytes)
  try {
    return new Uint8Array(await crypto.subtle.decrypt({ name: 'AES-GCM', iv }, key, bytes.slice(1 + saltBytes + ivBytes)))
  } catch {
    throw new TransferError('This is not the code that belongs to this link.')
  }
}

/** What a QR code shows; the part behind # is sent to no server. */
export const transferLink = (origin: string, sealed: string): string => `${origin}/account/#take=${sealed}`
export const transferOf = (hash: string): string | null => /^#take=([A-Za-z0-9_-]{40,200})$/.exec(hash)?.[1] ?? null
