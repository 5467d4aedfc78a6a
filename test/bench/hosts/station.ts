// What a Meadow contestant does when asked, the same in Node, Deno and tabs. A host brings one thing: how it opens an engine.
import { inputHash, noiseKey, outputHash } from '../../../protocol/engine/answer.ts'
import type { EngineOptions, Row, SegmentEngine } from '../../../protocol/engine/engine.ts'
import { Session, type Stop } from '../../../protocol/engine/generate.ts'
import { greedy, type Sampler } from '../../../protocol/engine/sampler.ts'
import { hex } from '../../../protocol/hash.ts'
import type { ModelSource } from '../../../protocol/model/manifest.ts'
import type { Run } from '../contest.ts'
import { openChain } from './chain.ts'

export type Backend = 'reference' | 'wasm' | 'webgpu'
export type OpenEngine = (backend: Backend, threads: number, source: ModelSource, options: EngineOptions) => Promise<SegmentEngine>

export interface Opening {
  /** Where the host finds the package: a folder, or a path on the page's own server. */
  package: string
  backend: Backend
  threads: number
  /** Segments the model is cut into. */
  cuts?: number
}

export interface Exam {
  modelId: string
  prompt: number[]
  count: number
  sampler: Sampler
  seed: number
  /** Rows per prefill batch, 0 for as many as the engine takes. */
  batch: number
}

export interface Station {
  open(opening: Opening): Promise<{ description: string; threads: number }>
  /** A greedy answer from an empty cache, timed where a caller sees its tokens: `count` tokens after the first. Stop tokens do not stop it, peers are told to ignore them too. */
  run(asked: { prompt: number[]; count: number }): Promise<Run>
  /** The output hash of an answer, and its tokens. */
  answer(exam: Exam): Promise<{ hash: string; tokens: number[] }>
  /** Bytes after `positions` positions of one sequence were filled. */
  memory(asked: { positions: number }): Promise<{ weights: number; other: number }>
  /** Share of a token's time outside the matrix kernels, the token being decoded after the prompt; WebGPU only. */
  share(asked: { prompt: number[] }): Promise<number>
  close(): Promise<void>
}

interface Profiled {
  profile(rows: Row[], now: () => number, rounds?: number): Promise<{ kernel: string; ms: number }[]>
}

export function createStation(openEngine: OpenEngine, sourceAt: (place: string) => Promise<ModelSource>): Station {
  let engine: SegmentEngine | null = null
  const opened = (): SegmentEngine => {
    if (!engine) throw new Error('no engine is open')
    return engine
  }
  return {
    async open({ package: place, backend, threads, cuts = 1 }) {
      await engine?.close()
      engine = null
      const source = await sourceAt(place)
      engine = await openChain(source.manifest.core.layers, cuts, (options) => openEngine(backend, threads, source, options))
      return { description: engine.description, threads: engine.threads }
    },
    async run({ prompt, count }) {
      const session = new Session(opened())
      session.forget()
      const started = performance.now()
      let first = 0
      let made = 0
      for await (const step of session.generate({ prompt, sampler: greedy, key: [0, 0], maxTokens: count + 1, stopIds: [] })) {
        if (step.kind === 'token' && made++ === 0) first = performance.now()
      }
      const ended = performance.now()
      session.forget()
      return { promptTokens: prompt.length, prefillMs: first - started, decodedTokens: made - 1, decodeMs: ended - first }
    },
    async answer({ modelId, prompt, count, sampler, seed, batch }) {
      const session = new Session(opened())
      session.forget()
      const tokens: number[] = []
      let stop: Stop = 'length'
      for await (const step of session.generate({ prompt, sampler, key: noiseKey(seed), maxTokens: count, stopIds: [], ...(batch ? { batch } : {}) })) {
        if (step.kind === 'token') tokens.push(step.token)
        if (step.kind === 'stop') stop = step.stop
      }
      session.forget()
      const input = inputHash({ modelId, sampler, seed, maxTokens: count, stopIds: [], prompt })
      return { hash: hex(outputHash(input, tokens, stop)), tokens }
    },
    async memory({ positions }) {
      const self = opened()
      self.truncate(0, 0)
      for (let at = 0; at < positions; at += self.rowsMax) {
        const rows = Array.from({ length: Math.min(self.rowsMax, positions - at) }, (_, i) => ({ sequence: 0, position: at + i, token: (at + i) % 1000 }))
        await self.run(
          rows,
          rows.map((_, i) => (at + i === positions - 1 ? 'logits' : 'nothing')),
        )
      }
      const bytes = self.memoryBytes()
      self.truncate(0, 0)
      return bytes
    },
    async share({ prompt }) {
      const self = opened() as SegmentEngine & Partial<Profiled>
      if (self.backend !== 'webgpu' || !self.profile) throw new Error('only the WebGPU engine has a profile')
      self.truncate(0, 0)
      const rows = prompt.map((token, position) => ({ sequence: 0, position, token }))
      for (let at = 0; at < rows.length; at += self.rowsMax) {
        const some = rows.slice(at, at + self.rowsMax)
        await self.run(
          some,
          some.map(() => 'nothing'),
        )
      }
      const ops = await self.profile([{ sequence: 0, position: rows.length, token: prompt[0] }], () => performance.now())
      self.truncate(0, 0)
      const sum = (some: { ms: number }[]): number => some.reduce((total, op) => total + op.ms, 0)
      return 1 - sum(ops.filter((op) => op.kernel.startsWith('matmul'))) / sum(ops)
    },
    async close() {
      await engine?.close()
      engine = null
    },
  }
}
