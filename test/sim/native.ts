// Node's own SHA-256 and Ed25519 for tests that make thousands of signatures.
import { createHash, createPrivateKey, createPublicKey, hash, type KeyObject, sign, verify } from 'node:crypto'
import { hex, setSha256 } from '../../protocol/hash.ts'
import { setEd25519 } from '../../protocol/keys.ts'

// RFC 8410: what stands before the 32 bytes of a key in DER.
const secretPrefix = Buffer.from('302e020100300506032b657004220420', 'hex')
const publicPrefix = Buffer.from('302a300506032b6570032100', 'hex')

export function useNative(): void {
  setSha256(
    (bytes) => hash('sha256', bytes, 'buffer'),
    () => createHash('sha256'),
  )
  const secrets = new Map<string, KeyObject>()
  const checked = new Map<string, boolean>()
  const publics = new Map<string, KeyObject>()
  const secretOf = (bytes: Uint8Array): KeyObject => {
    const name = hex(bytes)
    if (!secrets.has(name)) secrets.set(name, createPrivateKey({ key: Buffer.concat([secretPrefix, bytes]), format: 'der', type: 'pkcs8' }))
    return secrets.get(name)!
  }
  const publicOf = (bytes: Uint8Array): KeyObject => {
    const name = hex(bytes)
    if (!publics.has(name)) publics.set(name, createPublicKey({ key: Buffer.concat([publicPrefix, bytes]), format: 'der', type: 'spki' }))
    return publics.get(name)!
  }
  setEd25519({
    publicKey: (secret) => new Uint8Array(createPublicKey(secretOf(secret)).export({ format: 'der', type: 'spki' }).subarray(-32)),
    sign: (secret, message) => new Uint8Array(sign(null, message, secretOf(secret))),
    // Hundreds of simulated peers check the same record: each check is made once.
    verify(key, message, signature) {
      const name = `${hex(key)}${hex(message)}${hex(signature)}`
      let held = checked.get(name)
      if (held === undefined) {
        held = verify(null, message, publicOf(key), signature)
        checked.set(name, held)
        if (checked.size > 20_000) checked.clear()
      }
      return held
    },
  })
}
