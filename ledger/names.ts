// Names of jobs, claims, sessions and disputes: hashes over what they are (dispute.md 2.2). Whoever knows the facts knows the name.
import { hashTagged, join, u32, u32s } from '../protocol/hash.ts'
import type { BodyOf } from './transaction.ts'

const u16 = (value: number): Uint8Array => Uint8Array.of(value & 255, value >> 8)
const u64 = (value: bigint): Uint8Array => u32(Number(value & 0xffffffffn), Number(value >> 32n))
const none = new Uint8Array(32)

/**
 * H("job", genesis hash, requester, model, programVersion u16, promptRoot, promptCount u32, sampler64, seed32, maxTokens u32, stop count u8, stop ids u32…,
 * privacy u8, fee u64, nonce u64, from u8, to u8, boundary (0, 0, zeros without segment), input (zeros without)). The sampler's noise is keyed by it.
 */
export function jobIdOf(chain: Uint8Array, requester: Uint8Array, nonce: number, job: Omit<BodyOf<'job.create'>, 'kind'>): Uint8Array {
  return hashTagged(
    'job',
    join([chain, requester, job.model, u16(job.programVersion), job.promptRoot, u32(job.promptCount), job.sampler, job.seed, u32(job.maxTokens)]),
    Uint8Array.of(job.stopIds.length),
    u32(...job.stopIds),
    Uint8Array.of(job.privacy),
    u64(job.fee),
    u64(BigInt(nonce)),
    Uint8Array.of(job.segment?.layers.from ?? 0, job.segment?.layers.to ?? 0),
    job.segment?.boundary ?? none,
    job.input ?? none,
  )
}

/** H("out", jobId, m u32, stop u8, outRoot, logRoot or zeros). */
export const outOf = (jobId: Uint8Array, out: { m: number; stop: number; outRoot: Uint8Array; logRoot: Uint8Array | null }): Uint8Array =>
  hashTagged('out', jobId, u32(out.m), Uint8Array.of(out.stop), out.outRoot, out.logRoot ?? none)

/**
 * H("ans", tokenKey, jobId, m u32, stop u8, tokens u32…): what auditors compare, with the token key of the prompt. Salts are not judged, so roots of the same tokens may
 * differ; this does not.
 */
export const answerOf = (tokenKey: Uint8Array, jobId: Uint8Array, stop: number, tokens: readonly number[]): Uint8Array =>
  hashTagged('ans', tokenKey, jobId, u32(tokens.length), Uint8Array.of(stop), u32s(tokens))

/** H("claim", out, claimant). */
export const claimIdOf = (out: Uint8Array, claimant: Uint8Array): Uint8Array => hashTagged('claim', out, claimant)

/** H("session", genesis hash, owner, channel u32, session u32): also the name of the claim that its receipts are. */
export const sessionIdOf = (chain: Uint8Array, owner: Uint8Array, channel: number, session: number): Uint8Array =>
  hashTagged('session', chain, owner, u32(channel, session))

/** H("dispute", claim, host u8). */
export const disputeIdOf = (claim: Uint8Array, host: number): Uint8Array => hashTagged('dispute', claim, Uint8Array.of(host))
