// Who lives on the simulated ledger. Each acts on its own with some chance a round; a cheat's refusals are counted, since they are what the ledger is for.
import { LedgerError, type Refusal } from '../../ledger/errors.ts'
import { defaultParameters, hurried } from '../../ledger/genesis.ts'
import { jobIdOf, outOf, sessionIdOf } from '../../ledger/names.ts'
import { type Claim, keyOf } from '../../ledger/records.ts'
import { auditCommitmentOf, type Body, commitmentOf, role, type SessionTerms } from '../../ledger/transaction.ts'
import { hashTagged, hex, join, u32 } from '../../protocol/hash.ts'
import { credit, World } from '../ledger/world.ts'

export const honest = { hosts: ['hana', 'hugo', 'hedy'], requesters: ['rosa', 'remy', 'ruth'], auditors: ['abel', 'anja', 'aziz'] }
export const cheats = ['doubleSpender', 'overdrafter', 'withholder', 'copycat', 'lazyAuditor', 'copyAuditor', 'dealer', 'dealerHost', 'replayer', 'thief']
export const liar = 'loki'
/** ms. */
const hour = 3_600_000

export interface OpenJob {
  id: Uint8Array
  requester: string
  seed: number
  deadlineMs: number
}

interface OpenSession {
  owner: string
  number: number
  terms: SessionTerms
  hosts: string[]
  amount: bigint
}

/** What a job's one true answer is, in this world: a function of the job, as everywhere. */
export const truthOf = (job: Uint8Array) => ({
  m: 5,
  stop: 1,
  outRoot: new Uint8Array(hashTagged('sim-answer', job)),
  logRoot: null,
  answer: new Uint8Array(hashTagged('sim-tokens', job)),
})

export class SimWorld extends World {
  readonly random: () => number
  model = new Uint8Array() as Uint8Array
  jobs: OpenJob[] = []
  sessions: OpenSession[] = []
  /** Next session number by owner. */
  private readonly nextSession = new Map<string, number>()
  private readonly reports = new Map<string, { claim: Uint8Array; salt: Uint8Array; answer: Uint8Array; leaves: Uint8Array[] }>()
  /** Refusals of cheats by what they tried. */
  readonly foiled = new Map<string, number>()
  readonly story: string[] = []
  /** Accepted bytes, for the replayer. */
  readonly seen: Uint8Array[] = []
  accepted = 0

  constructor(random: () => number) {
    // Windows of disputes count active time, at most ten seconds a block: shortened, so that one takes a hundred blocks and not ten thousand.
    const { disputes } = hurried(defaultParameters, 60)
    super({ people: [...Object.values(honest).flat(), ...cheats, liar], balance: 1000n * credit, parameters: { disputes } })
    this.random = random
  }

  tell(line: string): void {
    this.story.push(`block ${this.chain.height}: ${line}`)
  }
  pick<T>(list: readonly T[]): T {
    return list[this.random() % list.length]
  }
  chance(percent: number): boolean {
    return this.random() % 100 < percent
  }
  word(): Uint8Array {
    return new Uint8Array(hashTagged('sim-word', u32(this.random(), this.random())))
  }

  /** Sends what ought to be accepted. Anything else is a failure of the simulation. */
  must(name: string, body: Body): void {
    const bytes = this.sign(name, body)
    this.submit(bytes)
    this.accepted++
    if (this.seen.length < 500) this.seen.push(bytes)
  }

  /** A cheat's attempt that must be refused with one of `codes`. */
  foil(what: string, bytes: Uint8Array, ...codes: Refusal[]): void {
    try {
      this.submit(bytes)
    } catch (error) {
      if (!(error instanceof LedgerError) || !codes.includes(error.code)) throw error
      const times = this.foiled.get(what) ?? 0
      if (times === 0) this.tell(`${what}: refused, ${error.message}`)
      this.foiled.set(what, times + 1)
      return
    }
    throw new Error(`${what} was accepted`)
  }

  start(): void {
    this.model = this.registerModel('operator', 'sim')
    for (const name of honest.hosts) this.must(name, { kind: 'stake', amount: 300n * credit, roles: role.host })
    for (const name of honest.auditors) this.must(name, { kind: 'stake', amount: 100n * credit, roles: role.auditor })
    for (const name of ['withholder', 'copycat', 'dealerHost']) this.must(name, { kind: 'stake', amount: 200n * credit, roles: role.host })
    for (const name of ['lazyAuditor', 'copyAuditor']) this.must(name, { kind: 'stake', amount: 60n * credit, roles: role.auditor })
    for (const name of [...honest.requesters, 'overdrafter', 'dealer']) this.must(name, { kind: 'channel.open', number: 0, deposit: 20n * credit })
    this.block()
    this.tell('everybody has staked and opened channels')
  }

  // Requesters and hosts.

  createJob(name: string): void {
    const body = this.jobBody(this.model, { seed: this.word(), deadlineMs: this.timeMs + 3 * hour, privacy: 0 })
    if (this.account(name).balance < 2n * credit) return
    const id = jobIdOf(this.name, this.who(name).id, this.account(name).nonce, body)
    this.must(name, { kind: 'job.create', ...body })
    this.jobs.push({ id, requester: name, seed: 0, deadlineMs: body.deadlineMs })
  }

  commit(name: string, job: OpenJob): boolean {
    const record = this.chain.state.get(keyOf.job(job.id))
    const account = this.account(name)
    if (!record || record.claim || this.timeMs >= record.deadlineMs || this.chain.state.get(keyOf.commit(job.id, this.who(name).id))) return false
    if (account.stake - account.locked < 14n * credit) return false
    const out = outOf(job.id, truthOf(job.id))
    this.must(name, { kind: 'job.commit', job: job.id, commitment: commitmentOf(this.name, this.who(name).id, out, this.nonceOf(name, job.id)) })
    return true
  }

  nonceOf(name: string, job: Uint8Array): Uint8Array {
    return new Uint8Array(hashTagged('sim-nonce', this.who(name).id, job))
  }

  revealBody(name: string, job: Uint8Array): Body {
    return { kind: 'job.reveal', job, ...truthOf(job), nonce: this.nonceOf(name, job) }
  }

  reveal(name: string, job: OpenJob): void {
    const record = this.chain.state.get(keyOf.job(job.id))
    const commit = this.chain.state.get(keyOf.commit(job.id, this.who(name).id))
    if (!record || record.claim || !commit || commit.height >= this.chain.height || this.timeMs >= commit.untilMs) return
    this.must(name, this.revealBody(name, job.id))
  }

  openSession(owner: string, hosts: string[]): void {
    const channel = this.chain.state.get(keyOf.channel(this.who(owner).id, 0))
    if (!channel || channel.closesMs !== null) return
    const limit = credit / 2n
    if (channel.deposit < limit) {
      if (this.account(owner).balance > 10n * credit) this.must(owner, { kind: 'channel.topUp', number: 0, amount: 5n * credit })
      return
    }
    const cuts = hosts.length === 1 ? [0, 4] : [0, 1 + (this.random() % 3), 4]
    const list = hosts.map((name, i) => ({ account: this.who(name).id, from: cuts[i], to: cuts[i + 1] }))
    const terms = { model: this.model, hosts: list, limit, untilMs: this.timeMs + 6 * hour }
    const number = this.nextSession.get(owner) ?? 0
    this.nextSession.set(owner, number + 1)
    const session = { owner, number, terms, hosts, amount: credit / 20n }
    this.must(hosts[0], { kind: 'channel.settle', ...this.voucher(owner, number, terms, session.amount, false) })
    this.sessions.push(session)
  }

  continueSession(session: OpenSession): void {
    const record = this.chain.state.get(keyOf.session(sessionIdOf(this.name, this.who(session.owner).id, 0, session.number)))
    if (!record?.open || this.timeMs >= record.closesMs) return void this.sessions.splice(this.sessions.indexOf(session), 1)
    const more = session.amount + credit / 10n
    if (more > session.terms.limit) {
      this.must(session.hosts[0], { kind: 'channel.close', owner: this.who(session.owner).id, number: 0, session: session.number })
      return
    }
    session.amount = more
    // All have signed, most of the time: then whoever comes first ends it, or the owner does when nobody comes.
    if (this.chance(25)) {
      const by = this.pick([...session.hosts, session.owner])
      return this.must(by, { kind: 'channel.end', ...this.ending(session.owner, session.number, session.terms, more, by, false) })
    }
    this.must(this.pick(session.hosts), { kind: 'channel.settle', ...this.voucher(session.owner, session.number, session.terms, more, this.chance(40), false) })
  }

  // Auditors.

  /** Claims that `name` has been drawn for. */
  seatsOf(
    name: string,
  ): { id: Uint8Array; truth: Uint8Array; reportsFromMs: number; endsMs: number; committed: boolean; reported: boolean; commitments: Uint8Array[] }[] {
    const me = hex(this.who(name).id)
    return this.chain.state.entries().flatMap(([key, record]) => {
      const [kind, id] = key.split('/')
      if (kind !== 'claim' && kind !== 'session') return []
      const { auditing } = record as Claim
      const seat = auditing.phase === 'drawn' ? auditing.audits.find((audit) => hex(audit.auditor) === me) : undefined
      if (!seat) return []
      const truth = kind === 'claim' ? (record as Claim).answer : (record as unknown as { receipt: Uint8Array }).receipt
      const commitments = auditing.audits.flatMap((audit) => (audit.commitment && hex(audit.auditor) !== me ? [audit.commitment] : []))
      const { reportsFromMs, endsMs } = auditing
      return [
        {
          id: Uint8Array.from(Buffer.from(id, 'hex')),
          truth,
          reportsFromMs,
          endsMs,
          committed: seat.commitment !== null,
          reported: seat.answer !== null,
          commitments,
        },
      ]
    })
  }

  audit(name: string): void {
    for (const seat of this.seatsOf(name)) {
      const key = `${name} ${hex(seat.id)}`
      if (!seat.committed && this.timeMs < seat.reportsFromMs) {
        const leaves = [new Uint8Array(hashTagged('sim-leaf', seat.id))]
        const report = { claim: seat.id, answer: seat.truth, leaves, salt: this.word() }
        this.reports.set(key, report)
        this.must(name, { kind: 'audit.commit', claim: seat.id, commitment: auditCommitmentOf(this.name, seat.id, this.who(name).id, report) })
      } else if (seat.committed && !seat.reported && this.timeMs >= seat.reportsFromMs && this.timeMs < seat.endsMs) {
        const report = this.reports.get(key)
        if (report) this.must(name, { kind: 'audit.report', ...report })
      }
    }
  }

  claimPaid(): void {
    for (const job of [...this.jobs]) {
      const record = this.chain.state.get(keyOf.job(job.id))
      if (!record) this.jobs.splice(this.jobs.indexOf(job), 1)
      else if (record.claim) {
        const claim = this.chain.state.must(keyOf.claim(record.claim))
        const waiting = claim.auditing.phase === 'waiting' || claim.auditing.phase === 'drawn'
        if (this.timeMs >= claim.finalMs && !waiting && claim.disputes === 0) this.must(this.pick(honest.hosts), { kind: 'job.claim', job: job.id })
      } else if (this.timeMs >= record.deadlineMs) this.must(this.pick(honest.requesters), { kind: 'job.expire', job: job.id })
    }
  }

  // Cheats.

  cheat(name: string): void {
    const me = this.who(name)
    const job = this.jobs.length > 0 ? this.pick(this.jobs) : undefined
    switch (name) {
      case 'doubleSpender': {
        const { balance } = this.account(name)
        if (balance < credit) return
        const pay = (to: string): Body => ({ kind: 'transfer', to: this.who(to).id, amount: balance / 2n, note: new Uint8Array(0) })
        const twice = this.sign(name, pay('hugo'))
        this.must(name, pay('hana'))
        return this.foil('doubleSpender spends the same money twice', twice, 'nonce')
      }
      case 'overdrafter': {
        const channel = this.chain.state.get(keyOf.channel(me.id, 0))
        if (!channel) return
        const terms = { model: this.model, hosts: [{ account: this.who('hana').id, from: 0, to: 4 }], limit: channel.deposit + 1n, untilMs: this.timeMs + hour }
        const number = 1_000_000 + (this.random() % 1_000_000)
        const body: Body = { kind: 'channel.settle', ...this.voucher(name, number, terms, credit / 10n, true) }
        return this.foil('overdrafter promises more than the channel holds', this.sign('hana', body), 'balance')
      }
      case 'withholder':
        if (job && this.commit(name, job) && !this.foiled.has('withholder commits and never reveals')) {
          this.foiled.set('withholder commits and never reveals', 1)
          this.tell('withholder commits to a job and will never reveal; others may still answer')
        }
        return
      case 'copycat':
        for (const one of this.jobs) {
          const record = this.chain.state.get(keyOf.job(one.id))
          const other = this.chain.state.get(keyOf.commit(one.id, this.who('hana').id))
          const mine = this.chain.state.get(keyOf.commit(one.id, me.id))
          const account = this.account(name)
          if (!record || record.claim || this.timeMs >= record.deadlineMs) continue
          if (!mine && other && account.stake - account.locked > 14n * credit)
            this.must(name, { kind: 'job.commit', job: one.id, commitment: other.commitment })
          // It has even learnt the answer and hana's nonce.
          if (mine && mine.height < this.chain.height && this.timeMs < mine.untilMs)
            this.foil('copycat reveals what it copied', this.sign(name, this.revealBody('hana', one.id)), 'proof')
        }
        return
      case 'copyAuditor':
        for (const seat of this.seatsOf(name)) {
          if (!seat.committed && seat.commitments.length > 0 && this.timeMs < seat.reportsFromMs)
            this.must(name, { kind: 'audit.commit', claim: seat.id, commitment: seat.commitments[0] })
          else if (seat.committed && !seat.reported && this.timeMs >= seat.reportsFromMs && this.timeMs < seat.endsMs) {
            const copied = [...this.reports.entries()].find(([key]) => key.endsWith(hex(seat.id)))?.[1]
            if (copied) this.foil('copyAuditor shows the report of another', this.sign(name, { kind: 'audit.report', ...copied }), 'proof')
          }
        }
        return
      case 'dealer':
        if (this.chance(50)) return this.openSession('dealer', ['dealerHost'])
        return
      case 'replayer':
        if (this.seen.length > 0) this.foil('replayer sends an old transaction again', this.pick(this.seen), 'nonce')
        return
      case 'thief': {
        const body: Body = { kind: 'transfer', to: me.id, amount: credit, note: new Uint8Array(0) }
        this.foil("thief signs for somebody else's account", this.forge(this.pick(honest.hosts), name, body), 'signature')
        const session = this.sessions[0]
        if (!session) return
        const more = session.amount + credit / 10n
        if (more > session.terms.limit) return
        const forged = { ...this.voucher(name, session.number, session.terms, more, true, false), owner: this.who(session.owner).id }
        const open = this.chain.state.get(keyOf.session(sessionIdOf(this.name, this.who(session.owner).id, 0, session.number)))
        if (open?.open && this.timeMs < open.untilMs)
          this.foil('a host shows a voucher that nobody signed', this.sign(session.hosts[0], { kind: 'channel.settle', ...forged }), 'signature')
        if (open?.open && this.timeMs < open.closesMs) this.cutOff(session, more)
        return
      }
      default:
    }
  }

  /** Requester and one host end a session below the voucher of the others, whose word they lack or have about another amount. */
  private cutOff({ owner, number, terms, hosts }: OpenSession, amount: bigint): void {
    const [host, other] = hosts
    if (!other) return
    const end = (ends: Uint8Array[]): Uint8Array => this.sign(host, { kind: 'channel.end', ...this.ending(owner, number, terms, amount, host, false), ends })
    this.foil('requester and host end a session without the others', end([]), 'range')
    this.foil('requester and host sign for the others', end(this.ending(owner, number, terms, amount, host, false, [host]).ends), 'signature')
    this.foil('requester and host show a word about another amount', end(this.ending(owner, number, terms, amount + 1n, host, false).ends), 'signature')
  }

  /** A transaction from `victim`'s account signed by another. */
  private forge(victim: string, by: string, body: Body): Uint8Array {
    const good = this.sign(victim, body)
    return join([good.subarray(0, good.length - 64), this.signTagged(by, 'transaction', join([this.name, good.subarray(0, good.length - 64)]))])
  }

  /** All that a party has, wherever it lies. */
  wealth(...names: string[]): bigint {
    const ids = new Set(names.map((name) => hex(this.who(name).id)))
    let sum = 0n
    for (const [key, record] of this.chain.state.entries()) {
      const [kind, id] = key.split('/')
      if (kind === 'account' && ids.has(id)) sum += (record as { balance: bigint }).balance + (record as { stake: bigint }).stake
      if (kind === 'channel' && ids.has(id)) sum += (record as { deposit: bigint }).deposit
      if (kind === 'unbonding' && ids.has(id)) sum += (record as { amount: bigint }).amount
      if (kind === 'session' && ids.has(hex((record as { owner: Uint8Array }).owner))) sum += (record as { reserved: bigint }).reserved
    }
    return sum
  }
}
