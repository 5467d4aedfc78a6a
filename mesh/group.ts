// Networks of peers. 'main' is open to all; a private group is named by the hash of its invitation secret, so that a relay which carries its gossip learns the
// name but cannot invite. That a peer knows the secret itself is shown at hello (protocol/peer).
import { fromHex } from '../protocol/hash.ts'

/** 16 random bytes, as 32 hex digits: enough that nobody guesses one, short enough for a link. */
const secretPattern = /^[0-9a-f]{32}$/

export class InvitationError extends Error {
  override name = 'InvitationError'
}

/** The bytes of an invitation as it stands in links and options; null without one. Throws InvitationError when it cannot be one. */
export function invitationOf(text: string | null | undefined): Uint8Array | null {
  if (text === null || text === undefined) return null
  if (!secretPattern.test(text)) throw new InvitationError('an invitation is 32 hexadecimal digits')
  return fromHex(text)
}

/** Gossip topic of a network's presence. */
export const presenceTopic = (network: string): string => `meadow/1/${network}/presence`

/** The network whose presence a topic carries; null for any other topic. */
export function networkOfTopic(topic: string): string | null {
  return /^meadow\/1\/(main|[0-9a-f]{64})\/presence$/.exec(topic)?.[1] ?? null
}
