// Signatures checked ahead of the state machine, off the main thread: OpenSSL in Node's thread pool. The state machine asks again and finds the answer here, when key,
// message and signature are the very same; anything else it checks itself.
import { createPublicKey, type KeyObject, verify as verifyNative } from 'node:crypto'
import type { Verify } from '../../ledger/context.ts'
import { equalBytes, hashTagged } from '../../protocol/hash.ts'
import { isCheckable, verify } from '../../protocol/keys.ts'
import '../mesh/native-keys.ts'

interface Checked {
  key: Uint8Array
  message: Uint8Array
  ok: boolean
}

const head = Buffer.from('302a300506032b6570032100', 'hex')
/** Parsed keys of those who sent lately: parsing takes 24 µs, verifying 66. */
const keysMax = 16_384

export class SignatureCheck {
  private readonly checked = new WeakMap<Uint8Array, Checked>()
  private readonly keys = new Map<string, KeyObject>()

  private keyOf(bytes: Uint8Array): KeyObject {
    const name = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
    const found = this.keys.get(name)
    if (found) return found
    const key = createPublicKey({ key: Buffer.concat([head, bytes]), format: 'der', type: 'spki' })
    if (this.keys.size >= keysMax) this.keys.delete(this.keys.keys().next().value!)
    this.keys.set(name, key)
    return key
  }

  /** Checks in the thread pool and remembers the answer for `verify`, which must get this very `signature` array. Never rejects. */
  async ahead(key: Uint8Array, domain: string, bytes: Uint8Array, signature: Uint8Array): Promise<boolean> {
    if (!isCheckable(key, signature)) return false
    const message = hashTagged(domain, bytes)
    const ok = await new Promise<boolean>((resolve) => {
      try {
        verifyNative(null, message, this.keyOf(key), signature, (error, valid) => resolve(!error && valid))
      } catch {
        resolve(false)
      }
    })
    this.checked.set(signature, { key, message, ok })
    return ok
  }

  readonly verify: Verify = (key, domain, bytes, signature) => {
    const known = this.checked.get(signature)
    if (known && equalBytes(known.key, key) && equalBytes(known.message, hashTagged(domain, bytes))) return known.ok
    return verify(key, domain, bytes, signature)
  }
}
