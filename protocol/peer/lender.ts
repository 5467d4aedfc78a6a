// What a host holds: which ranges, when to load, move, drain and leave. The sessions on them are serving.ts's business.
import type { Segment } from '../engine/engine.ts'
import { presenceModelsMax } from '../limits.ts'
import { sessionsMaxDefault } from './admission.ts'
import { type Announced, Announcer } from './announcer.ts'
import type { Context } from './context.ts'
import type { Links } from './links.ts'
import type { HostState, Lending, ModelFacts, PeerEvent, PeerKey } from './machine.ts'
import { betterPlace, bytesNeeded, coverageOf, type Device, hasRing, type Placed, place } from './placement.ts'
import { Served } from './served.ts'
import type { Holding, Serving } from './serving.ts'

/** A newcomer waits up to this long before it chooses, longer in a large mesh: those who join together would all see the same hole. */
const joinMsPerPeer = 100
const joinMsLeast = 600
const joinMsMost = 20_000
/** Who has heard from nobody waits for the table this long. */
const aloneMs = 1500
const checkMsMost = 240_000
const urgentCheckMsMost = 10_000
/** The table is looked through for holes at most this often. */
const lookMs = 1000
const checksNeeded = 3
const residentMsMin = 15 * 60_000
const drainMsMax = 60_000
/** After a load that failed, doubled each time. */
const retryMs = 5000
const retryMsMax = 10 * 60_000
/** What a layer takes of a device that nobody has measured, microseconds: between a laptop's CPU and its GPU. */
const layerUsUnknown = 1000

type Loaded = Extract<PeerEvent, { kind: 'loaded' }>

export class Lender implements Holding {
  lending: Lending | null = null
  paused = false
  throttled = false
  draining = false
  private left = false
  readonly models = new Map<string, Served>()
  private readonly announcer: Announcer
  private readonly ctx: Context
  serving!: Serving
  private placeAt = Infinity
  private checkAt = Infinity
  private checksPassed = 0
  private drainUntil = Infinity
  private failures = 0
  private said = ''
  private lookAt = 0
  private seenVersion = 0
  private chosenAgain = false
  /** Moves: what to load once the old range is free. */
  private moving: Placed | null = null

  constructor(ctx: Context, links: Links) {
    this.ctx = ctx
    this.announcer = new Announcer(
      ctx,
      () => links.near(),
      () => links.up(),
    )
  }

  get accepting(): boolean {
    return this.lending !== null && !this.draining && !this.paused && !this.left && this.moving === null
  }

  isFriend(peer: PeerKey): boolean {
    return peer === this.ctx.self || (this.lending?.friends?.includes(peer) ?? false)
  }

  get state(): HostState {
    if (this.left) return 'left'
    if (!this.lending) return 'idle'
    if (this.paused) return 'paused'
    if (this.draining || this.moving) return 'draining'
    const states = [...this.models.values()].map((served) => served.state)
    return states.includes('ready') ? 'serving' : states.includes('loading') ? 'loading' : 'waiting'
  }

  lend(lending: Lending): void {
    const first = this.lending === null
    this.lending = lending
    this.left = false
    this.draining = false
    this.drainUntil = Infinity
    // Less memory than is held, or a model that is not offered any more: give it back first.
    for (const [modelId, served] of this.models) {
      const facts = lending.models.find((one) => one.modelId === modelId)
      const fixed = lending.fixed?.find((one) => one.modelId === modelId)
      const wrong = lending.fixed !== undefined && (fixed?.segment.from !== served.segment.from || fixed.segment.to !== served.segment.to)
      if (!facts || wrong || this.usedBytes() > lending.memoryBytes) this.unload(modelId, 'what is lent has changed')
    }
    if (lending.fixed) {
      for (const { modelId, segment } of lending.fixed) if (!this.models.has(modelId)) this.load({ modelId, segment }, 'asked for')
    } else {
      const { size } = this.ctx.table
      const most = Math.min(joinMsMost, joinMsLeast + size * joinMsPerPeer)
      this.placeAt = this.ctx.now + (first ? (size === 0 ? aloneMs : 0) + this.ctx.draw(most) : 0)
    }
    this.checkAt = this.ctx.now + this.ctx.draw(checkMsMost)
  }

  pause(): void {
    if (this.paused || !this.lending) return
    this.serving.sendAway('this host was paused')
    this.paused = true
  }

  resume(): void {
    this.paused = false
  }

  drain(): void {
    if (!this.lending || this.draining) return
    this.draining = true
    this.drainUntil = this.ctx.now + drainMsMax
  }

  leave(): void {
    this.serving.sendAway('this host leaves')
    for (const modelId of [...this.models.keys()]) this.unload(modelId, 'this host leaves')
    this.lending = null
    this.left = true
    this.draining = false
    this.drainUntil = Infinity
    this.announcer.goodbye()
  }

  /** A relay has come, or come again: it hears of this peer from itself. */
  introduce(peer: PeerKey): void {
    this.announcer.tellOwn(peer)
  }

  reach(addresses: string[]): void {
    this.announcer.reach(addresses)
  }

  loading(modelId: string, loaded: number, total: number): void {
    const served = this.models.get(modelId)
    if (served?.state === 'loading') this.ctx.notice({ of: 'host', what: 'loading', modelId, segment: served.segment, loaded, total, why: '' })
  }

  loaded({ modelId, segment, rowsMax, positionsMax, stepMs }: Loaded): void {
    const served = this.models.get(modelId)
    if (served?.state !== 'loading' || segment.from !== served.segment.from || segment.to !== served.segment.to) return
    served.state = 'ready'
    served.rowsMax = rowsMax
    served.positionsMax = positionsMax
    served.cost.stepMs = stepMs
    this.failures = 0
    this.chosenAgain = false
    // Room may be left for another model.
    if (!this.lending?.fixed) this.placeAt = this.ctx.now + this.ctx.draw(joinMsLeast)
  }

  loadFailed(modelId: string, message: string): void {
    if (!this.models.delete(modelId)) return
    this.ctx.notice({ of: 'host', what: 'loadFailed', modelId, message })
    this.placeAt = this.ctx.now + Math.min(retryMsMax, retryMs * 2 ** this.failures++)
  }

  /** The engine of a model is gone; its sessions were sent away. */
  lost(modelId: string): void {
    const served = this.models.get(modelId)
    if (!served) return
    const { segment } = served
    this.models.delete(modelId)
    this.load({ modelId, segment }, 'the engine was lost')
  }

  tick(): void {
    const { now } = this.ctx
    for (const [modelId, served] of this.models) {
      if (served.state === 'leaving' && served.seats.size === 0 && !served.busy) this.unload(modelId, 'free')
      const stuck = served.stuckJob(now)
      if (stuck === null) continue
      this.serving.computeFailed(stuck, 'the engine does not answer', true)
      this.lost(modelId)
    }
    if (this.draining && (this.serving.seats.size === 0 || now >= this.drainUntil)) this.leave()
    if (this.moving && (this.serving.seats.size === 0 || now >= this.drainUntil)) {
      const { moving } = this
      this.moving = null
      this.drainUntil = Infinity
      this.serving.sendAway('this host moves to other layers', moving.modelId)
      this.unload(moving.modelId, 'moved')
      this.load(moving, 'needed more there')
    }
    if (now >= this.placeAt) this.placeNow()
    if (now >= this.lookAt && this.ctx.table.version !== this.seenVersion) this.look()
    if (now >= this.checkAt) this.check()
    this.announcer.tick(this.announced())
    this.sayState()
  }

  wakeAt(): number {
    return Math.min(this.placeAt, this.lending && !this.lending.fixed ? this.checkAt : Infinity, this.drainUntil, this.announcer.nextAt)
  }

  private placeNow(): void {
    this.placeAt = Infinity
    const { lending } = this
    if (!lending || this.draining || this.models.size >= presenceModelsMax) return
    if (lending.fixed) {
      for (const one of lending.fixed) if (!this.models.has(one.modelId)) this.load(one, 'asked for')
      return
    }
    if ([...this.models.values()].some((served) => served.state === 'loading')) return
    const open = lending.models.filter((facts) => !this.models.has(facts.modelId))
    const device = this.device(lending.memoryBytes - this.usedBytes())
    const placed = place(open, this.ctx.table.all(), device, (below) => this.ctx.draw(below))
    if (placed) this.load(placed, 'needed most')
  }

  /** What changed in the table: another who loads the same as we do, or a hole. */
  private look(): void {
    const { lending, ctx } = this
    this.lookAt = ctx.now + lookMs
    this.seenVersion = ctx.table.version
    if (!lending || lending.fixed || this.draining || this.moving) return
    const all = ctx.table.all()
    for (const [modelId, { facts, segment, state }] of this.models) {
      const hole = coverageOf(facts, all).includes(0)
      if ((hole || !hasRing(facts, all)) && state === 'ready') this.checkAt = Math.min(this.checkAt, ctx.now + ctx.draw(urgentCheckMsMost))
      // Those who joined at the same moment chose the same: all but the least of them choose again, once.
      const same = all.some((one) => one.peer < ctx.self && one.held.some((h) => h.modelId === modelId && h.from === segment.from && h.to === segment.to))
      if (!hole || state !== 'loading' || !same || this.chosenAgain) continue
      this.chosenAgain = true
      this.unload(modelId, 'another one loads the same')
      this.placeAt = ctx.now
    }
  }

  /** Re-balancing, with all the brakes of swarm.md (a): moves cost everyone, so they are rare and never leave a hole. */
  private check(): void {
    const { lending, ctx } = this
    this.checkAt = ctx.now + ctx.draw(checkMsMost)
    if (!lending || lending.fixed || this.draining || this.moving || this.paused) return
    for (const served of this.models.values()) {
      if (served.state !== 'ready') continue
      const device = this.device(lending.memoryBytes)
      const found = betterPlace(served.facts, ctx.table.all(), device, served.segment, (below) => ctx.draw(below))
      if (!found) {
        this.checksPassed = 0
        continue
      }
      if (found.urgent) this.checkAt = ctx.now + ctx.draw(urgentCheckMsMost)
      else if (++this.checksPassed < checksNeeded || ctx.now - served.loadingSince < residentMsMin) continue
      // Others see the same: one of them should move, not all.
      const rivals = ctx.table.all().filter((one) => one.held.some((h) => h.modelId === served.facts.modelId && h.from === served.segment.from)).length
      if (ctx.draw(Math.max(1, rivals)) > 0) continue
      this.checksPassed = 0
      this.moving = found.placed
      this.drainUntil = ctx.now + drainMsMax
      return
    }
  }

  private load({ modelId, segment }: Placed, why: string): void {
    const facts = this.lending?.models.find((one) => one.modelId === modelId)
    if (!facts) return
    const served = new Served(facts, segment)
    served.loadingSince = this.ctx.now
    this.models.set(modelId, served)
    this.ctx.notice({ of: 'host', what: 'loading', modelId, segment, loaded: 0, total: 0, why })
    this.ctx.act({ kind: 'load', modelId, segment })
  }

  private unload(modelId: string, why: string): void {
    const served = this.models.get(modelId)
    if (!served) return
    this.serving.sendAway(why, modelId)
    // Unloading under a running job would pull the cache from under it: it goes when the job is done.
    if (served.busy) {
      served.state = 'leaving'
      return
    }
    this.models.delete(modelId)
    this.ctx.act({ kind: 'unload', modelId })
  }

  private usedBytes(): number {
    let sum = 0
    for (const { facts, segment } of this.models.values()) sum += bytesNeeded(facts, segment, this.lending?.memoryBytes ?? 0) ?? 0
    return sum
  }

  private device(memoryBytes: number): Device {
    const measured = [...this.models.values()].find((served) => served.cost.stepMs !== null)
    const known = measured ? (measured.cost.stepMs! * 1000) / (measured.segment.to - measured.segment.from) : null
    return {
      self: this.ctx.self,
      memoryBytes,
      cached: this.lending?.cached ?? [],
      layerUs: (facts) => known ?? this.medianLayerUs(facts),
    }
  }

  /** What others take: only the ratio between places counts, and that is the same for all. */
  private medianLayerUs(facts: ModelFacts): number {
    const all = this.ctx.table
      .all()
      .flatMap((one) => one.held.filter((h) => h.modelId === facts.modelId && h.stepUs > 0).map((h) => h.stepUs / (h.to - h.from)))
      .sort((a, b) => a - b)
    return all[all.length >> 1] ?? layerUsUnknown
  }

  private announced(): Announced | null {
    const { lending } = this
    if (!lending || this.left) return null
    const sessionsMax = Math.max(1, Math.floor((lending.sessionsMax ?? sessionsMaxDefault) / (this.throttled ? 2 : 1)))
    const held = [...this.models.values()].slice(0, presenceModelsMax).map((served) => {
      const { facts, segment, cost, seats, positionsFree, load } = served
      const stepUs = clampUs((cost.stepMs ?? ((segment.to - segment.from) * this.medianLayerUs(facts)) / 1000) * 1000)
      return {
        modelId: facts.modelId,
        layers: facts.layers,
        from: segment.from,
        to: segment.to,
        ready: served.state === 'ready',
        stepUs,
        rowUs: clampUs((cost.rowMs ?? stepUs / 2000) * 1000),
        freePositions: positionsFree,
        sessions: seats.size,
        sessionsMax,
        load,
      }
    })
    const { state } = this
    const { payee } = this.ctx.earnings
    return {
      state: state === 'serving' ? 'serving' : state === 'draining' ? 'draining' : state === 'loading' ? 'joining' : 'idle',
      throttled: this.throttled,
      held: state === 'paused' ? [] : held,
      pay: payee && { chain: payee.chain, account: payee.account, only: lending.paidOnly ?? false },
    }
  }

  private sayState(): void {
    const held: { modelId: string; segment: Segment }[] = [...this.models.values()]
      .filter((served) => served.state === 'ready')
      .map(({ facts, segment }) => ({ modelId: facts.modelId, segment }))
    const now = JSON.stringify([this.state, held])
    if (now === this.said) return
    this.said = now
    this.ctx.notice({ of: 'host', what: 'state', state: this.state, held })
  }
}

const clampUs = (us: number): number => Math.max(1, Math.min(60_000_000, Math.round(us)))
