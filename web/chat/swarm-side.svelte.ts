// What the chat page knows of the swarm, and its way to ask it. Nothing here runs, connects or loads before the person chooses the swarm.

import { swarmTable } from '../../mesh/swarm.ts'
import { Mesh } from '../peer/mesh.svelte.ts'
import { invitationOf } from '../peer/mesh-config.ts'
import { payments } from '../peer/payments.svelte.ts'
import { type MeshPort, Requester } from '../peer/requester.svelte.ts'
import { type ModelRow, parseSnapshot } from '../peer/snapshot.ts'
import { SwarmFeed } from '../peer/swarm-feed.svelte.ts'
import { verdictOf } from '../peer/verdict.ts'
import { Words } from '../peer/words.ts'

/** A group's table is looked at so often. */
const groupMs = 1000

/** A relay on the same machine answers in 0.3 s, one across an ocean in 2 s. */
const joinMsMax = 12_000

export class SwarmSide {
  readonly feed = new SwarmFeed()
  readonly mesh: Mesh
  /** Secret of the private group that this page's link names, or null. */
  invitation = $state<string | null>(null)
  private group = $state.raw<{ problem: string; models: ModelRow[] } | null>(null)
  /** What a model is called here, '' when it is not known. */
  titleOf: (modelId: string) => string = () => ''
  private stopWatching: (() => void) | null = null
  private seat: { words: Words; requester: Requester } | null = null
  private joinedAt = 0
  private readonly storage: boolean

  /** `storage` false: nothing is kept or looked for in this browser (embed). */
  constructor(invitation: string | null = invitationOf(location.hash), mesh = new Mesh(), storage = true) {
    this.invitation = invitation
    this.mesh = mesh
    this.storage = storage
  }

  /** Starts or stops looking at what the swarm, or the group, can run. */
  watch(on: boolean): void {
    this.stopWatching?.()
    this.stopWatching = on ? (this.invitation === null ? this.feed.watch() : this.watchGroup()) : null
  }

  /** The relay knows nothing of groups: their table is made from what members tell this page itself. */
  private watchGroup(): () => void {
    const leaving = new AbortController()
    const look = (): void => {
      const snapshot = parseSnapshot(swarmTable('group', this.mesh.heard(), []))!
      this.group = { problem: '', models: snapshot.models.map((model) => ({ ...model, title: this.titleOf(model.id) || model.title })) }
    }
    const attempt = async (): Promise<void> => {
      while (!leaving.signal.aborted) {
        try {
          await this.join(leaving.signal)
          look()
        } catch (error) {
          if (!leaving.signal.aborted) this.group = { problem: (error as Error).message, models: [] }
        }
        await new Promise((resolve) => setTimeout(resolve, groupMs))
      }
    }
    void attempt()
    return () => {
      leaving.abort()
      this.group = null
    }
  }

  /** Models that are known in the swarm, runnable or not. */
  get models(): ModelRow[] {
    return (this.invitation === null ? this.feed.snapshot?.models : this.group?.models) ?? []
  }

  model(id: string | null): ModelRow | null {
    return this.models.find((model) => model.id === id) ?? null
  }

  /** The same in two or three words, for those who hear it: speeds and places change all the time, this does not. */
  stateLabel(modelId: string | null): string {
    const model = this.model(modelId) ?? this.models[0]
    return model && this.feed.status !== 'away' ? `${verdictOf(model).label}.` : this.stateText(modelId)
  }

  /** Whether a question can be answered now, in a sentence. */
  stateText(modelId: string | null): string {
    if (this.invitation !== null) {
      const { group } = this
      if (!group) return 'Joining your private group…'
      if (group.problem) return group.problem
      const model = this.model(modelId) ?? group.models[0]
      return model ? `Your private group: ${verdictOf(model).text}` : 'No member of your private group lends a device right now.'
    }
    const { status, snapshot } = this.feed
    if (status === 'none') return 'This relay keeps no swarm.'
    if (status === 'away') return snapshot ? 'The relay is away. Trying again…' : 'The relay cannot be reached. Trying again…'
    if (!snapshot) return 'Looking for the swarm…'
    // Nothing runs: what the likeliest model lacks says more than that nothing does.
    const model = this.model(modelId) ?? snapshot.models[0]
    return model ? verdictOf(model).text : 'No model is known here yet.'
  }

  get requester(): Requester {
    this.seat ??= this.open()
    return this.seat.requester
  }

  get words(): Words {
    this.seat ??= this.open()
    return this.seat.words
  }

  private open(): { words: Words; requester: Requester } {
    const words = new Words(new Worker(new URL('../workers/words.worker.ts', import.meta.url), { type: 'module', name: 'meadow-words' }), this.storage)
    const port: MeshPort = {
      join: (signal) => this.join(signal),
      joinedMs: () => performance.now() - this.joinedAt,
      heard: () => this.mesh.heard(),
      // A cancel that comes after the page left the mesh has nobody to tell.
      command: (event) => (this.mesh.status === 'in' ? this.mesh.command(event) : undefined),
      subscribe: (listener) => this.mesh.subscribe(listener),
    }
    return { words, requester: new Requester(port, words, this.storage ? payments : null) }
  }

  /** Part of the mesh, with a relay or a peer in reach. */
  private async join(signal: AbortSignal): Promise<void> {
    const { mesh } = this
    if (mesh.status !== 'in') {
      await mesh.join({ invitation: this.invitation })
      this.joinedAt = performance.now()
    }
    const until = performance.now() + joinMsMax
    while (!mesh.reached && mesh.connected.length === 0) {
      signal.throwIfAborted()
      if (performance.now() > until)
        throw new Error('No relay of the mesh can be reached, and no peer either. Your question is kept: try again, or answer on this device.')
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }

  /** Another group, or the open swarm with null: the page leaves one and joins the other with its next question. */
  async setInvitation(invitation: string | null): Promise<void> {
    if (invitation === this.invitation) return
    this.invitation = invitation
    this.watch(false)
    await this.mesh.leave()
  }

  /** Makes ready what the first question would wait for. */
  prepare(modelId: string): void {
    this.requester.prepare(modelId, AbortSignal.timeout(joinMsMax)).catch(() => {}) // the question that follows says why
  }

  /** For `pagehide`: hosts free their places at once. */
  goodbye(): void {
    if (this.mesh.status === 'in') this.mesh.goodbye()
  }
}
