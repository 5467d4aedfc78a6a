// Segment jobs: evaluate(model, from, to, x). What enters is shown by the requester, as rows under the job's boundary or as tokens at layer 0; what leaves is rows, or at the
// end of the model one token.

import { LedgerError } from '../../ledger/errors.ts'
import { encodeInputProof } from '../../ledger/input-proof.ts'
import type { Job } from '../../ledger/records.ts'
import { keyOf } from '../../ledger/records.ts'
import { boundaryRecordBytes, boundaryRecordHash, decodeBoundaryRecord } from '../../protocol/engine/proof/tokens.ts'
import { Tree } from '../../protocol/engine/proof/tree.ts'
import type { NoiseKey, Sampler } from '../../protocol/engine/sampler.ts'
import { equalBytes, hex } from '../../protocol/hash.ts'
import { decodeCore } from '../../protocol/model/identity.ts'
import { decodeRows, encodeRows, flatRows, inputRecords, recordsRootOf, rootsOfRows, rowsOf, segmentRecords } from '../ledger/rows.ts'
import type { Mind } from './mind.ts'
import type { ChainView } from './view.ts'

/** Rows that enter a segment job, when somebody shows those of its boundary. Throws RelayError. */
export async function givenRows(view: ChainView, { model, segment, promptCount }: Job): Promise<Int32Array[] | null> {
  const bytes = segment && (await view.pinned(`rows/${hex(segment.boundary)}`))
  if (!bytes) return null
  try {
    const { hidden } = decodeCore((await view.must(keyOf.model(model))).core)
    const rows = decodeRows(bytes, hidden)
    return rows.length === promptCount && equalBytes(recordsRootOf(inputRecords(rootsOfRows(rows))), segment!.boundary) ? rows : null
  } catch (error) {
    if (error instanceof LedgerError) return null
    throw error
  }
}

export interface SegmentQuestion {
  from: number
  to: number
  last: boolean
  prompt: readonly number[]
  rows: readonly Int32Array[] | null
  sampler: Sampler
  noise: NoiseKey
  stopIds: readonly number[]
}

/** Stop codes of one token: protocol/engine/answer.ts. */
const stops = { eos: 1, length: 2 }

/** Runs a segment job; records and rows in base64, as they are kept and pinned. */
export async function evaluated(
  mind: Mind,
  job: Uint8Array,
  { from, to, last, prompt, rows, sampler, noise, stopIds }: SegmentQuestion,
  signal: AbortSignal,
): Promise<{ tokens: number[]; stop: number; segment: { records: string; rows: string | null } }> {
  const { rows: left, token } = await mind.evaluate({ layers: { from, to }, rows: rows && flatRows(rows), tokens: prompt, sampler, noise }, signal)
  const outRoots = left && rootsOfRows(rowsOf(left, left.length / prompt.length))
  const records = segmentRecords(job, rows && rootsOfRows(rows), outRoots, prompt.length)
  const tokens = last ? [token!] : []
  return {
    tokens,
    stop: last && stopIds.includes(token!) ? stops.eos : stops.length,
    segment: { records: Buffer.from(records).toString('base64'), rows: left && Buffer.from(encodeRows(left)).toString('base64') },
  }
}

/** The proof that records of a claim say another input than its job gave; null when they say it. */
export function denialOf(records: Uint8Array, given: readonly Int32Array[]): Uint8Array | null {
  const said = split(records)
  const real = split(inputRecords(rootsOfRows(given)))
  const position = said.findIndex((one, p) => {
    const record = decodeBoundaryRecord(one)
    return record.position !== p || !equalBytes(record.inRoot, decodeBoundaryRecord(real[p]).inRoot)
  })
  if (position < 0) return null
  const path = (all: readonly Uint8Array[]): Uint8Array => new Tree(all.map(boundaryRecordHash)).proof(position, position + 1)
  return encodeInputProof({ position, record: said[position], path: path(said), given: real[position], givenPath: path(real) })
}

const split = (records: Uint8Array): Uint8Array[] =>
  Array.from({ length: records.length / boundaryRecordBytes }, (_, i) => records.subarray(i * boundaryRecordBytes, (i + 1) * boundaryRecordBytes))
