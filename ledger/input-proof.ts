// A proof that needs no game: a segment job says which rows enter, and the claim's records say others. Shown as the bytes of a dispute's opening, or of a move; it is told
// from a move by its first field, a number where a move has its name.
import { boundaryRecordBytes, boundaryRecordHash, decodeBoundaryRecord, recordListRoot } from '../protocol/engine/proof/tokens.ts'
import { foldRange, rangeProofBytes } from '../protocol/engine/proof/tree.ts'
import { equalBytes } from '../protocol/hash.ts'
import { bytes, bytesUpTo, decodeAs, encodeAs, type Of, struct, u32 } from './codec.ts'
import { LedgerError } from './errors.ts'

const inputProof = struct({
  position: u32,
  /** Record of the claim at that position, and its path. */
  record: bytes(boundaryRecordBytes),
  path: bytesUpTo(1024),
  /** Record of what the job gives to that position, and its path. */
  given: bytes(boundaryRecordBytes),
  givenPath: bytesUpTo(1024),
})
export type InputProof = Of<typeof inputProof>

export const encodeInputProof = (proof: InputProof): Uint8Array => encodeAs(inputProof, proof)
/** Throws LedgerError. */
export const decodeInputProof = (data: Uint8Array): InputProof => decodeAs(inputProof, data, 'input proof')

/** Whether bytes that stand where a move may stand are such a proof: a list whose first item is an unsigned number. */
export const isInputProof = (data: Uint8Array): boolean => data.length > 1 && data[1] >> 5 === 0

/** Throws LedgerError unless the record at `position` is one of the claim's and says another input than the job. `positions`: rows of the job, entries of both lists. */
export function checkInputProof(proof: InputProof, positions: number, recordsRoot: Uint8Array, boundary: Uint8Array): void {
  const { position } = proof
  const fail = (message: string): LedgerError => new LedgerError('proof', message)
  if (position >= positions) throw fail(`the job has ${positions} rows`)
  const opens = (record: Uint8Array, path: Uint8Array, root: Uint8Array): boolean =>
    path.length === rangeProofBytes(positions, position, position + 1) &&
    equalBytes(recordListRoot(positions, foldRange([boundaryRecordHash(record)], positions, position, path)), root)
  if (!opens(proof.record, proof.path, recordsRoot)) throw fail('this is not a record of the claim')
  if (!opens(proof.given, proof.givenPath, boundary)) throw fail('this is not what the job gives to that row')
  const said = decodeBoundaryRecord(proof.record)
  if (said.position === position && equalBytes(said.inRoot, decodeBoundaryRecord(proof.given).inRoot)) throw fail('the claim says the input that it was given')
}
