// A host that computes wrongly on purpose: one bit of one activation that it sends on, or one bit of the weights in its memory after they were checked. Beside every
// altered computation the right one is made from the same input, so that what an alteration did is known without any receipt.
import type { Engines } from '../../../mesh/shell.ts'
import type { Row, Segment, SegmentEngine } from '../../../protocol/engine/engine.ts'
import { shardsOf } from '../../../protocol/engine/segment.ts'
import type { ModelSource } from '../../../protocol/model/manifest.ts'
import { computeRows } from '../../../protocol/peer/compute.ts'
import type { RowWant } from '../../../protocol/peer/machine.ts'

export type Alteration =
  /** Bit `bit` (0..31) of value `at` of the row at `position`; of the last host, which sends tokens, the bit of a token. */
  | { kind: 'activation'; position: number; at: number; bit: number }
  /** Bit `bit` (0..7) of byte `at` of a shard (by index). */
  | { kind: 'shard'; shard: number; at: number; bit: number }

export type OpenEngine = (source: ModelSource, segment: Segment) => Promise<SegmentEngine>

export interface AlteringEngines extends Engines {
  /** From the next row on; null: honest again. Between answers only. */
  arm(alteration: Alteration | null): Promise<void>
  /** Whether anything that left this host since `arm` differs from what the same input gives. */
  effective(): boolean
}

export function alteringEngines(source: ModelSource, open: OpenEngine): AlteringEngines {
  const { hidden, layers, vocab } = source.manifest.core
  let segment: Segment | null = null
  let honest: SegmentEngine | null = null
  let spoiled: SegmentEngine | null = null
  let armed: Alteration | null = null
  let differed = false
  /** One thing after the other: a truncate must not overtake the run before it. */
  let work: Promise<unknown> = Promise.resolve()
  const inTurn = <T>(one: () => Promise<T>): Promise<T> => {
    const next = work.then(one)
    work = next.catch(() => {})
    return next
  }
  return {
    async load(_modelId, wanted, onProgress) {
      segment = wanted
      honest = await open(source, wanted)
      onProgress(1, 1)
      return { segment: wanted, rowsMax: honest.rowsMax, positionsMax: 2048, stepMs: 1 }
    },
    async unload() {
      await spoiled?.close()
      await honest?.close()
      honest = null
      spoiled = null
    },
    arm: (alteration) =>
      inTurn(async () => {
        armed = alteration
        differed = false
        await spoiled?.close()
        spoiled = alteration?.kind === 'shard' ? await open(withFlippedBit(source, alteration), segment!) : null
      }),
    effective: () => differed,
    compute: (_modelId, rows, wants, boundary) => inTurn(() => compute(rows, wants, boundary)),
    truncate(_modelId, sequence, length) {
      void inTurn(async () => {
        honest?.truncate(sequence, length)
        spoiled?.truncate(sequence, length)
      })
    },
  }

  async function compute(rows: Row[], wants: RowWant[], boundary: Int32Array | null): Promise<Computed> {
    const right = copy(await computeRows(honest!, rows, wants, boundary))
    if (!armed) return right
    const sent = spoiled ? copy(await computeRows(spoiled, rows, wants, boundary)) : copy(right)
    if (armed.kind === 'activation') {
      const { position, at, bit } = armed
      const row = rows.findIndex((one) => one.position === position)
      if (row >= 0 && sent.boundary) sent.boundary[row * hidden + at]! ^= 1 << bit
      // Tokens are drawn for some rows only: the first that is drawn at or after the position.
      const drawn = segment!.to === layers ? rows.findIndex((one, i) => one.position >= position && sent.tokens[i] !== null) : -1
      if (drawn >= 0) {
        const other = sent.tokens[drawn]! ^ (1 << (bit & 7))
        sent.tokens[drawn] = other < vocab ? other : sent.tokens[drawn]! ^ 1
      }
      // Once.
      if (row >= 0 || drawn >= 0) if (segment!.to < layers || drawn >= 0) armed = { ...armed, position: Number.POSITIVE_INFINITY }
    }
    differed ||= sent.tokens.some((token, i) => token !== right.tokens[i]) || (sent.boundary?.some((value, i) => value !== right.boundary![i]) ?? false)
    return sent
  }
}

type Computed = Awaited<ReturnType<typeof computeRows>>
/** Engines hand out views of their memory. */
const copy = ({ boundary, tokens }: Computed): Computed => ({ boundary: boundary?.slice() ?? null, tokens: [...tokens] })

/** The checked shards, one bit of them another one. */
function withFlippedBit(source: ModelSource, { shard, at, bit }: Extract<Alteration, { kind: 'shard' }>): ModelSource {
  return {
    manifest: source.manifest,
    async readShard(index, into, signal) {
      await source.readShard(index, into, signal)
      if (index === shard) into[at]! ^= 1 << bit
    },
  }
}

/** What lies at a byte of a shard, for the account of bits that changed nothing: the tensor's name without its layer. */
export function tensorAt({ manifest }: ModelSource, shard: number, at: number): string {
  const tensor = manifest.tensors.find((one) => one.shard === shard && one.offset <= at && at < one.offset + one.bytes)
  return tensor ? tensor.name.replace(/\d+/g, 'n') : 'padding'
}

/** A random alteration of a host's segment. `rows`: positions it computes in one answer. */
export function drawAlteration(source: ModelSource, segment: Segment, kind: Alteration['kind'], rows: number, below: (n: number) => number): Alteration {
  const { manifest } = source
  if (kind === 'activation') return { kind, position: below(rows), at: below(manifest.core.hidden), bit: below(32) }
  const shards = shardsOf(manifest, segment)
  const shard = shards[below(shards.length)]!
  return { kind, shard, at: below(manifest.shards[shard]!.bytes), bit: below(8) }
}
