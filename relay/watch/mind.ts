// What an agent thinks of questions and claims. The honest mind runs the model; a cheat's (demo, tests) runs something else: all the rest of an agent is the same.
import { type Witness, wrongRecord } from '../../ledger/dispute/player.ts'
import type { Segment, SegmentEngine } from '../../protocol/engine/engine.ts'
import { Session, type Stop } from '../../protocol/engine/generate.ts'
import { traceFromEngine, wrongTailFromEngine } from '../../protocol/engine/proof/engine-trace.ts'
import { machineOf } from '../../protocol/engine/proof/machine.ts'
import { boundaryRecordBytes, boundaryRecordHash, decodeBoundaryRecord } from '../../protocol/engine/proof/tokens.ts'
import { Trace } from '../../protocol/engine/proof/trace.ts'
import { Tree, traceListRoot, treeOf } from '../../protocol/engine/proof/tree.ts'
import { PackageWeights, type Weights } from '../../protocol/engine/proof/weights.ts'
import { type NoiseKey, type Sampler, sample } from '../../protocol/engine/sampler.ts'
import { equalBytes, hex, join } from '../../protocol/hash.ts'
import { tensorTableRootOf } from '../../protocol/model/identity.ts'
import type { Manifest } from '../../protocol/model/manifest.ts'
import type { Case } from './cases.ts'

export interface Asked {
  prompt: readonly number[]
  sampler: Sampler
  noise: NoiseKey
  maxTokens: number
  stopIds: readonly number[]
}

export interface Answer {
  tokens: number[]
  stop: Stop
}

/** A witness, and whether anything the claimant answers for is false; `clean` null: its input was, which is another's fault. */
export interface Found extends Witness {
  clean: boolean | null
}

export interface Mind {
  answer(question: Asked, signal: AbortSignal): Promise<Answer>
  /** The trace of the model on the claim's tokens, and where the claim differs. Throws EngineError for tokens that no trace is of. */
  witness(one: Case, signal: AbortSignal): Promise<Found>
  /** evaluate(model, from, to, x): what a segment job asks for. */
  evaluate(question: Evaluated, signal: AbortSignal): Promise<Evaluation>
}

export interface Evaluated {
  layers: Segment
  /** What enters at layer `from`, end to end; null where tokens enter. */
  rows: Int32Array | null
  tokens: readonly number[]
  sampler: Sampler
  noise: NoiseKey
}

export interface Evaluation {
  /** What leaves the last layer of the segment, end to end; null where that is the model's. */
  rows: Int32Array | null
  /** What is chosen after the last row where it is. */
  token: number | null
}

/** A model that an agent holds, or some of its layers: weights, and engines of segments of it, closed by whoever asked. */
export interface HeldModel {
  manifest: Manifest
  weights: Weights
  open(from: number, to: number, threads: number): Promise<SegmentEngine>
}

/** Weights of a package whose shards are read when a proof needs them; the last few stay. `read` gives a shard's bytes. */
export function lazyWeights(manifest: Manifest, read: (index: number) => Uint8Array): Weights {
  const kept = new Map<number, Uint8Array>()
  return new PackageWeights(manifest, (index) => {
    const known = kept.get(index)
    if (known) return known
    if (kept.size >= shardsKept) kept.delete(kept.keys().next().value!)
    const bytes = read(index)
    kept.set(index, bytes)
    return bytes
  })
}

/** Embedding, head and a layer: what a dispute looks into. */
const shardsKept = 3

const none = new Uint8Array(32)

export class ModelMind implements Mind {
  readonly held: HeldModel
  readonly threads: number
  private readonly tableRoot: Uint8Array
  /** The trace of the last session that was looked at, up to the highest layer that was asked for: its hosts share it. */
  private last: { key: string; lower: Trace } | null = null

  constructor(held: HeldModel, threads = 1) {
    this.held = held
    this.threads = threads
    this.tableRoot = tensorTableRootOf(held.manifest.tensors)
  }

  async answer(question: Asked, signal: AbortSignal): Promise<Answer> {
    const engine = await this.held.open(0, this.held.manifest.core.layers, this.threads)
    try {
      return await generateAnswer(engine, question, signal)
    } finally {
      await engine.close()
    }
  }

  async witness(one: Case, signal: AbortSignal): Promise<Found> {
    return one.machine.boundary ? this.segmentWitness(one, signal) : this.wholeWitness(one, signal)
  }

  private async wholeWitness({ machine, prompt, out, claimFacts }: Case, signal: AbortSignal): Promise<Found> {
    const trace = await traceFromEngine({ machine, weights: this.held.weights, prompt, out }, { open: (layer) => this.openLayer(layer), signal })
    const wrong = await this.wrongTail(trace, claimFacts.sampler, claimFacts.noise)
    return { trace, wrong, clean: wrong === null }
  }

  /** One thread: most of a trace's time goes into reading steps out, and threads of one layer only wait for one another (measured). */
  private openLayer(layer: number): Promise<SegmentEngine> {
    return this.held.open(layer, layer + 1, 1)
  }

  private async wrongTail(trace: Trace, sampler: Sampler, noise: NoiseKey): Promise<Witness['wrong']> {
    const { layers } = this.held.manifest.core
    const engine = await this.held.open(layers, layers, 1)
    try {
      return await wrongTailFromEngine(trace, engine, sampler, noise)
    } finally {
      await engine.close()
    }
  }

  /**
   * A claim about layers [from, to) only. With the rows that entered, or where tokens enter, these layers are all that runs; else the model runs up to them, once for all
   * hosts of a session.
   */
  private async segmentWitness(one: Case, signal: AbortSignal): Promise<Found> {
    const { machine, claimFacts, records, entering: given } = one
    const trace = given ? await this.ownTrace(one, given, signal) : await this.partOfWhole(one, signal)
    const recordAt = (position: number): Uint8Array => records!.subarray(position * boundaryRecordBytes, (position + 1) * boundaryRecordBytes)
    const all = Array.from({ length: machine.positions }, (_, p) => recordAt(p))
    const tree = new Tree(all.map(boundaryRecordHash))
    const record = (position: number): Uint8Array => join([all[position], tree.proof(position, position + 1)])
    const said = all.map(decodeBoundaryRecord)
    // Who was given something false and computed rightly from it is not to blame; no trace of the whole shows what it did.
    const fed =
      machine.from === 0 ||
      said.every(({ inRoot }, p) => equalBytes(inRoot, traceListRoot(machine.residual, treeOf(machine.residual, trace.residual(machine.from - 1, p)).top)))
    const wrong =
      machine.tailTo > machine.tailFrom ? await this.wrongTail(trace, claimFacts.sampler, claimFacts.noise) : wrongRecord(trace, (p) => said[p].outRoot)
    return { trace, wrong: fed ? wrong : null, record, clean: fed ? wrong === null : null }
  }

  private ownTrace({ machine, prompt, out }: Case, entering: Int32Array[], signal: AbortSignal): Promise<Trace> {
    return traceFromEngine({ machine, weights: this.held.weights, prompt, out, entering }, { open: (layer) => this.openLayer(layer), signal })
  }

  private async partOfWhole({ machine, facts, claimFacts, prompt, out }: Case, signal: AbortSignal): Promise<Trace> {
    const key = [facts.job.id, claimFacts.promptRoot, claimFacts.outRoot].map(hex).join()
    const known = this.last?.key === key ? this.last.lower : null
    if (!known || known.machine.to < machine.to) {
      const lower = machineOf(this.held.manifest.core, this.tableRoot, { ...claimFacts, segment: { from: 0, to: machine.to, recordsRoot: none } })
      const base = known ? { base: { trace: known, layer: known.machine.to } } : {}
      const source = { machine: lower, weights: this.held.weights, prompt, out }
      this.last = { key, lower: await traceFromEngine(source, { open: (layer) => this.openLayer(layer), signal, ...base }) }
    }
    const { lower } = this.last!
    const entering = machine.from === 0 ? [] : lower.layer(machine.from - 1).residual
    const trace = new Trace({ machine, weights: this.held.weights, prompt, out, entering })
    for (let layer = machine.from; layer < machine.to; layer++) trace.push(lower.layer(layer))
    return trace
  }

  async evaluate({ layers, rows, tokens, sampler, noise }: Evaluated, signal: AbortSignal): Promise<Evaluation> {
    const { hidden, layers: whole } = this.held.manifest.core
    const engine = await this.held.open(layers.from, layers.to, this.threads)
    const last = layers.to === whole
    const count = tokens.length
    const out = new Int32Array(last ? 0 : count * hidden)
    let token: number | null = null
    try {
      for (let from = 0; from < count; from += engine.rowsMax) {
        signal.throwIfAborted()
        const part = Array.from({ length: Math.min(engine.rowsMax, count - from) }, (_, i) => ({ sequence: 0, position: from + i, token: tokens[from + i] }))
        const wants = part.map(({ position }) => (last && position === count - 1 ? ('logits' as const) : ('nothing' as const)))
        const boundary = rows?.slice(from * hidden, (from + part.length) * hidden)
        const result = await engine.run(part, wants, boundary)
        if (!last) out.set(result.boundary!.subarray(0, part.length * hidden), from * hidden)
        else if (wants.at(-1) === 'logits') token = sample(result.logits[part.length - 1]!, sampler, noise, count, tokens)
      }
    } finally {
      await engine.close()
    }
    return { rows: last ? null : out, token }
  }
}

/** Runs a question on an engine of the whole model. */
export async function generateAnswer(engine: SegmentEngine, question: Asked, signal: AbortSignal): Promise<Answer> {
  const tokens: number[] = []
  const { prompt, noise, ...rest } = question
  for await (const progress of new Session(engine).generate({ ...rest, prompt: [...prompt], key: noise }, signal)) {
    if (progress.kind === 'token') tokens.push(progress.token)
    if (progress.kind === 'stop') return { tokens, stop: progress.stop }
  }
  throw new Error('the engine ended without a stop')
}
