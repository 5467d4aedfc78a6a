// Nonces and salts from an account's key and what they are for: nobody guesses them, and a process that forgot everything finds them again.
import { hashTagged, u32 } from '../../protocol/hash.ts'

/** Of a solver's commitment to an answer (32 bytes). */
export const solverNonce = (secret: Uint8Array, chain: Uint8Array, job: Uint8Array): Uint8Array => hashTagged('solver-nonce', secret, chain, job)

/** Of a challenge to a claim; `host` is the index of the accused in a session. */
export const challengeNonce = (secret: Uint8Array, chain: Uint8Array, claim: Uint8Array, host: number): Uint8Array =>
  hashTagged('challenge-nonce', secret, chain, claim, u32(host))

/** Of an auditor's report. */
export const auditSalt = (secret: Uint8Array, chain: Uint8Array, claim: Uint8Array): Uint8Array => hashTagged('audit-salt', secret, chain, claim)

/** Whether a claim is among the share (0 to 1) that is re-run of one's own accord: nobody else can tell which. */
export function isSampled(secret: Uint8Array, claim: Uint8Array, share: number): boolean {
  const drawn = hashTagged('watch-share', secret, claim)
  return new DataView(drawn.buffer, drawn.byteOffset).getUint32(0, true) < share * 4294967296
}
