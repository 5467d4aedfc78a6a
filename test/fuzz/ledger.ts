// Feeds the ledger mutated transactions: each must be applied with every invariant kept, or refused with a reason and the state as it was. Half are broken in their
// bytes, half in their fields and then signed well, so that the rules themselves are reached. Any failure prints its number; `--only N` runs that one alone.
//   node test/fuzz/ledger.ts --count 1000000 --seed 1
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { decode, encode } from '@ipld/dag-cbor'
import { LedgerError } from '../../ledger/errors.ts'
import { checkAll } from '../../ledger/invariants.ts'
import { decodeTransaction } from '../../ledger/transaction.ts'
import { random } from '../../protocol/engine/specimen.ts'
import { equalBytes, hex, join } from '../../protocol/hash.ts'
import { sign } from '../../protocol/keys.ts'
import { Scene } from '../ledger/scene.ts'

export interface LedgerFuzz {
  count: number
  accepted: number
  /** Refusals by code. */
  refused: Record<string, number>
  failures: string[]
}

type Next = () => number

const numbers = [0, 1, 2, 3, 4, 5, 127, 255, 256, 65535, 65536, 4294967295, 4294967296, Number.MAX_SAFE_INTEGER, -1]
const bigs = [1n << 53n, (1n << 62n) - 1n, (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n, -(1n << 63n)]

/** A change somewhere in decoded fields. */
function mutateFields(value: unknown, next: Next, known: readonly Uint8Array[]): unknown {
  if (Array.isArray(value) && value.length > 0 && next() % 8 !== 0) {
    const at = next() % value.length
    return value.map((one, i) => (i === at ? mutateFields(one, next, known) : one))
  }
  if (Array.isArray(value)) {
    const at = value.length === 0 ? 0 : next() % value.length
    switch (next() % 4) {
      case 0:
        return value.toSpliced(at, 1)
      case 1:
        return value.toSpliced(at, 0, value[at] ?? 0)
      case 2:
        return value.toReversed()
      default:
        return []
    }
  }
  if (value instanceof Uint8Array) {
    switch (next() % 8) {
      case 0:
        return value.subarray(0, next() % (value.length + 1))
      case 1:
        return join([value, new Uint8Array(1 + (next() % 40))])
      case 2:
        return new Uint8Array(value.length)
      case 3:
      case 4:
      case 5:
        return known[next() % known.length]
      default:
        return value.length === 0 ? value : value.with(next() % value.length, next() & 255)
    }
  }
  const number = typeof value === 'number' ? value : 0
  switch (next() % 10) {
    case 0:
      return value === null ? known[next() % known.length] : null
    case 1:
      return bigs[next() % bigs.length]
    case 2:
      return typeof value === 'boolean' ? !value : true
    case 3:
      return known[next() % known.length]
    case 4:
      return number + 1
    case 5:
      return Math.floor(number / 2)
    case 6:
      return number * 2
    default:
      return numbers[next() % numbers.length]
  }
}

function mutateBytes(bytes: Uint8Array, next: Next): Uint8Array {
  const at = next() % bytes.length
  switch (next() % 5) {
    case 0:
      return bytes.subarray(0, at)
    case 1:
      return join([bytes.subarray(0, at), Uint8Array.of(next() & 255), bytes.subarray(at)])
    case 2:
      return join([bytes.subarray(0, at), bytes.subarray(at + 1 + (next() % 8))])
    default: {
      const out = bytes.slice()
      for (let i = next() % 3; i >= 0; i--) out[next() % out.length] ^= 1 << (next() % 8)
      return out
    }
  }
}

/** Mutants from one scene before a fresh one is made: accepted ones change it. */
const perScene = 2000

/** Runs mutants [0, count), or `only` one. The same seed gives the same mutants; a mutant sees the state that those before it in its scene have left. */
export function fuzzLedger(count: number, seed: number, only?: number, progress?: (done: number) => void): LedgerFuzz {
  const result: LedgerFuzz = { count: 0, accepted: 0, refused: {}, failures: [] }
  let scene: Scene | null = null
  let known: Uint8Array[] = []
  let corpus: { by: string; bytes: () => Uint8Array }[] = []
  const first = only === undefined ? 0 : only - (only % perScene)
  const end = only === undefined ? count : only + 1
  for (let i = first; i < end; i++) {
    if (scene === null || i % perScene === 0) {
      const here = new Scene()
      scene = here
      here.begin()
      known = [here.model, here.freshJob, here.committedJob, here.answeredJob, here.claim, here.sessionId, ...[...here.people.values()].map(({ id }) => id)]
      corpus = [...here.good(), ...here.early()].map(([by, body]) => ({ by, bytes: () => here.sign(by, body) }))
    }
    const next = random((seed * 1_000_003 + i) >>> 0)
    const { by, bytes } = corpus[next() % corpus.length]
    const whole = bytes()
    let mutant: Uint8Array
    const way = next() % 16
    if (way === 0) mutant = whole
    else if (way < 8) mutant = mutateBytes(whole, next)
    else {
      const unsigned = whole.subarray(0, whole.length - 64)
      let fields = decode(unsigned) as unknown
      for (let changes = 1 + (next() % 2); changes > 0; changes--) fields = mutateFields(fields, next, known)
      const again = encode(fields)
      mutant = join([again, sign(scene.who(by).secret, 'transaction', join([scene.name, again]))])
    }
    const fail = (what: string): void => void result.failures.push(`mutant ${i}: ${what}: ${hex(mutant).slice(0, 400)}`)
    const { state } = scene.chain
    // Records are values: unchanged objects mean unchanged bytes. The root is compared for a part of them, since it takes a hundred times as long.
    const rooted = i % 64 === 0
    const before = rooted ? state.pendingRoot() : null
    const records = state.size
    try {
      scene.chain.apply(decodeTransaction(mutant))
      result.accepted++
      if (result.accepted % 16 === 0) checkAll(state)
    } catch (error) {
      if (!(error instanceof LedgerError)) fail(error instanceof Error ? (error.stack ?? error.message) : String(error))
      else result.refused[error.code] = (result.refused[error.code] ?? 0) + 1
      if (state.mark() !== 0) fail('it was refused and left a journal')
      if (state.size !== records) fail('it was refused and left records')
      if (before && !equalBytes(before, state.pendingRoot())) fail('it was refused and changed the root')
    }
    result.count++
    if (result.failures.length >= 10) break
    if (i % perScene === perScene - 1) {
      scene.block()
      progress?.(i + 1)
    }
  }
  return result
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { values } = parseArgs({ options: { count: { type: 'string', default: '1000000' }, seed: { type: 'string', default: '1' }, only: { type: 'string' } } })
  const started = performance.now()
  const say = (done: number): void => {
    if (done % 100_000 === 0) console.log(`${done} mutants, ${Math.round((performance.now() - started) / 1000)} s`)
  }
  const result = fuzzLedger(Number(values.count), Number(values.seed), values.only === undefined ? undefined : Number(values.only), say)
  console.log(JSON.stringify(result))
  process.exitCode = result.failures.length === 0 ? 0 : 1
}
