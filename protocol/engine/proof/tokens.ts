// Token lists of jobs and claims, and the records of segment receipts (ledger/dispute/README.md section 2). Each token is hashed with a salt, so that nobody guesses
// the neighbours of an opened one; salts are not judged, hence people compare tokens, never roots.
import { join, u32 } from '../../hash.ts'
import { hashBytes } from '../../model/merkle.ts'
import { listHash, Tree, tagged, traceListKind } from './tree.ts'

export const saltBytes = 16
/** token u32 and salt. */
export const tokenBytes = 4 + saltBytes
export type TokenKind = 0 | 1

const hashSalt = tagged('salt')
const hashToken = tagged('tok')
const hashRecord = tagged('rec')

/** First 16 bytes of H("salt", tokenKey, kind u8, i u32); kind 0 prompt, 1 answer. */
export const saltOf = (tokenKey: Uint8Array, kind: TokenKind, index: number): Uint8Array =>
  hashSalt(tokenKey, Uint8Array.of(kind), u32(index)).subarray(0, saltBytes)

/** H("tok", i u32, token u32, salt16). */
export const tokenHash = (index: number, token: number, salt: Uint8Array): Uint8Array => hashToken(u32(index, token), salt)

/** H("list", kind 8 or 9, n u32, perTile u16 = 1, dtype u8 = 5 or 7, top). */
export const tokenListRoot = (count: number, top: Uint8Array): Uint8Array =>
  listHash(Uint8Array.of(traceListKind.tokens), u32(count), Uint8Array.of(1, 0, 5), top)
export const recordListRoot = (count: number, top: Uint8Array): Uint8Array =>
  listHash(Uint8Array.of(traceListKind.records), u32(count), Uint8Array.of(1, 0, 7), top)

/** A list of tokens with its tree: what whoever holds the tokens can open. */
export class TokenList {
  readonly tokens: readonly number[]
  readonly tree: Tree
  readonly root: Uint8Array
  private readonly salts: Uint8Array[]
  constructor(tokens: readonly number[], tokenKey: Uint8Array, kind: TokenKind) {
    this.tokens = tokens
    this.salts = tokens.map((_, i) => saltOf(tokenKey, kind, i))
    this.tree = new Tree(tokens.map((token, i) => tokenHash(i, token, this.salts[i])))
    this.root = tokenListRoot(tokens.length, this.tree.top)
  }

  /** Tokens and salts of [start, end), then the proof. */
  open(start: number, end: number): Uint8Array {
    const parts: Uint8Array[] = []
    for (let i = start; i < end; i++) parts.push(u32(this.tokens[i]), this.salts[i])
    parts.push(this.tree.proof(start, end))
    return join(parts)
  }
}

/** The token of a record of a row after which nobody chose one. */
export const noToken = 4294967295

/** One position of a segment's receipt. */
export interface BoundaryRecord {
  sessionId: Uint8Array
  segment: number
  epoch: number
  position: number
  inRoot: Uint8Array
  outRoot: Uint8Array
  /** noToken where the segment chose none. */
  token: number
}

export const boundaryRecordBytes = 3 * hashBytes + 12

export function encodeBoundaryRecord(r: BoundaryRecord): Uint8Array {
  const numbers = Uint8Array.of(r.segment & 255, r.segment >> 8, r.epoch & 255, r.epoch >> 8)
  return join([r.sessionId, numbers, u32(r.position), r.inRoot, r.outRoot, u32(r.token)])
}

/** The inverse; `bytes` has boundaryRecordBytes. */
export function decodeBoundaryRecord(bytes: Uint8Array): BoundaryRecord {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return {
    sessionId: bytes.slice(0, 32),
    segment: view.getUint16(32, true),
    epoch: view.getUint16(34, true),
    position: view.getUint32(36, true),
    inRoot: bytes.slice(40, 72),
    outRoot: bytes.slice(72, 104),
    token: view.getUint32(104, true),
  }
}

/** H("rec", …). */
export const boundaryRecordHash = (bytes: Uint8Array): Uint8Array => hashRecord(bytes)
