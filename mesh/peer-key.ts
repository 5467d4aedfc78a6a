// One Ed25519 key per peer, in two spellings: `PeerKey` (64 hex digits of the public key) in pure code, libp2p's peer id on the wire.
import { privateKeyFromRaw, publicKeyFromRaw } from '@libp2p/crypto/keys'
import type { Ed25519PrivateKey, PeerId } from '@libp2p/interface'
import { peerIdFromPublicKey, peerIdFromString } from '@libp2p/peer-id'
import { fromHex, hex } from '../protocol/hash.ts'

/** The peer id of a public key. Throws when it is not 64 hex digits of one. */
export function peerIdOf(key: string): PeerId {
  if (!/^[0-9a-f]{64}$/.test(key)) throw new RangeError(`${key} is not the key of a peer: 64 hex digits`)
  return peerIdFromPublicKey(publicKeyFromRaw(fromHex(key)))
}

/** The public key of a peer id, or null: an RSA or secp256k1 peer takes no part in Meadow. */
export function keyOfPeer(peer: PeerId): string | null {
  return peer.type === 'Ed25519' ? hex(peer.publicKey.raw) : null
}

/** The public key of the peer that a multiaddr's `/p2p/…` names, or null. */
export function keyOfPeerIdText(text: string): string | null {
  try {
    return keyOfPeer(peerIdFromString(text))
  } catch {
    return null
  }
}

/** libp2p's form of a private key: the 32 bytes of the seed and the 32 of the public key. */
export function libp2pKey(seed: Uint8Array, publicKey: Uint8Array): Ed25519PrivateKey {
  const raw = new Uint8Array(64)
  raw.set(seed)
  raw.set(publicKey, 32)
  const key = privateKeyFromRaw(raw)
  if (key.type !== 'Ed25519') throw new Error('64 bytes are an Ed25519 key')
  return key
}
