// An account's agent on the ledger: answers jobs, audits what it is drawn for and a share of everything, challenges what is false, defends what is true, and tells time. It
// follows the chain, looks at what changed, and plays the moves of disputes in the order of their deadlines. Everything it knows follows from the chain, its key and its
// journal, so it may be killed and started again at any moment.
import type { Move } from '../../ledger/dispute/moves.ts'
import type { Seat } from '../../ledger/dispute/player.ts'
import { disputeIdOf } from '../../ledger/names.ts'
import { keyOf, type Session } from '../../ledger/records.ts'
import { privacyClasses } from '../../ledger/transaction.ts'
import type { Segment } from '../../protocol/engine/engine.ts'
import { equalBytes, fromHex, hex } from '../../protocol/hash.ts'
import type { Retained } from '../../protocol/peer/payment.ts'
import { messageOf, RelayError } from '../errors.ts'
import { type LedgerClient, RefusedError } from '../ledger/client.ts'
import type { PinnedTokens } from '../ledger/pins.ts'
import { auditTurn } from './audits.ts'
import { bareTrace, type Case, caseName, contradictionOf, readCase, shotPossible } from './cases.ts'
import type { Strategy } from './choose.ts'
import { Duels } from './duels.ts'
import type { Journal } from './journal.ts'
import type { Found, Mind } from './mind.ts'
import { isSampled } from './secrets.ts'
import { Sender } from './sender.ts'
import { Solver } from './solver.ts'
import { readSubject } from './subject.ts'
import { type ChainNotice, ChainView } from './view.ts'
import { Work } from './work.ts'

/** What an agent tells: one line each with --json. */
export type AgentNotice = { type: string; [field: string]: unknown }

export interface AgentOptions {
  client: LedgerClient
  secret: Uint8Array
  journal: Journal
  /** Mind of a model it holds, by id in hex; with layers: of one that holds at least these (their embedding and head included where they begin or end the model). */
  mindOf: (model: string, layers?: Segment) => Promise<Mind | null>
  /** What this account's hosts kept of sessions they were paid for: such claims are defended, with the layers they are about. */
  retained?: RetainedClaims
  /** Tokens that this machine was given, by the root of their list in hex: of jobs whose tokens are not open to all. */
  knows?: (root: string) => PinnedTokens | null
  /** Puts an answer to such a job where its requester can be given it. */
  keeps?: (tokens: PinnedTokens) => void
  /** Takes open jobs. */
  solve?: { feeMin: bigint } | false
  /** Part of all claims that is re-run of one's own accord, 0 to 1; null: nothing is watched but one's own claims. */
  share?: number | null
  /** Whether tokens that nobody shows are demanded, for a fee, when they are needed. */
  demand?: boolean
  /** Nothing but this case (`claim/host`): for commands about one claim. */
  only?: string
  /** Another strategy than the honest one (demonstrations and tests). */
  strategy?: (seat: Seat, mine: boolean) => Strategy
  onNotice?: (notice: AgentNotice) => void
  signal: AbortSignal
}

/** Claims of a host and what defends them (relay/payments/retained.ts). */
export interface RetainedClaims {
  /** `session` in hex. */
  get(session: string): Retained | null
  has(session: string): boolean
}

/** Looks at everything again this often, whatever was told: a notice may be lost. */
const sweepMs = 60_000
/** Tokens that nobody shows are looked for again after this. */
const withheldMs = 2000
const withheldMsMax = 60_000
/** Traces kept in memory: one of 300 positions of a 135M model takes 25 MB (computed). */
const tracesKept = 4

interface Tracked {
  /** Chain time at which to look again by oneself. */
  wakeMs: number
  dirty: boolean
}

export class Agent {
  readonly view: ChainView
  readonly sender: Sender
  readonly options: AgentOptions
  readonly work: Work
  readonly duels: Duels
  private readonly solver: Solver | null
  private readonly jobs = new Map<string, Tracked>()
  /** Claims, and hosts of sessions, by `claim/host`. */
  private readonly claims = new Map<string, Tracked>()
  private readonly found = new Map<string, Found>()
  /** What hosts of sessions signed, by case. */
  private readonly signed = new Map<string, Uint8Array>()
  /** How often tokens of a case were looked for in vain. */
  private readonly withheld = new Map<string, number>()
  private readonly failed = new Map<string, string>()
  private sweptMs = 0
  private timer: ReturnType<typeof setTimeout> | undefined
  private running = false
  private roundHeight = 0
  private again = false
  private openDisputes = new Set<string>()

  constructor(options: AgentOptions) {
    this.options = options
    this.view = new ChainView(options.client)
    this.sender = new Sender(options.client, options.secret)
    this.work = new Work(options.signal, (name, error) => this.workEnded(name, error))
    this.duels = new Duels(this)
    this.solver = options.solve ? new Solver(this, options.solve) : null
  }

  get account(): Uint8Array {
    return this.sender.account
  }
  get journal(): Journal {
    return this.options.journal
  }
  /** What this agent is there to defend, when it does nothing else. */
  private get defends(): RetainedClaims | null {
    const { retained, share, solve } = this.options
    return retained && share == null && !solve ? retained : null
  }

  tell(notice: AgentNotice): void {
    this.options.onNotice?.(notice)
  }

  /** Follows the chain until the signal is aborted. */
  async run(): Promise<void> {
    const { signal } = this.options
    const sweep = setInterval(() => this.wake(), sweepMs)
    try {
      await this.view.follow(
        signal,
        () => {
          this.sweptMs = 0
          this.wake()
        },
        (notice) => this.hear(notice),
        (reason) => this.tell({ type: 'gap', reason }),
      )
    } finally {
      clearInterval(sweep)
      clearTimeout(this.timer)
      // A round that is under way ends by itself: its requests fail or are answered.
      while (this.running) await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  private hear({ type, fields, events }: ChainNotice): void {
    for (const { type: what, subject } of events) {
      if (!subject) continue
      if (what === 'created' && fields.kind === 'job.create') this.touch(this.jobs, subject)
      if (what === 'held' || what === 'drawn' || what === 'ended' || what === 'audited') {
        const known = [...this.claims.keys()].filter((name) => name.startsWith(subject))
        for (const name of known.length > 0 ? known : [`${subject}/0`]) this.touch(this.claims, name)
      }
    }
    for (const name of ['job', 'claim'] as const) {
      const id = fields[name]
      if (typeof id !== 'string') continue
      if (name === 'job') this.touch(this.jobs, id, false)
      else {
        const host = typeof fields.host === 'number' ? fields.host : 0
        // An earlier host of the same session may have been the cause.
        for (let i = this.options.share == null ? host : 0; i <= host; i++) this.touch(this.claims, `${id}/${i}`)
      }
    }
    // Between blocks nothing that was sent can be read with proof.
    if (type === 'block') this.wake()
  }

  private touch(map: Map<string, Tracked>, name: string, add = true): void {
    if (this.options.only && name !== this.options.only) return
    // A host's defence has no business with others' claims.
    if (this.defends && map === this.claims && !this.defends.has(name.split('/')[0])) return
    const known = map.get(name)
    if (known) known.dirty = true
    else if (add) map.set(name, { wakeMs: 0, dirty: true })
  }

  /** Follows a job or claim from now on. */
  track(kind: 'job' | 'claim', name: string): void {
    this.touch(kind === 'job' ? this.jobs : this.claims, name)
  }

  /** Another round: now, or when the one under way is over. */
  wake(): void {
    this.again = true
    if (this.running) return
    this.running = true
    void (async () => {
      while (this.again && !this.options.signal.aborted) {
        this.again = false
        try {
          await this.round()
        } catch (error) {
          // The relay is gone, or the chain moved under our feet: the next block brings another round.
          if (!this.options.signal.aborted) this.tell({ type: 'trouble', reason: messageOf(error) })
          if (!(error instanceof RelayError)) console.error(error)
        }
      }
      this.running = false
    })()
  }

  private workEnded(name: string, error: unknown): void {
    if (error && !this.options.signal.aborted) {
      this.failed.set(name, messageOf(error))
      this.tell({ type: 'failed', what: name, reason: messageOf(error) })
    }
    for (const [id, one] of [...this.jobs, ...this.claims]) if (name.includes(id)) one.dirty = true
    this.wake()
  }

  /** Why a piece of work cannot be done, if it was tried. */
  failure(name: string): string | undefined {
    return this.failed.get(name)
  }

  private async round(): Promise<void> {
    clearTimeout(this.timer)
    this.view.fresh()
    const clock = await this.view.record(keyOf.clock).catch((error) => {
      // Before the first block there is nothing to look at.
      if (error instanceof RelayError && /no block yet/.test(error.message)) return null
      throw error
    })
    if (!clock) return
    if (Date.now() - this.sweptMs > sweepMs) await this.sweep()
    for (const name of this.openDisputes) this.touch(this.claims, name)
    // On an idle chain the last block may be long ago: what is sent now lands in a block of now.
    const nowMs = Math.max(clock.timeMs, Date.now())
    if (this.solver) {
      for (const [id, one] of due(this.jobs, nowMs)) {
        const wakeMs = await this.solver.look(fromHex(id), clock)
        if (wakeMs === null) this.jobs.delete(id)
        else one.wakeMs = wakeMs
      }
    }
    this.duels.begin(clock)
    for (const [name, one] of due(this.claims, nowMs)) {
      const wakeMs = await this.look(name, nowMs)
      if (wakeMs === null) {
        this.claims.delete(name)
        this.found.delete(name)
        this.signed.delete(name)
        this.withheld.delete(name)
        this.duels.forget(name)
      } else one.wakeMs = wakeMs
    }
    await this.duels.play()
    this.roundHeight = clock.height
    this.setTimer(nowMs)
  }

  /** Whether everything is done that block `height` asked for. */
  isSettled(height: number): boolean {
    return this.roundHeight >= height && !this.running && !this.again && !this.work.busy
  }

  /** Where nobody sends anything no block comes by itself: what waits for a time is looked at then. */
  private setTimer(nowMs: number): void {
    const times = [...this.jobs.values(), ...this.claims.values()].map(({ wakeMs }) => wakeMs).filter((ms) => ms > nowMs)
    if (times.length === 0 || this.options.signal.aborted) return
    this.timer = setTimeout(() => this.wake(), Math.min(sweepMs, Math.max(50, Math.min(...times) - nowMs)))
    this.timer.unref()
  }

  /** Everything that is on the chain: after a start or a gap, and now and then. */
  private async sweep(): Promise<void> {
    this.sweptMs = Date.now()
    if (this.options.only) return this.touch(this.claims, this.options.only)
    if (this.options.retained) await this.sweepDisputes(this.options.retained)
    if (this.solver) for await (const [id, job] of this.view.list('job')) if (!job.claim) this.touch(this.jobs, id)
    if (this.defends) return
    for await (const [id, claim] of this.view.list('claim')) {
      if (this.options.share != null || equalBytes(claim.solver, this.account)) this.touch(this.claims, `${id}/0`)
    }
    if (this.options.share == null) return
    for await (const [id, session] of this.view.list('session')) {
      if (!session.open && !session.paid) for (let host = 0; host < session.hosts.length; host++) this.touch(this.claims, `${id}/${host}`)
    }
  }

  /** Open disputes about what this account's hosts have signed. Those that are opened from now on are told. */
  private async sweepDisputes(retained: RetainedClaims): Promise<void> {
    for await (const [, { verdict, claim, claimant, host }] of this.view.list('dispute')) {
      if (verdict === null && equalBytes(claimant, this.account) && retained.has(hex(claim))) this.touch(this.claims, `${hex(claim)}/${host}`)
    }
  }

  /** One claim: what it asks of this account now. Returns when to look again (chain time), or null when it is over. */
  private async look(name: string, nowMs: number): Promise<number | null> {
    const [hexId, hostText] = name.split('/')
    const id = fromHex(hexId)
    const host = Number(hostText)
    const claim = await this.view.record(keyOf.claim(id))
    const session = claim ? null : await this.view.record(keyOf.session(id))
    const record = claim ?? session
    if (!record || (session?.paid ?? false)) return this.drop(name)
    if (session?.open) return session.closesMs
    // One look at a session tells of all its hosts.
    if (session && host === 0) for (let i = 1; i < session.hosts.length; i++) if (!this.claims.has(`${hexId}/${i}`)) this.track('claim', `${hexId}/${i}`)
    const claimant = claim ? claim.solver : session!.hosts[host]?.account
    if (!claimant) return this.drop(name)
    const mine = equalBytes(claimant, this.account)
    if (claim && mine) await this.solver?.care(id, claim, nowMs)
    const disputeId = disputeIdOf(id, host)
    const dispute = await this.view.record(keyOf.dispute(disputeId))
    const open = dispute !== null && dispute.verdict === null
    if (open) this.openDisputes.add(name)
    else this.openDisputes.delete(name)
    const watching = this.options.share != null
    const seat = record.auditing.phase === 'drawn' ? record.auditing.audits.findIndex(({ auditor }) => equalBytes(auditor, this.account)) : -1
    const drawn = watching && seat >= 0 && record.auditing.audits[seat].answer === null
    const known = this.journal.get<string>(`verdict/${name}`)
    // What a later host is accused of may be an earlier one's fault: whoever watches looks at that too, and has time to say so.
    const disputed = session && session.disputes > 0 ? await readSubject(this.view, id, host) : null
    const finalMs = disputed ? disputed.facts.finalMs : record.finalMs
    const isBefore = disputed !== null && (await this.accusedAfter(id, session!, host))
    const sampled = watching && !mine && dispute === null && known !== 'right' && (isBefore || isSampled(this.options.secret, id, this.options.share!))
    const challengeable = nowMs < finalMs
    if (!(open && (watching || mine)) && !drawn && !(sampled && challengeable)) {
      if (mine && claim) return finalMs
      return record.auditing.phase === 'waiting' || record.auditing.phase === 'drawn' || challengeable ? finalMs : this.drop(name)
    }
    const job = claim && (await this.view.record(keyOf.job(claim.job)))
    const tokens = (claim && mine ? this.solver?.knownTokens(claim.job) : undefined) ?? []
    // Of tokens that are not open others know nothing, and only requester and drawn auditors may object.
    const isParty = job && (mine || seat >= 0 || equalBytes(job.requester, this.account))
    if (job && job.privacy !== privacyClasses.open && (!isParty || (tokens.length === 0 && !this.options.knows?.(hex(job.promptRoot))))) return this.drop(name)
    const retained = mine && session ? (this.options.retained?.get(hexId) ?? null) : null
    const layers = job ? job.segment : session!.hosts[host]
    const mind = await this.mindFor(hex(job?.model ?? session!.model), layers, retained !== null || claim !== null)
    if (!mind) {
      if (open && mine && !this.withheld.has(name)) this.tell({ type: 'undefended', claim: hexId, host, reason: 'the layers that it is about are not here' })
      this.withheld.set(name, this.withheld.get(name) ?? 0)
      return finalMs
    }
    const one = await readCase(this.view, id, host, { tokens, retained, ...(this.options.knows ? { knows: this.options.knows } : {}) })
    if (one === null) return this.drop(name)
    if ('withheld' in one) {
      const times = this.withheld.get(name) ?? 0
      this.withheld.set(name, times + 1)
      if (times === 0) this.tell({ type: 'withheld', claim: hexId, host, reason: one.withheld })
      // Rows cannot be demanded: there is no room for them in blocks.
      if (claim && !mine && !job?.segment) await this.duels.withheld(id, claim.revealedMs, claim.finalMs, dispute, nowMs)
      return nowMs + Math.min(withheldMsMax, withheldMs * 2 ** times)
    }
    this.withheld.delete(name)
    if (one.receipt) this.signed.set(name, one.receipt.claim)
    const found = this.witness(one, mind, open ? 0 : finalMs)
    const auditWakeMs = drawn && host === 0 ? await auditTurn(this, one, mind, found, nowMs) : 0
    const wrong = found !== null && found.clean === false
    if (open || (challengeable && dispute === null && wrong)) this.duels.add(one, dispute, found, mine)
    if (open || !found || wrong) return 0
    return drawn ? auditWakeMs : finalMs
  }

  /** Whether a later host of a session is in dispute. */
  private async accusedAfter(id: Uint8Array, { hosts }: Session, host: number): Promise<boolean> {
    for (let later = host + 1; later < hosts.length; later++) {
      const dispute = await this.view.record(keyOf.dispute(disputeIdOf(id, later)))
      if (dispute && dispute.verdict === null) return true
    }
    return false
  }

  /** A mind for a claim about some layers (null: about all). Where the rows that entered are known these are enough, else all below them are needed too. */
  private async mindFor(model: string, layers: Segment | null, rowsKnown: boolean): Promise<Mind | null> {
    const { mindOf } = this.options
    if (!layers) return mindOf(model)
    const { from, to } = layers
    return (await mindOf(model, { from: 0, to })) ?? (rowsKnown && from > 0 ? await mindOf(model, { from, to }) : null)
  }

  /** What this agent has found out about a host of a session, and what the host signed. */
  sessionPart(name: string): { claim: Uint8Array; found: Found } | undefined {
    const found = this.found.get(name)
    const claim = this.signed.get(name)
    return found && claim && { claim, found }
  }

  private drop(name: string): null {
    this.openDisputes.delete(name)
    return null
  }

  /** What this agent's mind says of a case; begins to find out where it does not know. */
  private witness(one: Case, mind: Mind, due: number): Found | null {
    const name = caseName(one.id, one.host)
    const known = this.found.get(name)
    if (known) return known
    if (one.denial || shotPossible(one)) {
      // One token, or one record, shows it: no model is run, and none could be on what is no token.
      const shot = { trace: bareTrace(one), wrong: null, clean: false }
      this.found.set(name, shot)
      this.journal.put(`verdict/${name}`, 'wrong')
      this.tell({ type: 'checked', claim: hex(one.id), host: one.host, verdict: 'wrong', wrong: null, ms: 0 })
      return shot
    }
    const work = `check ${name}`
    if (this.failed.has(work)) return null
    this.work.add(work, due, async (signal) => {
      const began = performance.now()
      const found = await mind.witness(one, signal)
      while (this.found.size >= tracesKept) {
        const idle = [...this.found.keys()].find((key) => !this.openDisputes.has(key))
        if (idle === undefined) break
        this.found.delete(idle)
      }
      this.found.set(name, found)
      const position = found.clean === null ? await contradictionOf(this.view, one) : null
      if (position !== null) this.tell({ type: 'contradiction', claim: hex(one.id), host: one.host, position })
      const verdict = found.clean === null ? 'misled' : found.clean ? 'right' : 'wrong'
      this.journal.put(`verdict/${name}`, verdict)
      const wrong = found.wrong && { layer: found.wrong.layer, position: found.wrong.position }
      this.tell({ type: 'checked', claim: hex(one.id), host: one.host, verdict, wrong, ms: Math.round(performance.now() - began) })
    })
    return null
  }

  /** Sends a transaction; the block it is part of, null when the ledger refused it. */
  async attempt(body: Parameters<Sender['send']>[0], move: Move | null): Promise<number | null> {
    try {
      const sent = await this.sender.send(body)
      this.tell({ type: 'sent', kind: body.kind, move: move?.kind ?? null, height: sent.height, transaction: sent.id })
      return sent.height
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error
      this.tell({ type: 'refused', kind: body.kind, move: move?.kind ?? null, code: error.code, reason: error.message })
      return null
    }
  }
}

/** What is to be looked at now; it is no longer dirty. */
function* due(map: Map<string, Tracked>, timeMs: number): Generator<[string, Tracked]> {
  for (const [name, one] of [...map]) {
    if (!one.dirty && one.wakeMs > timeMs) continue
    one.dirty = false
    yield [name, one]
  }
}
