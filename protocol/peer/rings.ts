// The rings that one question may take: whole ones, and the ring that runs with others in the place of lost hosts. Those are tried first in whom this peer trusts most.
import type { Context } from './context.ts'
import { type Health, type Trust, trusts } from './health.ts'
import type { ModelFacts, PeerKey } from './machine.ts'
import type { Payer } from './payment.ts'
import type { Presence } from './presence.ts'
import { bestPaths, choosePath, delays, type Holder, holdersFor, type Knowledge, type Path } from './routing.ts'

export class Rings {
  private readonly facts: ModelFacts
  private readonly ctx: Context
  private readonly health: Health
  private readonly hosts: () => Presence[]
  private readonly standingOf: Payer['standing'] | null

  /** `hosts`: whom the question may ask now. Who pays also knows what the ledger says of hosts. */
  constructor(facts: ModelFacts, ctx: Context, health: Health, payer: Payer | null, hosts: () => Presence[]) {
    this.facts = facts
    this.ctx = ctx
    this.health = health
    this.hosts = hosts
    this.standingOf = payer && ((account) => payer.standing(account))
  }

  /** Whether there is any host at all, however little it is trusted. */
  get anybody(): boolean {
    return holdersFor(this.facts, this.hosts(), this.known('any')).length > 0
  }

  /** Whether these hosts make a ring that may be trusted. */
  isRing(presences: readonly Presence[]): boolean {
    return this.among(presences, this.known('well')).length > 0
  }

  /** A ring from nothing; null when there is none now. */
  fresh(): Path | null {
    for (const trust of trusts) {
      const path = this.whole(this.known(trust))
      if (path) return path
    }
    return null
  }

  /** The ring without `lost`, others in their place (with nobody lost, the ring itself), else a whole other one. `turnMs`: of the ring that runs. */
  without(chain: readonly Holder[], lost: readonly PeerKey[], turnMs: number): Path | null {
    for (const trust of trusts) {
      const known = this.known(trust)
      const hosts = this.filled(chain, new Set(lost), known)
      const path = hosts ? { hosts, ms: turnMs } : this.whole(known)
      if (path) return path
    }
    return null
  }

  /** The best host that may take the place of the chain's host number `index`; null when there is none. */
  second(chain: readonly Holder[], index: number): Holder | null {
    const ring = this.filled(chain, new Set([chain[index].peer]), this.known('well'))
    return ring?.length === chain.length ? ring[index] : null
  }

  /** What is known of hosts, for one kind of route. Whose claim fell on the ledger serves only where nobody else is left. */
  private known(trust: Trust): Knowledge {
    const known = this.health.trusting(trust)
    const { standingOf } = this
    if (!standingOf) return known
    const standing = (peer: PeerKey) => {
      const account = this.ctx.table.get(peer)?.pay?.account
      return account === undefined ? null : standingOf(account)
    }
    return {
      ...known,
      score: (peer) => standing(peer)?.score ?? 0,
      isOut: (peer) => known.isOut(peer) || (trust !== 'any' && (standing(peer)?.lost ?? 0) > 0),
    }
  }

  /** One of the best whole rings. */
  private whole(known: Knowledge): Path | null {
    return choosePath(this.among(this.hosts(), known), (n) => this.ctx.draw(n))
  }

  private among(presences: readonly Presence[], known: Knowledge): Path[] {
    const span = { from: 0, to: this.facts.layers, before: null, after: null }
    return bestPaths(span, holdersFor(this.facts, presences, known), delays(presences, known), known, (n) => this.ctx.draw(n))
  }

  /** The chain with each run of lost hosts replaced by the best way through its gap; null when a gap cannot be filled. */
  private filled(chain: readonly Holder[], lost: ReadonlySet<PeerKey>, known: Knowledge): Holder[] | null {
    const presences = this.hosts()
    const staying = chain.filter((one) => !lost.has(one.peer))
    if (staying.length === 0) return null
    const free = holdersFor(this.facts, presences, known).filter((h) => !lost.has(h.peer) && !staying.some((one) => one.peer === h.peer))
    const delay = delays(presences, known)
    const out: Holder[] = []
    for (let i = 0; i < chain.length; ) {
      if (!lost.has(chain[i].peer)) {
        out.push(chain[i++])
        continue
      }
      let end = i
      while (end < chain.length && lost.has(chain[end].peer)) end++
      const span = { from: chain[i].from, to: chain[end - 1].to, before: out.at(-1)?.peer ?? chain.at(-1)!.peer, after: chain[end]?.peer ?? chain[0].peer }
      const [path] = bestPaths(span, free, delay, known, (n) => this.ctx.draw(n))
      if (!path) return null
      out.push(...path.hosts)
      for (const host of path.hosts) free.splice(free.indexOf(host), 1)
      i = end
    }
    return out
  }
}
