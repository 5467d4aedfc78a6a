// A relay and hosts as processes of their own, a requester in this one: what the bars of the mesh are measured on.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { noiseKey } from '../../../protocol/engine/answer.ts'
import { Session } from '../../../protocol/engine/generate.ts'
import type { Manifest } from '../../../protocol/model/manifest.ts'
import { openTokenizer, type Tokenizer } from '../../../protocol/model/tokenizer.ts'
import { factsOf } from '../../../protocol/peer/facts.ts'
import type { ModelFacts, Notice, Question } from '../../../protocol/peer/machine.ts'
import type { AnswerReceipt } from '../../../protocol/peer/receipt.ts'
import { findOrAddModel } from '../../../relay/models.ts'
import { openStore, type Store } from '../../../relay/store.ts'
import { createNodeWasmEngine } from '../../../relay/wasm-thread.ts'
import { root } from '../../code/sources.ts'
import { type LocalPeer, localPeer, until } from '../../mesh/local-swarm.ts'
import type { Alteration } from './altering.ts'
import type { HostConfig, HostMessage } from './host.ts'

export interface BenchModel {
  store: Store
  id: string
  manifest: Manifest
  facts: ModelFacts
  tokenizer: Tokenizer
}

/** The default model, from the person's own store (added when it is not there). */
export async function benchModel(): Promise<BenchModel> {
  const store = openStore()
  const { id, manifest } = await findOrAddModel(store, undefined)
  const index = manifest.shards.findIndex((shard) => shard.name === 'tokenizer')
  const bytes = new Uint8Array(manifest.shards[index]!.bytes)
  await store.source(id).readShard(index, bytes)
  return { store, id, manifest, facts: factsOf(manifest, id), tokenizer: openTokenizer(bytes) }
}

export interface HostProcess {
  key: string
  config: HostConfig
  kill(): Promise<void>
  statistics(): Promise<HostStatistics>
  /** Of a host that `alters`, see altering.ts. */
  arm(alteration: Alteration | null): Promise<void>
  effective(): Promise<boolean>
}

export interface HostStatistics {
  bytesSent: number
  bytesReceived: number
  bytesRelayed: number
  /** Of the whole process, and of the thread that speaks with peers. */
  cpuMs: number
  mainCpuMs: number
  /** Batches by their rows. */
  batches: [rows: number, { count: number; ms: number }][]
}

export interface Fleet {
  home: string
  /** Web address and multiaddr of the relay. */
  url: string
  relay: string
  relayPid: number
  model: BenchModel
  host(from: number, to: number, more?: Partial<HostConfig>): Promise<HostProcess>
  /** Waits until the requester knows of `hosts` hosts that serve. */
  requester(hosts: number, webrtc?: boolean): Promise<LocalPeer>
  counts(): Promise<Record<string, never> & { webSockets: { open: number }; network: { bytesSent: number } }>
  close(): Promise<void>
}

const waitForLine = (child: ChildProcess, pattern: RegExp): Promise<RegExpExecArray> =>
  new Promise((resolve, reject) => {
    createInterface({ input: child.stdout! }).on('line', (line) => {
      const match = pattern.exec(line)
      if (match) resolve(match)
    })
    child.once('exit', (code, signal) => reject(new Error(`${child.spawnargs.slice(1, 4).join(' ')} ended with ${signal ?? code}`)))
  })

/** Starts a relay; `peers` is the limit it is given. */
export async function startFleet(model: BenchModel, { peers = 600 } = {}): Promise<Fleet> {
  const home = mkdtempSync(join(tmpdir(), 'meadow-bench-'))
  const pages = join(home, 'pages')
  mkdirSync(pages)
  writeFileSync(join(pages, 'index.html'), '<!doctype html>')
  symlinkSync(join(model.store.home, 'models'), join(home, 'models'))
  const children = new Set<ChildProcess>()
  const closers: (() => Promise<void>)[] = []
  const start = (args: string[], env: Record<string, string> = {}): ChildProcess => {
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', process.env.BENCH_DEBUG ? 'inherit' : 'ignore', 'ipc'],
      env: { ...process.env, MEADOW_HOME: home, PORT: '', ...env },
    })
    children.add(child)
    child.once('exit', () => children.delete(child))
    return child
  }
  const end = (child: ChildProcess): Promise<void> =>
    new Promise((resolve) => {
      if (child.exitCode !== null || child.signalCode !== null) return resolve()
      child.once('exit', () => resolve())
      child.kill('SIGKILL')
    })
  process.once('exit', () => {
    for (const child of children) child.kill('SIGKILL')
  })
  const relayProcess = start([
    join(root, 'relay/main.ts'),
    'serve',
    '--no-host',
    '--host',
    '127.0.0.1',
    '--port',
    '0',
    '--pages',
    pages,
    '--peers',
    String(peers),
    '--json',
  ])
  const [, url] = await waitForLine(relayProcess, /"address":"([^"]+)"/)
  const { relays } = (await (await fetch(`${url}mesh.json`)).json()) as { relays: string[] }
  const relay = relays[0]!
  return {
    home,
    url: url!,
    relay,
    relayPid: relayProcess.pid!,
    model,
    async host(from, to, more = {}) {
      const config: HostConfig = { relay, home, modelId: model.id, from, to, threads: 1, ...more }
      const child = start([join(root, 'test/bench/swarm/host.ts'), JSON.stringify(config)])
      const [, key] = await waitForLine(child, /"ready":true,"key":"([0-9a-f]+)"/)
      const tell = <T>(message: HostMessage): Promise<T> =>
        new Promise((resolve) => {
          child.once('message', (answer) => resolve(answer as T))
          child.send(message)
        })
      return {
        key: key!,
        config,
        kill: () => end(child),
        statistics: async () => (await tell<{ statistics: never }>('statistics')).statistics,
        arm: async (alteration) => void (await tell({ arm: alteration })),
        effective: async () => (await tell<{ effective: boolean }>('effective')).effective,
      }
    },
    async requester(hosts, webrtc) {
      const peer = await localPeer({ relays: [relay], ...(webrtc ? { webrtc } : {}) })
      closers.push(() => peer.close())
      await until(() => peer.machine.table.all().filter((one) => one.state === 'serving' && one.held.every((held) => held.ready)).length >= hosts)
      return peer
    },
    counts: async () => (await fetch(`${url}mesh/counts`)).json() as never,
    async close() {
      for (const close of closers) await close()
      await Promise.all([...children].map(end))
      rmSync(home, { recursive: true, force: true })
    },
  }
}

export interface Answered {
  tokens: number[]
  receipt: AnswerReceipt | null
  rounds: Extract<Notice, { what: 'round' }>[]
  repaired: Extract<Notice, { what: 'repaired' }>[]
  /** From the first token to the last. */
  decodeMs: number
}

export async function answer(
  peer: LocalPeer,
  question: Question,
  facts: ModelFacts,
  draft: boolean,
  onToken: (count: number, chain: string[]) => void = () => {},
): Promise<Answered> {
  const result: Answered = { tokens: [], receipt: null, rounds: [], repaired: [], decodeMs: 0 }
  let firstMs = 0
  let chain: string[] = []
  for await (const notice of peer.requester.ask(question, facts, { draft })) {
    if (notice.what === 'token') {
      const nowMs = performance.now()
      if (result.tokens.length === 0) firstMs = nowMs
      result.decodeMs = nowMs - firstMs
      result.tokens.push(notice.token)
      onToken(result.tokens.length, chain)
    } else if (notice.what === 'round') result.rounds.push(notice)
    else if (notice.what === 'repaired') result.repaired.push(notice)
    else if (notice.what === 'receipt') result.receipt = notice.receipt
    else if (notice.what === 'route') chain = notice.chain.map((link) => link.peer)
  }
  return result
}

export const ask = (model: BenchModel, text: string, maxTokens: number): Question => ({
  modelId: model.id,
  prompt: model.tokenizer.encodePrompt(text),
  sampler: { temperature: 0, topK: 0, topP: 65536, minP: 0, repeatPenalty: 65536, repeatWindow: 0 },
  seed: 0,
  maxTokens,
  stopIds: model.tokenizer.stopIds,
})

/** What one machine answers alone. */
export async function alone(model: BenchModel, question: Question): Promise<number[]> {
  const engine = await createNodeWasmEngine(model.store.source(model.id), { threads: 1 })
  const tokens: number[] = []
  for await (const progress of new Session(engine).generate({ ...question, key: noiseKey(question.seed) }))
    if (progress.kind === 'token') tokens.push(progress.token)
  await engine.close()
  return tokens
}

export const percentile = (values: number[], share: number): number => {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}
export const median = (values: number[]): number => percentile(values, 0.5)

/** A generator of numbers in [0, 1) from a seed (mulberry32), so that a run can be repeated. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}
