// Who a card is when nothing may be kept: a key for as long as the frame lives.
import { hex } from '../../protocol/hash.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import type { Identity } from '../peer/identity.ts'

export async function newStranger(): Promise<Identity> {
  const secret = crypto.getRandomValues(new Uint8Array(32))
  const key = hex(publicKeyOf(secret))
  return { secret, key, place: 0, own: [key], kept: false }
}
