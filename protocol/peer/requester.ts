// The asking half of a peer: its questions, and what it remembers of hosts.
import { Asking } from './asking.ts'
import type { Context } from './context.ts'
import { Health } from './health.ts'
import type { Links } from './links.ts'
import type { ModelFacts, PeerKey, Question } from './machine.ts'
import type { Message } from './messages.ts'
import type { Paying } from './paying.ts'
import type { Payer } from './payment.ts'
import { sessionName } from './receipt.ts'

/** What hosts have to say after an answer has ended: a round trip and a write. */
const afterMs = 3000

export class Requester {
  readonly health: Health
  private readonly askings = new Map<string, Asking>()
  /** Paid sessions of answers that are over, until their hosts have said so too. */
  private readonly ending = new Map<string, { paying: Paying; until: number }>()
  private count = 0
  private readonly ctx: Context
  private readonly links: Links

  constructor(ctx: Context, links: Links) {
    this.ctx = ctx
    this.links = links
    this.health = new Health(ctx, links)
  }

  ask(ask: number, question: Question, facts: ModelFacts, draft: boolean, payer: Payer | null = null): void {
    const session = sessionName(this.ctx.self, this.ctx.seed, this.count++)
    const capped = { ...question, maxTokens: Math.min(question.maxTokens, facts.context) }
    const asking = new Asking({ ask, question: capped, facts, draft, session, payer }, this.ctx, this.links, this.health)
    if (asking.state !== 'done') this.askings.set(session, asking)
  }

  cancel(ask: number): void {
    for (const asking of this.askings.values()) if (asking.plan.ask === ask) asking.cancel()
  }

  /** Returns whether the message was for a requester. */
  message(peer: PeerKey, message: Message): boolean {
    if (!('session' in message)) return false
    const asking = this.askings.get(message.session)
    switch (message.kind) {
      case 'opened':
        asking?.opened(peer, message)
        return true
      case 'refused':
        asking?.refused(peer, message)
        return true
      case 'trouble':
        asking?.trouble(peer, message)
        return true
      case 'progress':
        asking?.progress(peer, message)
        return true
      case 'receipt':
        asking?.receipt(peer, message)
        return true
      case 'probed':
        asking?.probed(peer, message)
        return true
      case 'vouched':
        asking?.vouched(peer, message)
        return true
      case 'claim':
        asking?.claim(peer, message)
        return true
      case 'end': {
        const paying = asking?.purse ?? this.ending.get(message.session)?.paying
        if (paying && !paying.end(peer, message)) this.links.strike(peer, 'ends a paid session wrongly')
        return true
      }
      case 'tokens':
        // The first host hears this too, and may be this very peer.
        asking?.took(peer, message)
        return false
      case 'nack':
        asking?.nack(peer, message)
        return false
      default:
        return false
    }
  }

  /** Whether a question that runs is answered by this host. */
  needs(peer: PeerKey): boolean {
    for (const asking of this.askings.values()) if (asking.needs(peer)) return true
    return false
  }

  up(peer: PeerKey): void {
    for (const asking of this.askings.values()) asking.up(peer)
  }

  down(peer: PeerKey, why: string): void {
    for (const asking of this.askings.values()) asking.down(peer, why)
  }

  overslept(): void {
    for (const asking of this.askings.values()) asking.overslept()
  }

  tick(): void {
    for (const [session, asking] of this.askings) {
      asking.tick()
      if (asking.state !== 'done') continue
      this.askings.delete(session)
      if (asking.purse) this.ending.set(session, { paying: asking.purse, until: this.ctx.now + afterMs })
    }
    for (const [session, { paying, until }] of this.ending) if (paying.isOver || this.ctx.now >= until) this.ending.delete(session)
  }

  wakeAt(): number {
    let at = Infinity
    for (const asking of this.askings.values()) at = Math.min(at, asking.wakeAt())
    for (const { until } of this.ending.values()) at = Math.min(at, until)
    return at
  }
}
