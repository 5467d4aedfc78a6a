// What the parts of one peer share within a step: who it is, the time of the event, where actions go.
import { random } from '../engine/specimen.ts'
import { hex } from '../hash.ts'
import { publicKeyOf } from '../keys.ts'
import type { Notice, PeerAction, PeerKey, PeerOptions } from './machine.ts'
import type { Message } from './messages.ts'
import { encodeMessage } from './messages.ts'
import { networkOf, PresenceTable } from './presence.ts'

export class Context {
  readonly self: PeerKey
  readonly secret: Uint8Array
  readonly seed: Uint8Array
  readonly boot: number
  readonly invitation: Uint8Array | null
  readonly tells: boolean
  readonly linksMax: number
  readonly earnings: NonNullable<PeerOptions['earnings']>
  readonly table: PresenceTable
  /** Time of the event being handled, monotonic milliseconds. */
  now = 0
  private actions: PeerAction[] = []
  /** Messages to oneself: a requester may use the host of its own peer. */
  private own: Message[] = []
  private readonly next: () => number
  private jobs = 0

  constructor(options: PeerOptions) {
    this.secret = options.secret
    this.seed = options.seed
    this.boot = options.boot
    this.self = hex(publicKeyOf(options.secret))
    this.invitation = options.invitation ?? null
    this.tells = options.tellsPresence ?? false
    this.linksMax = options.linksMax ?? Infinity
    this.earnings = options.earnings ?? { payee: null }
    this.table = new PresenceTable(networkOf(this.invitation))
    this.next = random(new DataView(options.seed.buffer, options.seed.byteOffset).getUint32(0, true))
  }

  /** An integer in [0, below). */
  draw(below: number): number {
    return Math.floor((this.next() / 4294967296) * below)
  }

  jobNumber(): number {
    return ++this.jobs
  }

  act(action: PeerAction): void {
    this.actions.push(action)
  }

  notice(notice: Notice): void {
    this.actions.push({ kind: 'notice', notice })
  }

  send(peer: PeerKey, message: Message): void {
    if (peer === this.self) this.own.push(message)
    else this.actions.push({ kind: 'send', peer, bytes: encodeMessage(message) })
  }

  takeOwn(): Message | undefined {
    return this.own.shift()
  }

  get hasOwn(): boolean {
    return this.own.length > 0
  }

  takeActions(): PeerAction[] {
    const taken = this.actions
    this.actions = []
    return taken
  }
}
