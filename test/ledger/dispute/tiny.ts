// Tiny models with real Merkle roots, an answer of theirs, and the machine and trace of that answer: what dispute tests play with.
import { createHash, hash } from 'node:crypto'
import type { Stop } from '../../../protocol/engine/generate.ts'
import { Session } from '../../../protocol/engine/generate.ts'
import { type ClaimFacts, machineOf } from '../../../protocol/engine/proof/machine.ts'
import type { Machine } from '../../../protocol/engine/proof/table.ts'
import { TokenList } from '../../../protocol/engine/proof/tokens.ts'
import { Trace } from '../../../protocol/engine/proof/trace.ts'
import { PackageWeights } from '../../../protocol/engine/proof/weights.ts'
import { createReferenceEngine } from '../../../protocol/engine/reference.ts'
import { greedy, type NoiseKey, type Sampler } from '../../../protocol/engine/sampler.ts'
import { setSha256 } from '../../../protocol/hash.ts'
import { tensorTableRootOf } from '../../../protocol/model/identity.ts'
import type { Architecture, Core, Manifest, ModelSource, TensorFormat } from '../../../protocol/model/manifest.ts'
import { tensorRoot } from '../../../protocol/model/tiles.ts'
import { random, tinyCore, tinyPackage } from '../../tiny-package.ts'

setSha256(
  (bytes) => hash('sha256', bytes, 'buffer'),
  () => createHash('sha256'),
)

export interface TinyModel extends ModelSource {
  shards: Uint8Array[]
  weights: PackageWeights
  tableRoot: Uint8Array
}

/** `small` models are quick enough for ten thousand games. */
export const smallCore = (architecture: Architecture): Core =>
  tinyCore(architecture, {
    hidden: 32,
    ffn: 64,
    heads: 2,
    kvHeads: 1,
    vocab: 70,
    layers: 2,
    context: 128,
    ...(architecture === 'gemma3' ? { slidingWindow: 5, slidingPattern: 2 } : {}),
  })

/** The formats every tiny model mixes: matrices of all three kinds. */
const mixed = (name: string): TensorFormat => (name === 'embed' || name === 'head' ? 'g8' : name.endsWith('.wo') || name.endsWith('.w_up') ? 'w8' : 'w4')

export async function tinyModel(core: Core, seed = 1, format = mixed): Promise<TinyModel> {
  const source = tinyPackage(core, seed, format)
  const shards = await Promise.all(
    source.manifest.shards.map(async ({ bytes }, i) => {
      const shard = new Uint8Array(bytes)
      await source.readShard(i, shard)
      return shard
    }),
  )
  const tensors = source.manifest.tensors.map((t) => ({ ...t, root: tensorRoot(t, shards[t.shard].subarray(t.offset, t.offset + t.bytes)) }))
  const manifest: Manifest = { ...source.manifest, tensors }
  return {
    manifest,
    shards,
    readShard: async (i, into) => into.set(shards[i]),
    weights: new PackageWeights(manifest, (i) => shards[i]),
    tableRoot: tensorTableRootOf(tensors),
  }
}

/** The same model with some bytes changed: weights that do not open against the model id. */
export function tampered(model: TinyModel, change: (shards: Uint8Array[]) => void): TinyModel {
  const shards = model.shards.map((shard) => shard.slice())
  change(shards)
  return { ...model, shards, readShard: async (i, into) => into.set(shards[i]), weights: new PackageWeights(model.manifest, (i) => shards[i]) }
}

export interface Asked {
  prompt: number[]
  sampler: Sampler
  noise: NoiseKey
  maxTokens: number
  stopIds: number[]
}

export const asked = (core: Core, change: Partial<Asked> = {}, seed = 1): Asked => {
  const next = random(seed)
  return { prompt: Array.from({ length: 4 }, () => next() % core.vocab), sampler: greedy, noise: [next(), next()], maxTokens: 3, stopIds: [], ...change }
}

/** What the reference engine answers. */
export async function answer(model: ModelSource, question: Asked): Promise<{ tokens: number[]; stop: Stop }> {
  const engine = await createReferenceEngine(model)
  const tokens: number[] = []
  let stop: Stop = 'length'
  const { noise, ...rest } = question
  for await (const progress of new Session(engine).generate({ ...rest, key: noise })) {
    if (progress.kind === 'token') tokens.push(progress.token)
    if (progress.kind === 'stop') stop = progress.stop
  }
  return { tokens, stop }
}

export const filled = (byte: number): Uint8Array => new Uint8Array(32).fill(byte)
export const tokenKey = filled(7)

export interface TinyClaim {
  facts: ClaimFacts
  machine: Machine
  prompt: TokenList
  out: TokenList
}

/** The claim that `tokens` answer the question. */
export function claimOf(model: TinyModel, question: Asked, tokens: number[]): TinyClaim {
  const prompt = new TokenList(question.prompt, tokenKey, 0)
  const out = new TokenList(tokens, tokenKey, 1)
  const facts: ClaimFacts = {
    claimId: filled(9),
    promptRoot: prompt.root,
    outRoot: out.root,
    prompt: question.prompt.length,
    out: tokens.length,
    sampler: question.sampler,
    noise: question.noise,
    segment: null,
  }
  return { facts, machine: machineOf(model.manifest.core, model.tableRoot, facts), prompt, out }
}

/** The true trace of a claim; `base` is one over the same tokens as far as it goes. */
export const traceOf = (model: TinyModel, claim: TinyClaim, base?: Trace): Trace =>
  new Trace({ machine: claim.machine, weights: model.weights, prompt: claim.prompt, out: claim.out }).compute(base)
