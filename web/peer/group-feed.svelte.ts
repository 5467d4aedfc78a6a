// A private group's swarm, live, in the form of SwarmFeed: the relay knows nothing of groups, so the page joins as a member that only looks, and makes the table from what
// the others tell of themselves.
import { untrack } from 'svelte'
import { type KnownModel, swarmTable } from '../../mesh/swarm.ts'
import { decodeManifest } from '../../protocol/model/identity.ts'
import { factsOf } from '../../protocol/peer/facts.ts'
import type { FeedStatus } from '../ui/live-feed.svelte.ts'
import { Mesh } from './mesh.svelte.ts'
import { parseOffers } from './offers.ts'
import { parseSnapshot, type Snapshot } from './snapshot.ts'

/** The table is made anew so often. */
const lookMs = 1000
/** Members renew what they say every 5 s: before that, nobody heard does not mean nobody there. */
const settledMs = 6000
/** Sizes are asked for of so many models. */
const modelsMax = 16

export class GroupFeed {
  snapshot = $state.raw<Snapshot | null>(null)
  status = $state<FeedStatus>('connecting')
  private readonly invitation: string
  private readonly mesh = new Mesh()
  private known: KnownModel[] = []
  private joinedAt = 0

  /** `invitation`: 32 hex digits. */
  constructor(invitation: string) {
    this.invitation = invitation
  }

  /** Joins and looks; returns the function that stops and leaves. */
  watch(): () => void {
    const leaving = new AbortController()
    // What it reads is no reason for the caller's effect to begin anew.
    untrack(() => void this.look(leaving.signal))
    const goodbye = (): void => this.mesh.goodbye()
    addEventListener('pagehide', goodbye, { signal: leaving.signal })
    return () => {
      leaving.abort()
      void this.mesh.leave()
    }
  }

  private async look(signal: AbortSignal): Promise<void> {
    void this.learn().catch(() => {}) // sizes and names are missing then, not hosts
    while (!signal.aborted) {
      const { mesh } = this
      try {
        if (mesh.status !== 'in') {
          await mesh.join({ invitation: this.invitation })
          this.joinedAt = performance.now()
        }
        const reached = mesh.reached || mesh.connected.length > 0
        const heard = mesh.heard()
        const settled = heard.length > 0 || performance.now() - this.joinedAt > settledMs
        this.status = reached && settled ? 'live' : this.snapshot ? 'away' : 'connecting'
        if (reached && settled) this.snapshot = parseSnapshot({ ...swarmTable('private group', heard, this.known), peers: heard.length })
      } catch {
        this.status = 'away'
      }
      await new Promise((resolve) => setTimeout(resolve, lookMs))
    }
  }

  /** Names and sizes of what the relay offers: a group lends the same models. */
  private async learn(): Promise<void> {
    const offers = parseOffers(await (await fetch('/models', { headers: { accept: 'application/json' } })).json())
    for (const { id, title } of offers.slice(0, modelsMax)) {
      const response = await fetch(`/models/${id}/manifest`)
      if (!response.ok) continue
      this.known = [...this.known, { facts: factsOf(decodeManifest(new Uint8Array(await response.arrayBuffer())), id), title }]
    }
  }
}
