// Logged outputs sent to a second holder of the next layers, beside the session that goes on (hedge.ts). Asked for by the session's requester alone, one at a time, and
// never more than two chunks ahead of what the receiver says it has computed.
import { chunkRowsMax } from '../limits.ts'
import type { Context } from './context.ts'
import type { Links } from './links.ts'
import type { PeerKey } from './machine.ts'
import type { MessageOf } from './messages.ts'
import type { Seat } from './seat.ts'

interface Feed {
  seat: Seat
  to: PeerKey
  epoch: number
  sent: number
  taken: number
  upto: number
}

export class Feeds {
  private readonly feeds = new Map<string, Feed>()
  private readonly ctx: Context
  private readonly links: Links

  constructor(ctx: Context, links: Links) {
    this.ctx = ctx
    this.links = links
  }

  /** A log that does not reach back to the first row cannot bring anyone up: the requester hears nothing, and repairs in the ordinary way. */
  begin(seat: Seat, { to, addresses, standby, upto }: MessageOf<'feed'>): void {
    if (to === this.ctx.self || seat.last || seat.logFrom > 0 || upto > seat.kept || standby <= seat.epoch) return
    const feed = { seat, to, epoch: standby, sent: 0, taken: 0, upto }
    this.feeds.set(seat.session, feed)
    if (this.links.want(to, addresses)) this.pump(feed)
  }

  up(peer: PeerKey): void {
    for (const feed of this.feeds.values()) if (feed.to === peer) this.pump(feed)
  }

  /** Whether that was about a feed. */
  taken(peer: PeerKey, { session, epoch, position }: MessageOf<'taken'>): boolean {
    const feed = this.feeds.get(session)
    if (feed?.to !== peer || feed.epoch !== epoch) return false
    // It has only just begun: what was sent before that is lost.
    if (position === 0) feed.sent = 0
    feed.taken = Math.max(feed.taken, Math.min(position, feed.sent))
    this.pump(feed)
    return true
  }

  end(session: string): void {
    this.feeds.delete(session)
  }

  private pump(feed: Feed): void {
    while (feed.sent < feed.upto && feed.sent - feed.taken < 2 * chunkRowsMax) {
      const rows = feed.seat.rowsAt(feed.sent, feed.upto)
      if (!rows) return this.end(feed.seat.session)
      this.ctx.send(feed.to, { ...rows, epoch: feed.epoch, generation: 0 })
      feed.sent += rows.tokens.length
    }
  }
}
