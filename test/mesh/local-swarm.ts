// A whole mesh in one process: a real relay on a free port, real libp2p peers on loopback WebSockets, real engines (the reference) on a tiny model.
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createNetwork, type Network } from '../../mesh/network.ts'
import { createMeshNode, type MeshNode } from '../../mesh/node.ts'
import { libp2pKey } from '../../mesh/peer-key.ts'
import { createRequester, type Requester } from '../../mesh/requester.ts'
import { createShell, type Engines, type Shell } from '../../mesh/shell.ts'
import { meshTransports } from '../../mesh/transports.ts'
import { noiseKey } from '../../protocol/engine/answer.ts'
import { EngineError, type Segment, type SegmentEngine } from '../../protocol/engine/engine.ts'
import { Session } from '../../protocol/engine/generate.ts'
import { createReferenceEngine } from '../../protocol/engine/reference.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { frameBytesMax } from '../../protocol/limits.ts'
import type { ModelSource } from '../../protocol/model/manifest.ts'
import { computeRows } from '../../protocol/peer/compute.ts'
import { factsOf } from '../../protocol/peer/facts.ts'
import type { ModelFacts, Notice, Question } from '../../protocol/peer/machine.ts'
import { Peer } from '../../protocol/peer/peer.ts'
import { networkOf } from '../../protocol/peer/presence.ts'
import '../../relay/mesh/native-keys.ts'
import { type RelayMesh, startRelayMesh } from '../../relay/mesh/relay.ts'
import { createOpenAi } from '../../relay/openai.ts'
import { createApp, startServer } from '../../relay/server.ts'
import { openStore, type Store } from '../../relay/store.ts'
import { chatSpecimen, type Specimen } from '../browser/specimen.ts'

export interface LocalRelay {
  home: string
  store: Store
  mesh: RelayMesh
  url: string
  /** The relay's WebSocket as a multiaddr. */
  address: string
  specimen: Specimen
  source: ModelSource
  facts: ModelFacts
  close(): Promise<void>
}

/** A relay whose store holds one tiny chat model, under the default model's name. Layers of the model: 6 unless said otherwise. */
export async function localRelay(options: { layers?: number; seed?: boolean; others?: string[] } = {}): Promise<LocalRelay> {
  const home = await mkdtemp(join(tmpdir(), 'meadow-mesh-'))
  const store = openStore(home)
  const specimen = await chatSpecimen({ layers: options.layers ?? 6, context: 512 })
  await store.install(
    async (sink) => {
      for (const [index, shard] of specimen.manifest.shards.entries()) {
        const file = await sink.open(shard.name)
        await file.write(specimen.shards[index]!)
        await file.close()
      }
      return specimen.manifest
    },
    { name: 'smollm2-135m', source: 'specimen', pinned: 'local' },
    () => 'as made',
  )
  const mesh = await startRelayMesh({ store, version: '0.0.0', direct: null, seed: options.seed ?? false, others: options.others })
  const openai = createOpenAi({ store, requester: mesh.requester, swarm: mesh.swarm })
  const server = await startServer(createApp({ store, pages: home, version: '0.0.0', mesh, openai }), 0, '127.0.0.1', mesh.attach)
  if (options.seed) await mesh.seedStore(server.port)
  const url = `http://127.0.0.1:${server.port}`
  return {
    home,
    store,
    mesh,
    url,
    address: mesh.meshJson(new URL(url)).relays[0]!,
    specimen,
    source: store.source(specimen.id),
    facts: factsOf(specimen.manifest, specimen.id),
    async close() {
      await server.close()
      await mesh.close()
      await rm(home, { recursive: true, force: true })
    },
  }
}

/** The engines of one host, computing on this thread. `spoil` may change what leaves an engine, `delayMs` holds every answer back. */
export function localEngines(source: ModelSource, hooks: { spoil?: (boundary: Int32Array) => void; delayMs?: number } = {}): Engines {
  let engine: SegmentEngine | undefined
  return {
    async load(_modelId, segment, onProgress) {
      engine = await createReferenceEngine(source, { segment, kvTokensMax: 4096 })
      onProgress(1, 1)
      return { segment, rowsMax: engine.rowsMax, positionsMax: 4096, stepMs: 1 }
    },
    async unload() {
      await engine?.close()
      engine = undefined
    },
    async compute(_modelId, rows, wants, boundary) {
      if (!engine) throw new EngineError('nothing is loaded', 'lost')
      const result = await computeRows(engine, rows, wants, boundary)
      if (hooks.delayMs) await new Promise((resolve) => setTimeout(resolve, hooks.delayMs))
      const out = result.boundary?.slice() ?? null
      if (out) hooks.spoil?.(out)
      return { boundary: out, tokens: result.tokens }
    },
    truncate: (_modelId, sequence, length) => engine?.truncate(sequence, length),
  }
}

export interface LocalPeer {
  key: string
  node: MeshNode
  network: Network
  shell: Shell
  machine: Peer
  requester: Requester
  notices: Notice[]
  /** Resolves with the first notice, past ones included, that fits. */
  notice(fits: (notice: Notice) => boolean): Promise<Notice>
  /** Ends without a goodbye, as a killed process would. */
  kill(): Promise<void>
  close(): Promise<void>
}

export interface PeerOptions {
  relays: string[]
  engines?: Engines
  /** Lends exactly these layers of the model. */
  lend?: { facts: ModelFacts; segment: Segment }
  invitation?: Uint8Array | null
  /** Listens on a loopback WebSocket. Default: when it lends. */
  listens?: boolean
  /** Instead: exactly these listen addresses, told as `announce` when that is given. */
  listen?: string[]
  announce?: string[]
  sessionsMax?: number
  /** Dials by WebRTC too. */
  webrtc?: boolean
}

export async function localPeer(options: PeerOptions): Promise<LocalPeer> {
  const secret = new Uint8Array(randomBytes(32))
  const invitation = options.invitation ?? null
  const listen = options.listen ?? ((options.listens ?? options.lend !== undefined) ? ['/ip4/127.0.0.1/tcp/0/ws'] : [])
  // A peer connection costs Node tens of megabytes: only those that want WebRTC have it.
  const webrtc = options.webrtc ?? listen.includes('/webrtc')
  const node = await createMeshNode({
    privateKey: libp2pKey(secret, publicKeyOf(secret)),
    transports: meshTransports({}, webrtc ? {} : { webrtc: false, circuit: false }),
    listen,
    announce: options.announce,
    connectionsMax: 64,
    gossip: 'leaf',
  })
  const machine = new Peer({ secret, seed: new Uint8Array(randomBytes(32)), boot: Math.floor(Date.now() / 1000), invitation })
  const network = createNetwork({
    node,
    network: networkOf(invitation),
    relays: options.relays,
    frameBytesMax,
    validate: (bytes) => machine.judge(bytes, performance.now()),
  })
  const notices: Notice[] = []
  const shell = createShell({ network, machine, engines: options.engines, onNotice: (notice) => notices.push(notice) })
  if (options.lend) {
    const { facts, segment } = options.lend
    shell.command({
      kind: 'lend',
      lending: {
        models: [facts],
        memoryBytes: 1 << 30,
        fixed: [{ modelId: facts.modelId, segment }],
        ...(options.sessionsMax === undefined ? {} : { sessionsMax: options.sessionsMax }),
      },
    })
  }
  const requester = createRequester(shell)
  return {
    key: network.self,
    node,
    network,
    shell,
    machine,
    requester,
    notices,
    notice(fits) {
      return new Promise((resolve) => {
        const past = notices.find(fits)
        if (past) return resolve(past)
        const stop = shell.subscribe((notice) => {
          if (!fits(notice)) return
          stop()
          resolve(notice)
        })
      })
    },
    kill: () => network.close(),
    async close() {
      await requester.close()
      await shell.leave()
      await network.close()
    },
  }
}

/** Resolves when `check` holds; asked again every 20 ms. The test's own time limit ends it. */
export async function until(check: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await check())) await new Promise((resolve) => setTimeout(resolve, 20))
}

export const questionOf = (facts: ModelFacts, change: Partial<Question> = {}): Question => ({
  modelId: facts.modelId,
  prompt: [1, 2, 3, 4, 5, 6, 7, 8],
  sampler: { temperature: 0, topK: 0, topP: 65536, minP: 0, repeatPenalty: 65536, repeatWindow: 0 },
  seed: 1,
  maxTokens: 24,
  stopIds: [],
  ...change,
})

/** The answer of this machine alone, by the reference. */
export async function localAnswer(source: ModelSource, question: Question): Promise<number[]> {
  const engine = await createReferenceEngine(source, { kvTokensMax: 1024 })
  const tokens: number[] = []
  for await (const progress of new Session(engine).generate({ ...question, key: noiseKey(question.seed) }))
    if (progress.kind === 'token') tokens.push(progress.token)
  await engine.close()
  return tokens
}
