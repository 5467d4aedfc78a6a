// One bit altered in what a host sends on, or in the weights it computes with, a thousand times: the receipt must show it, and name that host and nobody else.
import { createHash } from 'node:crypto'
import { noiseKey } from '../../../protocol/engine/answer.ts'
import type { Row, Segment, SegmentEngine, Want } from '../../../protocol/engine/engine.ts'
import { createReferenceEngine } from '../../../protocol/engine/reference.ts'
import { sample } from '../../../protocol/engine/sampler.ts'
import { shardsOf } from '../../../protocol/engine/segment.ts'
import { hex } from '../../../protocol/hash.ts'
import { publicKeyOf } from '../../../protocol/keys.ts'
import type { ModelSource } from '../../../protocol/model/manifest.ts'
import { blame, recompute } from '../../../protocol/peer/blame.ts'
import type { Question } from '../../../protocol/peer/machine.ts'
import {
  type AnswerReceipt,
  boundaryBytes,
  chainNext,
  chainStart,
  inputHashOf,
  outputHashOf,
  signStatement,
  termsOf,
  tokenBytes,
} from '../../../protocol/peer/receipt.ts'
import '../../../relay/mesh/native-keys.ts'
import { chatSpecimen } from '../../browser/specimen.ts'
import { atLeast, atMost, type Bar } from '../bars/bar.ts'
import { randomFrom } from './fleet.ts'

const session = '0123456789abcdef0123456789abcdef'
const promptTokens = 10
const answerTokens = 5

interface Alteration {
  host: number
  /** Of a boundary: row and bit. Of a shard: byte and bit. */
  kind: 'activation' | 'shard'
}

export async function alterationBars(count: number, seed: number, say: (line: string) => void): Promise<Bar[]> {
  const random = randomFrom(seed)
  const below = (n: number): number => Math.floor(random() * n)
  const specimen = await chatSpecimen({ layers: 6, context: 64 })
  const source: ModelSource = { manifest: specimen.manifest, readShard: async (index, into) => into.set(specimen.shards[index]!) }
  const segments: Segment[] = [
    { from: 0, to: 2 },
    { from: 2, to: 4 },
    { from: 4, to: 6 },
  ]
  const secrets = segments.map((_, i) => new Uint8Array(createHash('sha256').update(`host ${i}`).digest()))
  const keys = secrets.map((secret) => hex(publicKeyOf(secret)))
  const honest = await Promise.all(segments.map((segment) => createReferenceEngine(source, { segment, kvTokensMax: 128 })))
  const modelId = specimen.id
  let noticed = 0
  let right = 0
  let honestNamed = 0
  let without = 0
  const shards = { activation: 0, shard: 0 }
  for (let trial = 0; trial < count; ) {
    const alteration: Alteration = { host: below(3), kind: trial % 2 === 0 ? 'activation' : 'shard' }
    const question: Question = {
      modelId,
      prompt: Array.from({ length: promptTokens }, () => below(300)),
      sampler: { temperature: 0, topK: 0, topP: 65536, minP: 0, repeatPenalty: 65536, repeatWindow: 0 },
      seed: below(1 << 30),
      maxTokens: answerTokens,
      stopIds: [],
    }
    const engines = [...honest]
    if (alteration.kind === 'shard') engines[alteration.host] = await spoiledEngine(source, segments[alteration.host]!, below)
    const altered = { row: below(promptTokens + answerTokens - 1), at: below(specimen.manifest.core.hidden), bit: below(32) }
    const ring = { question, engines, segments, secrets, keys }
    const receipt = await answerOf(ring, alteration.kind === 'activation' ? { host: alteration.host, ...altered } : null)
    const recomputed = await recompute(receipt, honest)
    const verdict = blame(receipt, recomputed, specimen.manifest.core.layers)
    // A bit of the weights that no value of this answer depends on (a scale of a zero, an embedding nobody used) alters nothing: drawn anew.
    const spoiled = receipt.hosts[alteration.host]!
    if (spoiled.inChain === recomputed.chains.get(spoiled.from) && spoiled.outChain === recomputed.chains.get(spoiled.to)) {
      without++
      continue
    }
    trial++
    shards[alteration.kind]++
    if (!verdict.equal) noticed++
    if (verdict.named.includes(keys[alteration.host]!)) right++
    honestNamed += verdict.named.filter((key) => key !== keys[alteration.host]).length
    if (trial % 200 === 0) say(`${trial} alterations: ${noticed} noticed, ${right} times the right host named, ${honestNamed} honest hosts named`)
  }
  const clean = await answerOf(
    {
      question: {
        modelId,
        prompt: [1, 2, 3],
        sampler: { temperature: 0, topK: 0, topP: 65536, minP: 0, repeatPenalty: 65536, repeatWindow: 0 },
        seed: 1,
        maxTokens: answerTokens,
        stopIds: [],
      },
      engines: honest,
      segments,
      secrets,
      keys,
    },
    null,
  )
  const control = blame(clean, await recompute(clean, honest), specimen.manifest.core.layers)
  say(
    `${shards.activation} activations, ${shards.shard} shards altered; ${without} bits changed nothing and were drawn anew; the unaltered control is ${control.equal ? 'equal' : 'NOT equal'}`,
  )
  return [
    atLeast('one-bit alterations noticed', (noticed / count) * 100, '%', 100),
    atLeast('alterations whose host was named', (right / count) * 100, '%', 100),
    atMost('honest hosts named', honestNamed + (control.equal ? 0 : 1), 'hosts', 0),
  ]
}

interface Ring {
  question: Question
  engines: SegmentEngine[]
  segments: Segment[]
  secrets: Uint8Array[]
  keys: string[]
}

/** The ring's work in one place, with the hosts' own chains and signatures: what each signs is what it got and what it sent, as protocol/peer/seat.ts keeps it. */
async function answerOf(ring: Ring, altered: { host: number; row: number; at: number; bit: number } | null): Promise<AnswerReceipt> {
  const { question, engines, segments, secrets, keys } = ring
  const { hidden, layers, vocab } = engines[0]!.manifest.core
  const tokens = [...question.prompt]
  const inChains = segments.map(({ from }) => chainStart(session, from))
  const outChains = segments.map(({ to }) => chainStart(session, to))
  const key = noiseKey(question.seed)
  try {
    for (let position = 0; position < question.prompt.length + question.maxTokens - 1; position++) {
      const row: Row = { sequence: 0, position, token: tokens[position]! }
      let boundary: Int32Array | undefined
      for (const [i, engine] of engines.entries()) {
        inChains[i] = chainNext(inChains[i]!, position, boundary ? boundaryBytes(boundary, 0, hidden) : tokenBytes(row.token))
        const last = segments[i]!.to === layers
        const want: Want = last && position >= question.prompt.length - 1 ? 'logits' : 'nothing'
        const result = await engine.run([row], [want], boundary)
        boundary = result.boundary?.slice()
        const spoil = altered?.host === i && altered.row === position
        if (boundary) {
          if (spoil) boundary[altered.at]! ^= 1 << altered.bit
          outChains[i] = chainNext(outChains[i]!, position, boundaryBytes(boundary, 0, hidden))
        } else if (want === 'logits') {
          let token = sample(result.logits[0]!, question.sampler, key, position + 1, tokens)
          // The last host sends tokens: a bit of one.
          if (spoil) {
            const other = token ^ (1 << (altered.bit & 7))
            token = other < vocab ? other : token ^ 256
          }
          tokens.push(token)
          outChains[i] = chainNext(outChains[i]!, position + 1, tokenBytes(token))
        } else if (spoil) {
          // The last host sends nothing for the prompt's rows: its first token instead.
          altered.row = question.prompt.length - 1
        }
      }
    }
  } finally {
    for (const engine of engines) engine.truncate(0, 0)
  }
  const count = tokens.length - 1
  const answer = tokens.slice(question.prompt.length)
  const terms = termsOf(question)
  const statements = segments.map(({ from, to }, i) =>
    signStatement(secrets[i]!, session, terms, { peer: keys[i]!, from, to, count, inChain: hex(inChains[i]!), outChain: hex(outChains[i]!) }),
  )
  const hosts = statements.map((statement, i) => ({ ...statement, link: statements[i - 1] ?? null }))
  const receipt: AnswerReceipt = {
    version: 1,
    session,
    requester: '00'.repeat(32),
    question,
    inputHash: hex(inputHashOf(question)),
    tokens: answer,
    stop: 'length',
    outputHash: outputHashOf(question, answer, 'length'),
    hosts,
  }
  return receipt
}

/** An engine on weights of which one bit is another one. */
async function spoiledEngine(source: ModelSource, segment: Segment, below: (n: number) => number): Promise<SegmentEngine> {
  const { manifest } = source
  const indices = shardsOf(manifest, segment)
  const spoiled = indices[below(indices.length)]!
  const at = below(manifest.shards[spoiled]!.bytes)
  const bit = below(8)
  return createReferenceEngine(
    {
      manifest,
      async readShard(index, into, signal) {
        await source.readShard(index, into, signal)
        if (index === spoiled) into[at]! ^= 1 << bit
      },
    },
    { segment, kvTokensMax: 128 },
  )
}
