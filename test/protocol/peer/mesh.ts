// Small meshes for the tests of the machines: hosts with fixed ranges of the toy model, one requester, and what a device would say alone.
import { noiseKey } from '../../../protocol/engine/answer.ts'
import { type Progress, Session } from '../../../protocol/engine/generate.ts'
import { greedy } from '../../../protocol/engine/sampler.ts'
import type { Lending, ModelFacts, Notice, Question } from '../../../protocol/peer/machine.ts'
import type { Payer } from '../../../protocol/peer/payment.ts'
import type { Presence } from '../../../protocol/peer/presence.ts'
import type { AnswerReceipt } from '../../../protocol/peer/receipt.ts'
import { useNative } from '../../sim/native.ts'
import { ToyEngine, toyFacts } from '../../sim/toy.ts'
import { type NetOptions, type Node, type NodeOptions, World } from '../../sim/world.ts'

useNative()

export const facts = toyFacts(6)

export const question = (change: Partial<Question> = {}): Question => ({
  modelId: facts.modelId,
  prompt: [1, 2, 3, 4, 5, 6, 7, 8, 9],
  sampler: greedy,
  seed: 1,
  maxTokens: 64,
  stopIds: [],
  ...change,
})

/** What one device says alone: the yardstick of every test. */
export async function alone(q: Question, model: ModelFacts = facts): Promise<{ tokens: number[]; stop: string }> {
  const tokens: number[] = []
  let stop = ''
  const session = new Session(new ToyEngine(model))
  for await (const p of session.generate({ ...q, key: noiseKey(q.seed) }) as AsyncGenerator<Progress>) {
    if (p.kind === 'token') tokens.push(p.token)
    if (p.kind === 'stop') stop = p.stop
  }
  return { tokens, stop }
}

export const lending = (from: number, to: number, change: Partial<Lending> = {}, model: ModelFacts = facts): Lending => ({
  models: [model],
  memoryBytes: 1e9,
  fixed: [{ modelId: model.modelId, segment: { from, to } }],
  ...change,
})

export interface Mesh {
  world: World
  hosts: Node[]
  asker: Node
}

/** Hosts with the given ranges, all serving and known to the requester. */
export function mesh(
  ranges: [number, number][],
  options: { seed?: number; net?: NetOptions; node?: (index: number) => NodeOptions; model?: ModelFacts; wait?: boolean } = {},
): Mesh {
  const model = options.model ?? facts
  const world = new World(options.seed ?? 1, [model], options.net)
  const asker = world.add('asker')
  const hosts = ranges.map(([from, to], i) => {
    const node = world.add(`host${i}`, options.node?.(i))
    world.step(node, { kind: 'lend', lending: lending(from, to, {}, model) })
    return node
  })
  const known = (): boolean => asker.peer.table.all().filter((one) => one.held.some((held) => held.ready)).length === hosts.length
  if (options.wait !== false && !world.run(120_000, known)) throw new Error('the hosts did not come up')
  return { world, hosts, asker }
}

export interface Got {
  tokens: number[]
  stop: string | null
  failed: Extract<Notice, { what: 'failed' }> | null
  receipt: AnswerReceipt | null
  paid: Extract<Notice, { what: 'paid' }> | null
  /** Longest time without a token, once the first was there, milliseconds. */
  stallMs: number
  rounds: number
  repairs: number
  lost: string[]
  ms: number
}

let asks = 0

/** Asks and lets time pass until there is a receipt or a failure. */
export function ask(m: Mesh, q: Question = question(), options: { draft?: boolean; ms?: number; asker?: Node; model?: ModelFacts; payer?: Payer } = {}): Got {
  const asker = options.asker ?? m.asker
  const { of, got } = start(m, q, { ...options, asker })
  m.world.run(options.ms ?? 300_000, () => got.receipt !== null || got.failed !== null)
  of()
  return got
}

/** Asks and returns at once; `got` fills as time passes. */
export function start(
  m: Mesh,
  q: Question,
  options: { draft?: boolean; asker?: Node; model?: ModelFacts; payer?: Payer } = {},
): { got: Got; of: () => void; number: number } {
  const asker = options.asker ?? m.asker
  const number = ++asks
  const got: Got = { tokens: [], stop: null, failed: null, receipt: null, paid: null, stallMs: 0, rounds: 0, repairs: 0, lost: [], ms: 0 }
  const before = m.world.onNotice
  const began = m.world.now
  let last = 0
  const listener = (node: Node, notice: Notice): void => {
    before?.(node, notice)
    if (node !== asker || notice.of !== 'ask' || notice.ask !== number) return
    if (notice.what === 'token') {
      if (got.tokens.length > 0) got.stallMs = Math.max(got.stallMs, m.world.now - last)
      last = m.world.now
      got.tokens.push(notice.token)
    }
    if (notice.what === 'round') got.rounds++
    if (notice.what === 'stop') {
      got.stop = notice.stop
      got.ms = m.world.now - began
    }
    if (notice.what === 'failed') got.failed = notice
    if (notice.what === 'receipt') got.receipt = notice.receipt
    if (notice.what === 'paid') got.paid = notice
    if (notice.what === 'repaired') {
      got.repairs++
      got.lost.push(...notice.lost)
    }
  }
  m.world.onNotice = listener
  m.world.step(asker, {
    kind: 'ask',
    ask: number,
    question: q,
    facts: options.model ?? facts,
    ...(options.draft === undefined ? {} : { draft: options.draft }),
    ...(options.payer ? { payer: options.payer } : {}),
  })
  return { got, number, of: () => (m.world.onNotice = before) }
}

/** Sequences still cached anywhere, once everything is over. */
export function leftovers(m: Mesh): number {
  m.world.run(20_000)
  return m.hosts.filter((host) => host.alive).reduce((sum, host) => sum + sequencesOf(host), 0)
}

/** For tests of tables alone: a model of eight layers, and records of hosts that never ran. */
export const swarmFacts = toyFacts(8)
export const keyOf = (i: number): string => i.toString(16).padStart(2, '0').repeat(32)

export function presence(
  i: number,
  from: number,
  to: number,
  change: Partial<Presence['held'][0]> & { near?: Presence['near']; state?: Presence['state'] } = {},
): Presence {
  const { near = [], state = 'serving', ...held } = change
  const own = {
    modelId: swarmFacts.modelId,
    layers: swarmFacts.layers,
    from,
    to,
    ready: true,
    stepUs: (to - from) * 1000,
    rowUs: 100,
    freePositions: 4096,
    sessions: 0,
    sessionsMax: 8,
    load: 0,
    ...held,
  }
  return {
    version: 1,
    network: 'main',
    peer: keyOf(i),
    boot: 1,
    sequence: 1,
    state,
    throttled: false,
    ttlMs: 90_000,
    addresses: [],
    held: [own],
    near,
    pay: null,
  }
}

/** Sequences with anything in their cache. */
export const sequencesOf = (host: Node): number => [...host.engines.values()].reduce((n, engine) => n + (engine as ToyEngine).sequences, 0)

/** The toy engine of a host that serves one model. */
export const toyOf = (host: Node): ToyEngine => [...host.engines.values()][0] as ToyEngine
