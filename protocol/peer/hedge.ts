// The race against a late host (swarm.md g): when a round takes far longer than usual, all hosts of the ring are asked how far they are; a second holder of the late one's
// layers is brought up beside it, from outputs that the host before it has logged. Whoever is there first wins: a token from the late host ends the race, a second holder
// that has caught up takes its place by an ordinary repair. Tokens are taken of one epoch only, so nothing is counted twice. Not more than one at a time, and few an answer.
import type { Context } from './context.ts'
import type { Links } from './links.ts'
import type { PeerKey } from './machine.ts'
import type { MessageOf } from './messages.ts'
import type { Holder } from './routing.ts'

/** A round is late after this, or after twice the usual one and four times its deviation. */
const lateMsLeast = 250
/** Answers to a probe: two round trips, and a little. */
const graceMs = 50
const rttUnknownMs = 150
/** Longer is no race any more. */
const raceMsMax = 8000
/** The deadline of a round waits this long for a second holder that has said something. */
const hopeMsMax = 2000
/** Races of an answer: one, and one more for so many tokens. Each costs at most the rows of the text so far. */
const tokensPerRace = 32

/** The ring as it runs, and what the race needs of the question. */
export interface Racing {
  epoch: number
  chain: readonly Holder[]
  /** Tokens known, prompt included. */
  known: number
  answered: number
  tokenAt: number
  roundMs: number | null
  /** The best host that may take the place of the chain's host number `index`; null when there is none. */
  second(index: number): Holder | null
  /** Sends the open of a chain. */
  sayOpen(peer: PeerKey, chain: readonly Holder[], epoch: number): void
  /** Sends tokens [0, upto) to a first host. */
  sayTokens(peer: PeerKey, epoch: number, upto: number): void
}

interface Race {
  /** The ring with the second holder in it. */
  chain: Holder[]
  late: PeerKey
  spare: Holder
  before: PeerKey | null
  epoch: number
  /** Rows it must have to take over. */
  upto: number
  since: number
  until: number
  said: boolean
  opened: boolean
  /** Rows it has computed. */
  position: number
}

const isReady = (race: Race): boolean => race.opened && race.position >= race.upto

export class Hedge {
  /** Of the newest race; the next ring must be newer. */
  epoch = 0
  private probedAt: number | null = null
  private readonly positions = new Map<PeerKey, number>()
  private race: Race | null = null
  private races = 0
  private deviationMs = 0
  /** Late rounds in a row. */
  private lateRounds = 0
  /** What a late round is, as it was when the race began. */
  private lateMs = Infinity
  private readonly session: string
  private readonly ctx: Context
  private readonly links: Links

  constructor(session: string, ctx: Context, links: Links) {
    this.session = session
    this.ctx = ctx
    this.links = links
  }

  /** A ring begins to run. */
  began(): void {
    this.probedAt = null
    this.lateRounds = 0
  }

  /** A round has ended. Ends the race when it was as quick as usual. */
  round(ms: number, roundMs: number | null): void {
    this.probedAt = null
    if (roundMs !== null) this.deviationMs = this.deviationMs * 0.8 + Math.abs(ms - roundMs) * 0.2
    this.lateRounds = ms > this.lateMs ? this.lateRounds + 1 : 0
    if (this.lateRounds === 0) this.end([])
  }

  /** Returns the chain to go on with when the second holder has won. */
  tick(racing: Racing): { chain: Holder[]; late: PeerKey } | null {
    const { now } = this.ctx
    const { race } = this
    if (race && race.until <= now) this.end([])
    if (race && isReady(race) && (now - racing.tokenAt > this.lateMs || this.lateRounds > 1)) return this.won()
    if (racing.roundMs === null || this.race) return null
    if (this.probedAt === null) {
      this.lateMs = this.lateOf(racing.roundMs)
      if (now - racing.tokenAt < this.lateMs || this.races > racing.answered / tokensPerRace) return null
      this.probedAt = now
      this.positions.clear()
      for (const { peer } of racing.chain) if (this.links.isUp(peer)) this.ctx.send(peer, { kind: 'probe', session: this.session, epoch: racing.epoch })
    }
    if (this.probedAt < Infinity && (this.positions.size === racing.chain.length || now >= this.probedAt + this.graceOf(racing.chain))) {
      // Once a round.
      this.probedAt = Infinity
      this.begin(racing)
    }
    return null
  }

  wakeAt(racing: Racing): number {
    if (this.race) return Math.min(this.race.until, isReady(this.race) ? racing.tokenAt + this.lateMs + 0.001 : Infinity)
    if (racing.roundMs === null || this.races > racing.answered / tokensPerRace) return Infinity
    return this.probedAt === null ? racing.tokenAt + this.lateOf(racing.roundMs) : this.probedAt + this.graceOf(racing.chain)
  }

  probed(peer: PeerKey, message: MessageOf<'probed'>, racing: Racing): void {
    if (message.epoch === racing.epoch && this.probedAt !== null && racing.chain.some((one) => one.peer === peer)) this.positions.set(peer, message.position)
  }

  needs(peer: PeerKey): boolean {
    return this.race?.spare.peer === peer
  }

  up(peer: PeerKey, racing: Racing): void {
    if (this.race?.spare.peer === peer) this.say(this.race, racing)
  }

  /** Whether that was about the race. */
  opened(peer: PeerKey, message: { epoch: number }): boolean {
    if (!this.isOfRace(peer, message)) return false
    this.race!.opened = true
    return true
  }

  progress(peer: PeerKey, message: { epoch: number; position: number }): boolean {
    if (!this.isOfRace(peer, message)) return false
    this.race!.position = message.position
    return true
  }

  /** It says no, or cannot. */
  dropped(peer: PeerKey, message: { epoch: number }): boolean {
    if (!this.isOfRace(peer, message)) return false
    this.race = null
    return true
  }

  down(peer: PeerKey): void {
    if (this.race?.spare.peer === peer || this.race?.before === peer) this.end([])
  }

  /** Time is up for the round: the second holder, as far as it has come, is better than waking the ring that hangs. */
  won(): { chain: Holder[]; late: PeerKey } | null {
    const { race } = this
    return race?.opened ? { chain: race.chain, late: race.late } : null
  }

  /** Until when a second holder on its way is worth waiting for; 0 when there is none. */
  get hopeUntil(): number {
    const { race } = this
    return race && this.links.heardAt(race.spare.peer) >= race.since ? race.since + hopeMsMax : 0
  }

  /** Ends the race. Returns the second holder when it stays, with its rows. */
  end(staying: readonly PeerKey[]): PeerKey | null {
    const { race } = this
    this.race = null
    if (!race?.said) return null
    const { peer } = race.spare
    if (staying.includes(peer)) return race.opened ? peer : null
    if (this.links.isUp(peer)) this.ctx.send(peer, { kind: 'close', session: this.session, epoch: race.epoch, committed: 0, receipt: false, ending: null })
    return null
  }

  private lateOf(roundMs: number): number {
    return Math.max(lateMsLeast, roundMs * 2 + this.deviationMs * 4)
  }

  private graceOf(chain: readonly Holder[]): number {
    return graceMs + 2 * Math.max(...chain.map((one) => this.links.rttMs(one.peer) ?? rttUnknownMs))
  }

  private isOfRace(peer: PeerKey, message: { epoch: number }): boolean {
    return this.race?.spare.peer === peer && this.race.epoch === message.epoch
  }

  /** The first host that lags, or says nothing, is the late one. */
  private begin(racing: Racing): void {
    const { chain, known } = racing
    const index = chain.findIndex((one) => (this.positions.get(one.peer) ?? -1) < known)
    const spare = index < 0 ? null : racing.second(index)
    if (!spare) return
    this.races++
    this.epoch = Math.max(this.epoch, racing.epoch) + 1
    const late = chain[index].peer
    this.race = {
      chain: chain.map((one, i) => (i === index ? spare : one)),
      late,
      spare,
      before: index > 0 ? chain[index - 1].peer : null,
      epoch: this.epoch,
      upto: known - 1,
      since: this.ctx.now,
      until: this.ctx.now + raceMsMax,
      said: false,
      opened: false,
      position: 0,
    }
    // Both ends dial at the same time.
    const { session } = this
    const { peer: to, addresses } = spare
    if (index > 0) this.ctx.send(this.race.before!, { kind: 'feed', session, epoch: racing.epoch, to, addresses, standby: this.epoch, upto: known - 1 })
    if (this.links.want(to, addresses)) this.say(this.race, racing)
  }

  /** It need not wait for its word: what comes before its seat stands is kept, or dropped with a refusal. */
  private say(race: Race, racing: Racing): void {
    if (race.said) return
    race.said = true
    const { peer } = race.spare
    racing.sayOpen(peer, race.chain, race.epoch)
    this.ctx.send(peer, { kind: 'resume', session: this.session, epoch: race.epoch, keep: 0, replayFrom: race.upto, committed: race.upto + 1 })
    if (!race.before) racing.sayTokens(peer, race.epoch, race.upto)
  }
}
