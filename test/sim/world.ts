// A whole mesh in one thread, from one seed: real machines (protocol/peer/peer.ts), a network that delays, loses, doubles and reorders, clocks that differ,
// engines that take time. Nothing here knows what the machines decide.

import { LedgerError } from '../../ledger/errors.ts'
import { betterKept } from '../../ledger/session.ts'
import type { Row, Segment } from '../../protocol/engine/engine.ts'
import { EngineError, type SegmentEngine, type Want } from '../../protocol/engine/engine.ts'
import { sample } from '../../protocol/engine/sampler.ts'
import { random } from '../../protocol/engine/specimen.ts'
import { sha256 } from '../../protocol/hash.ts'
import { computeRows } from '../../protocol/peer/compute.ts'
import type { ModelFacts, Notice, PeerAction, PeerEvent, PeerKey, PeerOptions, RowWant } from '../../protocol/peer/machine.ts'
import type { Retained } from '../../protocol/peer/payment.ts'
import { Peer } from '../../protocol/peer/peer.ts'
import { ToyEngine } from './toy.ts'

export interface NetOptions {
  /** One-way delay, milliseconds: least and most. */
  delayMs?: [number, number]
  /** Chances in a million, per frame. */
  loss?: number
  double?: number
  reorder?: number
  dialMs?: number
}

export interface NodeOptions {
  /** One row through one layer, and each further row, microseconds. */
  layerUs?: number
  rowUs?: number
  /** Clock: milliseconds off, and thousandths faster. */
  skewMs?: number
  drift?: number
  rowsMax?: number
  positionsMax?: number
  tells?: boolean
  invitation?: Uint8Array
  /** Into what it is paid. */
  earnings?: PeerOptions['earnings']
  /** Engines of this node, default toys. */
  engine?: (facts: ModelFacts, segment: Segment) => SegmentEngine
}

export class Node {
  readonly peer: Peer
  readonly name: string
  readonly options: NodeOptions
  readonly engines = new Map<string, SegmentEngine>()
  /** Loads under way by model: the newest alone counts. */
  readonly loads = new Map<string, object>()
  readonly links = new Set<PeerKey>()
  readonly notices: Notice[] = []
  /** Its disk: what it keeps outlives it. */
  readonly vault = new Map<string, Uint8Array>()
  readonly settled = new Set<string>()
  /** What its claims are defended with, by session. */
  readonly retained = new Map<string, Retained>()
  alive = true
  wake = 0
  /** Tests that bend what this node sends or does. */
  bend: ((action: PeerAction) => PeerAction[]) | null = null

  constructor(name: string, peer: Peer, options: NodeOptions) {
    this.name = name
    this.peer = peer
    this.options = options
  }
  get key(): PeerKey {
    return this.peer.key
  }
}

interface Entry {
  at: number
  order: number
  run: () => void
}

export class World {
  now = 0
  readonly nodes = new Map<PeerKey, Node>()
  readonly net: Required<NetOptions>
  readonly next: () => number
  private readonly facts = new Map<string, ModelFacts>()
  private readonly heap: Entry[] = []
  private order = 0
  private readonly pending: Promise<void>[] = []
  private count = 0
  private readonly linkFree = new Map<string, number>()
  private readonly delays = new Map<string, number>()
  private readonly partition = new Set<string>()
  frames = 0
  bytes = 0
  gossips = 0
  /** Called before each frame is delivered; false drops it. */
  onFrame: ((from: Node, to: Node, bytes: Uint8Array) => boolean) | null = null
  onNotice: ((node: Node, notice: Notice) => void) | null = null
  private state: Uint8Array = new Uint8Array(32)

  constructor(seed: number, models: ModelFacts[], net: NetOptions = {}) {
    this.next = random(seed)
    this.net = { delayMs: [1, 5], loss: 0, double: 0, reorder: 0, dialMs: 50, ...net }
    for (const facts of models) this.facts.set(facts.modelId, facts)
  }

  draw(below: number): number {
    return this.next() % below
  }
  private chance(inMillion: number): boolean {
    return inMillion > 0 && this.draw(1_000_000) < inMillion
  }

  add(name: string, options: NodeOptions = {}, boot = 1, identity = name): Node {
    const secret = sha256(new TextEncoder().encode(`secret ${identity}`)).slice()
    const seed = sha256(new TextEncoder().encode(`seed ${name} ${++this.count} ${this.next()}`)).slice()
    const peer = new Peer({ secret, seed, boot, tellsPresence: options.tells ?? false, invitation: options.invitation ?? null, earnings: options.earnings })
    const node = new Node(name, peer, options)
    this.nodes.set(node.key, node)
    this.step(node, { kind: 'addresses', addresses: [`sim/${name}`] })
    return node
  }

  /** Time by the node's own clock. */
  private clock(node: Node): number {
    return (this.now + 1_000_000 + (node.options.skewMs ?? 0)) * (1 + (node.options.drift ?? 0) / 1000)
  }

  step(node: Node, event: PeerEvent): void {
    if (!node.alive) return
    for (const action of node.peer.step(event, this.clock(node))) for (const one of node.bend ? node.bend(action) : [action]) this.act(node, one)
  }

  private act(node: Node, action: PeerAction): void {
    switch (action.kind) {
      case 'connect':
        return this.dial(node, action.peer)
      case 'disconnect':
        return this.unlink(node, action.peer)
      case 'send':
        return this.send(node, action.peer, action.bytes)
      case 'publish':
        return this.publish(node, action.bytes)
      case 'load': {
        const facts = this.facts.get(action.modelId)!
        const make =
          node.options.engine ?? ((f: ModelFacts, s: Segment) => new ToyEngine(f, s, { rowsMax: node.options.rowsMax, kvTokensMax: node.options.positionsMax }))
        // As in mesh/shell.ts: another load, or an unload, aborts this one.
        const load = {}
        node.loads.set(action.modelId, load)
        this.after(200 + this.draw(800), () => {
          if (!node.alive || node.loads.get(action.modelId) !== load) return
          node.engines.set(action.modelId, make(facts, action.segment))
          const layers = action.segment.to - action.segment.from
          const event = {
            rowsMax: node.options.rowsMax ?? 32,
            positionsMax: node.options.positionsMax ?? 1 << 20,
            stepMs: (layers * (node.options.layerUs ?? 500)) / 1000,
          }
          this.step(node, { kind: 'loaded', modelId: action.modelId, segment: action.segment, ...event })
        })
        return
      }
      case 'unload':
        node.loads.delete(action.modelId)
        node.engines.delete(action.modelId)
        return
      case 'truncate':
        node.engines.get(action.modelId)?.truncate(action.sequence, action.length)
        return
      case 'compute':
        return this.compute(node, action)
      case 'keep': {
        const { leg, mark, record } = action
        this.after(this.draw(3000) / 1000, () => {
          if (!node.alive) return
          try {
            node.vault.set(leg, betterKept(node.vault.get(leg) ?? null, record))
          } catch (error) {
            if (error instanceof LedgerError) return
            throw error
          }
          this.step(node, { kind: 'kept', leg, mark })
        })
        return
      }
      case 'settle':
        node.settled.add(action.leg)
        return
      case 'retain':
        node.retained.set(action.leg, action.retained)
        return
      case 'wake': {
        const mark = ++node.wake
        const wait = (action.at - this.clock(node)) / (1 + (node.options.drift ?? 0) / 1000)
        // A hair later: the way from one clock to another and back rounds.
        this.after(Math.max(0, wait) + 0.001, () => {
          if (node.wake === mark) this.step(node, { kind: 'timer' })
        })
        return
      }
      case 'notice':
        node.notices.push(action.notice)
        this.onNotice?.(node, action.notice)
        return
    }
  }

  private compute(node: Node, { job, modelId, rows, wants, boundary }: Extract<PeerAction, { kind: 'compute' }>): void {
    const engine = node.engines.get(modelId)
    if (!engine) throw new Error(`${node.name} computes without an engine`)
    const layers = engine.segment.to - engine.segment.from
    if (!(engine instanceof ToyEngine)) {
      const work = computeRows(engine, rows, wants, boundary).then((result) =>
        this.after(rows.length, () => this.step(node, { kind: 'computed', job, ...result })),
      )
      this.pending.push(work)
      return
    }
    const us = layers * ((node.options.layerUs ?? 500) + (rows.length - 1) * (node.options.rowUs ?? 20))
    const event = answer(engine, job, rows, wants, boundary)
    this.after(us / 1000, () => this.step(node, event))
  }

  /** One-way delay of a pair, fixed for the run, with a little jitter each time. */
  delay(a: PeerKey, b: PeerKey): number {
    const pair = a < b ? `${a} ${b}` : `${b} ${a}`
    let base = this.delays.get(pair)
    if (base === undefined) {
      const [least, most] = this.net.delayMs
      base = least + this.draw(Math.max(1, Math.round((most - least) * 1000))) / 1000
      this.delays.set(pair, base)
    }
    return base * (1 + this.draw(100) / 1000)
  }

  setDelay(a: Node, b: Node, ms: number): void {
    this.delays.set(a.key < b.key ? `${a.key} ${b.key}` : `${b.key} ${a.key}`, ms)
  }

  private dial(node: Node, key: PeerKey): void {
    this.after(this.net.dialMs + this.delay(node.key, key), () => {
      if (!node.alive) return
      const other = this.nodes.get(key)
      if (!other?.alive || this.parted(node, other)) return this.step(node, { kind: 'connectFailed', peer: key, reason: 'nobody answers' })
      this.link(node, other)
    })
  }

  link(a: Node, b: Node): void {
    if (a.links.has(b.key)) {
      this.step(a, { kind: 'connected', peer: b.key, direct: true })
      return
    }
    a.links.add(b.key)
    b.links.add(a.key)
    this.step(a, { kind: 'connected', peer: b.key, direct: true })
    this.step(b, { kind: 'connected', peer: a.key, direct: true })
  }

  private unlink(node: Node, key: PeerKey): void {
    const other = this.nodes.get(key)
    if (!node.links.delete(key)) return
    other?.links.delete(node.key)
    this.step(node, { kind: 'disconnected', peer: key })
    if (other) this.after(this.delay(node.key, key), () => this.step(other, { kind: 'disconnected', peer: node.key }))
  }

  private send(node: Node, key: PeerKey, bytes: Uint8Array): void {
    const other = this.nodes.get(key)
    if (!other || !node.links.has(key)) return
    this.frames++
    this.bytes += bytes.length
    const deliver = (at: number): void =>
      this.at(at, () => {
        if (!other.alive || !other.links.has(node.key) || this.parted(node, other)) return
        if (this.onFrame && !this.onFrame(node, other, bytes)) return
        this.step(other, { kind: 'frame', peer: node.key, bytes })
      })
    if (this.chance(this.net.loss)) return
    const way = `${node.key}${key}`
    const at = this.now + this.delay(node.key, key)
    // Streams keep order; a reordering network does not.
    const ordered = this.chance(this.net.reorder) ? at + this.draw(50) : Math.max(at, this.linkFree.get(way) ?? 0)
    this.linkFree.set(way, Math.max(ordered, this.linkFree.get(way) ?? 0))
    deliver(ordered)
    if (this.chance(this.net.double)) deliver(ordered + this.draw(200))
  }

  private publish(node: Node, bytes: Uint8Array): void {
    this.gossips++
    for (const other of this.nodes.values()) {
      if (other === node || !other.alive || this.parted(node, other) || this.chance(this.net.loss)) continue
      // Gossip takes a few hops.
      this.after(this.delay(node.key, other.key) * (1 + this.draw(3)), () => this.step(other, { kind: 'gossip', bytes }))
    }
  }

  /** It is gone from one moment to the next; the others' connections break soon after, or stay silent. */
  kill(node: Node, silently = false): void {
    node.alive = false
    for (const key of node.links) {
      const other = this.nodes.get(key)
      if (!other || silently) continue
      this.after(this.delay(node.key, key), () => {
        other.links.delete(node.key)
        this.step(other, { kind: 'disconnected', peer: node.key })
      })
    }
    node.links.clear()
  }

  part(a: Node, b: Node, parted: boolean): void {
    for (const pair of [`${a.key}${b.key}`, `${b.key}${a.key}`]) {
      if (parted) this.partition.add(pair)
      else this.partition.delete(pair)
    }
  }
  private parted(a: Node, b: Node): boolean {
    return this.partition.has(`${a.key}${b.key}`)
  }

  after(ms: number, run: () => void): void {
    this.at(this.now + ms, run)
  }

  at(at: number, run: () => void): void {
    const { heap } = this
    heap.push({ at, order: this.order++, run })
    for (let i = heap.length - 1; i > 0; ) {
      const parent = (i - 1) >> 1
      if (before(heap[parent], heap[i])) break
      ;[heap[parent], heap[i]] = [heap[i], heap[parent]]
      i = parent
    }
  }

  private pop(): Entry | undefined {
    const { heap } = this
    const top = heap[0]
    const last = heap.pop()
    if (!top || !last || heap.length === 0) return top
    heap[0] = last
    for (let i = 0; ; ) {
      const [left, right] = [2 * i + 1, 2 * i + 2]
      let least = i
      if (left < heap.length && before(heap[left], heap[least])) least = left
      if (right < heap.length && before(heap[right], heap[least])) least = right
      if (least === i) return top
      ;[heap[least], heap[i]] = [heap[i], heap[least]]
      i = least
    }
  }

  /** Lets time pass until `until` holds or `ms` have gone by. Returns whether it holds. */
  run(ms: number, until: () => boolean = () => false): boolean {
    const end = this.now + ms
    while (this.heap.length > 0 && this.heap[0].at <= end) {
      if (until()) return true
      const entry = this.pop()!
      this.now = Math.max(this.now, entry.at)
      entry.run()
    }
    if (until()) return true
    this.now = end
    return false
  }

  /** The same with engines that answer in their own time: simulated time stands still while they compute. */
  async runWith(ms: number, until: () => boolean): Promise<boolean> {
    const end = this.now + ms
    while (this.now < end && !until()) {
      this.run(end - this.now, () => this.pending.length > 0 || until())
      await Promise.all(this.pending.splice(0))
    }
    return until()
  }

  /** Everything that happened, in one hash: fed by whoever tells the story. */
  remember(line: string): void {
    this.state = sha256(Buffer.concat([this.state, Buffer.from(line)])).slice()
  }
  get hash(): string {
    return Buffer.from(this.state).toString('hex')
  }
}

const before = (a: Entry, b: Entry): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)

function answer(engine: ToyEngine, job: number, rows: Row[], wants: RowWant[], boundary: Int32Array | null): PeerEvent {
  try {
    const kinds: Want[] = wants.map((want) => (want ? 'logits' : 'nothing'))
    const result = engine.compute(rows, kinds, boundary ?? undefined)
    const tokens = wants.map((want, i) => want && sample(result.logits[i]!, want.sampler, want.key, rows[i].position + 1, want.recent))
    return { kind: 'computed', job, boundary: result.boundary, tokens }
  } catch (error) {
    if (!(error instanceof EngineError)) throw error
    return { kind: 'computeFailed', job, message: error.message, lost: false }
  }
}
