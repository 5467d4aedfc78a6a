// Rows that pass between layers, as they are pinned and kept: i32 little-endian, end to end; and the records that commit to them.
import { LedgerError } from '../../ledger/errors.ts'
import { residualRoots } from '../../protocol/engine/proof/residual.ts'
import { rootsTogether } from '../../protocol/engine/proof/roots.ts'
import {
  boundaryRecordBytes,
  boundaryRecordHash,
  decodeBoundaryRecord,
  encodeBoundaryRecord,
  noToken,
  recordListRoot,
} from '../../protocol/engine/proof/tokens.ts'
import { Tree } from '../../protocol/engine/proof/tree.ts'
import { equalBytes, join } from '../../protocol/hash.ts'

const none = new Uint8Array(32)

export function encodeRows(rows: Int32Array): Uint8Array {
  const bytes = new Uint8Array(rows.length * 4)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < rows.length; i++) view.setInt32(i * 4, rows[i], true)
  return bytes
}

/** Rows of `hidden` values. Throws LedgerError for bytes that are none. */
export function decodeRows(bytes: Uint8Array, hidden: number): Int32Array[] {
  const size = hidden * 4
  if (bytes.length === 0 || bytes.length % size !== 0) throw new LedgerError('encoding', `${bytes.length} bytes are no rows of ${hidden} values`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Array.from({ length: bytes.length / size }, (_, row) => Int32Array.from({ length: hidden }, (_, i) => view.getInt32(row * size + i * 4, true)))
}

/** Rows that lie end to end, without a copy. */
export const rowsOf = (flat: Int32Array, hidden: number): Int32Array[] =>
  Array.from({ length: Math.floor(flat.length / hidden) }, (_, i) => flat.subarray(i * hidden, (i + 1) * hidden))

export const flatRows = (rows: readonly Int32Array[]): Int32Array => {
  const out = new Int32Array(rows.length * (rows[0]?.length ?? 0))
  for (const [i, row] of rows.entries()) out.set(row, i * row.length)
  return out
}

/** Roots of rows of one length. */
export function rootsOfRows(rows: readonly Int32Array[]): Uint8Array[] {
  const out: Uint8Array[] = []
  for (let at = 0; at < rows.length; at += rootsTogether) out.push(...residualRoots(rows.slice(at, at + rootsTogether)))
  return out
}

/** Root of boundary records end to end. Throws LedgerError. */
export function recordsRootOf(bytes: Uint8Array): Uint8Array {
  if (bytes.length === 0 || bytes.length % boundaryRecordBytes !== 0) throw new LedgerError('encoding', `records have ${boundaryRecordBytes} bytes each`)
  const count = bytes.length / boundaryRecordBytes
  const leaves = Array.from({ length: count }, (_, i) => boundaryRecordHash(bytes.subarray(i * boundaryRecordBytes, (i + 1) * boundaryRecordBytes)))
  return recordListRoot(count, new Tree(leaves).top)
}

/** Records of a segment job's claim: sessionId is the job, segment and epoch 0; roots are zeros where no rows enter or leave. */
export const segmentRecords = (job: Uint8Array, inRoots: readonly Uint8Array[] | null, outRoots: readonly Uint8Array[] | null, count: number): Uint8Array =>
  join(
    Array.from({ length: count }, (_, position) =>
      encodeBoundaryRecord({
        sessionId: job,
        segment: 0,
        epoch: 0,
        position,
        inRoot: inRoots?.[position] ?? none,
        outRoot: outRoots?.[position] ?? none,
        token: noToken,
      }),
    ),
  )

/** What a segment job's `boundary` is the root of: records that say which row enters, of no job yet. */
export const inputRecords = (inRoots: readonly Uint8Array[]): Uint8Array => segmentRecords(none, inRoots, null, inRoots.length)

/** Whether rows are those that records name on one side. */
export function areRowsOf(rows: readonly Int32Array[], records: Uint8Array, side: 'inRoot' | 'outRoot'): boolean {
  if (rows.length * boundaryRecordBytes !== records.length) return false
  const roots = rootsOfRows(rows)
  return roots.every((root, p) => equalBytes(root, decodeBoundaryRecord(records.subarray(p * boundaryRecordBytes, (p + 1) * boundaryRecordBytes))[side]))
}
