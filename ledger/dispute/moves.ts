// The moves of a game and their bytes: canonical dag-cbor of [kind, fields…] in the order they stand here. What decodes is exactly what encodes to the same bytes;
// anything else is a DisputeError.
import { decode, encode } from '@ipld/dag-cbor'
import { evidenceBytesMax } from '../../protocol/engine/proof/evidence.ts'
import { equalBytes } from '../../protocol/hash.ts'
import { DisputeError } from './errors.ts'

export type Move =
  /** Anyone, once: the tokens must be shown. */
  | { kind: 'demand' }
  /** Up to 1,024 tokens of a list with the proof of their subtree. `list` 0 prompt, 1 answer. */
  | { kind: 'serve'; list: number; chunk: number; tokenKey: Uint8Array; tokens: Uint8Array; proof: Uint8Array }
  /** H("challenge", claimId, account, nonce32). */
  | { kind: 'commit'; hash: Uint8Array }
  | { kind: 'challenge'; nonce: Uint8Array }
  /** One token of the answer that breaks the stop rule, opened. */
  | { kind: 'shot'; index: number; evidence: Uint8Array }
  /** The top of a whole trace. */
  | { kind: 'defend'; top: Uint8Array }
  /** Against a root from a revealed node of its tree (or its top). */
  | { kind: 'path'; root: number; level: number; index: number }
  /** Against a root straight at a unit or tail. */
  | { kind: 'unit'; root: number; layer: number; position: number }
  /** Children of a node of a root's tree. */
  | { kind: 'reveal'; root: number; level: number; index: number; children: Uint8Array }
  /** Children of a node of a stage's tree, or at level 0 a tile's bytes. */
  | { kind: 'open'; expansion: number; stage: number; level: number; index: number; bytes: Uint8Array }
  /** A path's next child; or with `expansion` a fork's next stage, child or element of a tile. */
  | { kind: 'pick'; path: number; expansion: number | null; choice: number }
  /** The unit's leaf (three roots, or nothing for a tail) with its proof, the roots of its steps, and for the last layer of a receipt its record. */
  | { kind: 'expand'; root: number; layer: number; position: number; leaf: Uint8Array; proof: Uint8Array; steps: Uint8Array; record: Uint8Array }
  | { kind: 'prove'; path: number; expansion: number; evidence: Uint8Array }
  | { kind: 'timeout'; path: number | null; expansion: number | null }
  | { kind: 'resolve' }

export type MoveKind = Move['kind']

/** u: below 2^32; u?: that or null; h: 32 bytes; a number: at most so many bytes. */
type Field = 'u' | 'u?' | 'h' | number

/** Largest reveal: 64 children, or a tile of 64 elements of three i64. */
const revealBytesMax = 2048
/** A proof of the deepest tree has 32 levels on two sides. */
const proofBytesMax = 2048

const layout: { [K in MoveKind]: [name: string, field: Field][] } = {
  demand: [],
  serve: [
    ['list', 'u'],
    ['chunk', 'u'],
    ['tokenKey', 'h'],
    ['tokens', 4096],
    ['proof', proofBytesMax],
  ],
  commit: [['hash', 'h']],
  challenge: [['nonce', 'h']],
  shot: [
    ['index', 'u'],
    ['evidence', proofBytesMax],
  ],
  defend: [['top', 'h']],
  path: [
    ['root', 'u'],
    ['level', 'u'],
    ['index', 'u'],
  ],
  unit: [
    ['root', 'u'],
    ['layer', 'u'],
    ['position', 'u'],
  ],
  reveal: [
    ['root', 'u'],
    ['level', 'u'],
    ['index', 'u'],
    ['children', revealBytesMax],
  ],
  open: [
    ['expansion', 'u'],
    ['stage', 'u'],
    ['level', 'u'],
    ['index', 'u'],
    ['bytes', revealBytesMax],
  ],
  pick: [
    ['path', 'u'],
    ['expansion', 'u?'],
    ['choice', 'u'],
  ],
  expand: [
    ['root', 'u'],
    ['layer', 'u'],
    ['position', 'u'],
    ['leaf', 96],
    ['proof', proofBytesMax],
    ['steps', 2048],
    ['record', proofBytesMax],
  ],
  prove: [
    ['path', 'u'],
    ['expansion', 'u'],
    ['evidence', evidenceBytesMax],
  ],
  timeout: [
    ['path', 'u?'],
    ['expansion', 'u?'],
  ],
  resolve: [],
}

/** Largest move: a prove with its frame. */
export const moveBytesMax = evidenceBytesMax + 64

/** Canonical bytes of a move. */
export function encodeMove(move: Move): Uint8Array {
  const fields = move as unknown as Record<string, unknown>
  return encode([move.kind, ...layout[move.kind].map(([name]) => fields[name])])
}

function check(value: unknown, field: Field, name: string): void {
  const wrong = (expected: string): DisputeError => new DisputeError('malformed', `${name} is not ${expected}`)
  if (field === 'u?' && value === null) return
  if (field === 'u' || field === 'u?') {
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > 4294967295) throw wrong('a number below 2^32')
    return
  }
  const most = field === 'h' ? 32 : field
  if (!(value instanceof Uint8Array) || value.length > most || (field === 'h' && value.length !== 32))
    throw wrong(field === 'h' ? '32 bytes' : `at most ${most} bytes`)
}

/** Reads a stranger's move. Throws DisputeError `malformed`. */
export function decodeMove(bytes: Uint8Array): Move {
  if (bytes.length > moveBytesMax) throw new DisputeError('malformed', `a move has at most ${moveBytesMax} bytes, not ${bytes.length}`)
  let value: unknown
  try {
    value = decode(bytes)
  } catch {
    throw new DisputeError('malformed', 'the move is not dag-cbor')
  }
  if (!Array.isArray(value) || typeof value[0] !== 'string' || !Object.hasOwn(layout, value[0]))
    throw new DisputeError('malformed', 'the move is of no known kind')
  const kind = value[0] as MoveKind
  const fields = layout[kind]
  if (value.length !== fields.length + 1) throw new DisputeError('malformed', `a move ${kind} has ${fields.length} fields`)
  const move: Record<string, unknown> = { kind }
  fields.forEach(([name, field], i) => {
    check(value[i + 1], field, `${name} of a move ${kind}`)
    move[name] = value[i + 1]
  })
  if (!equalBytes(encodeMove(move as unknown as Move), bytes)) throw new DisputeError('malformed', 'the move is not in canonical form')
  return move as unknown as Move
}
