// A host's claim about a paid session: made, compared, and opened again for a dispute. What it is, receipt.ts says; what a judge does with it, dispute/README.md.
import { encodeSampler, encodeSeed, stopCodeOf } from '../protocol/engine/answer.ts'
import { boundaryRecordHash, encodeBoundaryRecord, noToken, recordListRoot, TokenList } from '../protocol/engine/proof/tokens.ts'
import { Tree } from '../protocol/engine/proof/tree.ts'
import { equalBytes, join } from '../protocol/hash.ts'
import { recordBytes } from '../protocol/limits.ts'
import type { ClaimedAnswer } from '../protocol/peer/payment.ts'
import { decodeReceiptClaim, type ReceiptClaim } from './receipt.ts'

export interface Records {
  root: Uint8Array
  /** 108 bytes each. */
  list: Uint8Array[]
  /** A record and its path: `record` of dispute/player.ts. */
  open(position: number): Uint8Array
  inRoot(position: number): Uint8Array
  outRoot(position: number): Uint8Array
}

/**
 * Boundary records of a host from inRoot ‖ outRoot of each row, as they go over the mesh. `chosen`: the tokens of the answer at the host that chose them, which is the last
 * one of a ring; null at all others.
 */
export function recordsOf(session: Uint8Array, segment: number, roots: Uint8Array, promptCount: number, chosen: readonly number[] | null): Records {
  const half = recordBytes / 2
  const count = roots.length / recordBytes
  const side = (position: number, at: number): Uint8Array => roots.subarray(position * recordBytes + at, position * recordBytes + at + half)
  const list = Array.from({ length: count }, (_, position) =>
    encodeBoundaryRecord({
      sessionId: session,
      segment,
      epoch: 0,
      position,
      inRoot: side(position, 0),
      outRoot: side(position, half),
      token: chosen && position + 1 >= promptCount ? chosen[position + 1 - promptCount] : noToken,
    }),
  )
  const tree = new Tree(list.map(boundaryRecordHash))
  return {
    root: recordListRoot(count, tree.top),
    list,
    open: (position) => join([list[position], tree.proof(position, position + 1)]),
    inRoot: (position) => side(position, 0),
    outRoot: (position) => side(position, half),
  }
}

/** What an honest host of number `host` signs. */
export const claimOf = (session: Uint8Array, host: number, answer: ClaimedAnswer, recordsRoot: Uint8Array): ReceiptClaim => ({
  session,
  host,
  promptRoot: new TokenList(answer.prompt, answer.tokenKey, 0).root,
  promptCount: answer.prompt.length,
  sampler: encodeSampler(answer.sampler),
  seed: encodeSeed(answer.seed),
  maxTokens: answer.maxTokens,
  stopIds: [...answer.stopIds],
  m: answer.tokens.length,
  stop: stopCodeOf(answer.stop),
  outRoot: new TokenList(answer.tokens, answer.tokenKey, 1).root,
  recordsRoot,
})

/** Whether a claim is about this question and answer; what its records are, only a judge can say. Throws LedgerError for bytes that are no claim. */
export function isClaimOf(bytes: Uint8Array, session: Uint8Array, host: number, answer: ClaimedAnswer): boolean {
  const said = decodeReceiptClaim(bytes)
  const own = claimOf(session, host, answer, said.recordsRoot)
  return (
    equalBytes(said.session, own.session) &&
    equalBytes(said.promptRoot, own.promptRoot) &&
    equalBytes(said.outRoot, own.outRoot) &&
    equalBytes(said.sampler, own.sampler) &&
    equalBytes(said.seed, own.seed) &&
    said.stopIds.join() === own.stopIds.join() &&
    (['host', 'promptCount', 'maxTokens', 'm', 'stop'] as const).every((name) => said[name] === own[name])
  )
}
