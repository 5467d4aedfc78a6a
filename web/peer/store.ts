// The store worker as a device that lends sees it: promises instead of messages. One worker serves this and the Library.
import type { HeldModel, LendRequest, StoreReply, StoreRequest } from '../workers/messages.ts'
import type { Channel } from './channel.ts'

export type ShardState = Extract<StoreReply, { kind: 'shard' }>['state']

export class LendStore {
  private readonly channel: Channel<StoreRequest, StoreReply>
  constructor(channel: Channel<StoreRequest, StoreReply>) {
    this.channel = channel
  }

  private call(message: LendRequest, onReply: (reply: StoreReply) => void = () => {}, transfer: Transferable[] = []): Promise<void> {
    const heard = (reply: StoreReply): boolean => {
      onReply(reply)
      return reply.kind === 'done'
    }
    return this.channel.send(message, heard, transfer).ended
  }

  /** Keeps shards from being removed and makes room for them. Resolves with the checked canonical manifest. Throws WorkerError (`quota`, `network`, `relay`, `hash`). */
  async reserve(modelId: string, title: string, shards: number[], capBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    let manifest = new Uint8Array()
    await this.call({ kind: 'reserve', modelId, title, shards, capBytes }, (reply) => {
      if (reply.kind === 'manifest') manifest = reply.manifest
    })
    return manifest
  }

  /** Downloads shards from the relay. Throws WorkerError. */
  fetch(modelId: string, shards: number[], onProgress: (received: number) => void): Promise<void> {
    return this.call({ kind: 'fetch', modelId, shards }, (reply) => {
      if (reply.kind === 'progress') onProgress(reply.received)
    })
  }

  /** Asks for shards as pieces; `onShard` hears of each. Resolves when all are whole and checked. */
  pieces(modelId: string, pieceBytes: number, shards: number[], onShard: (name: string, state: ShardState, why: string) => void): Promise<void> {
    return this.call({ kind: 'pieces', modelId, pieceBytes, shards }, (reply) => {
      if (reply.kind === 'shard') onShard(reply.name, reply.state, reply.why)
    })
  }

  async bitfield(modelId: string): Promise<Uint8Array<ArrayBuffer>> {
    let bits = new Uint8Array()
    await this.call({ kind: 'bitfield', modelId }, (reply) => {
      if (reply.kind === 'bits') bits = reply.bits
    })
    return bits
  }

  /** Stores a piece. Its buffer is handed over and comes back with the result: a copy each way of all that is fetched cost as much as hashing it. */
  async put(modelId: string, piece: number, bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
    let back = new Uint8Array()
    const heard = (reply: StoreReply): void => {
      if (reply.kind === 'bytes') back = reply.bytes
    }
    await this.call({ kind: 'put', modelId, piece, bytes }, heard, [bytes.buffer])
    return back
  }

  /** Hands over all of a shard that came from elsewhere than its torrent. */
  putWhole(modelId: string, shard: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    return this.call({ kind: 'whole', modelId, shard, bytes }, () => {}, [bytes.buffer])
  }

  async get(modelId: string, piece: number, from: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    let bytes = new Uint8Array()
    await this.call({ kind: 'get', modelId, piece, from, length }, (reply) => {
      if (reply.kind === 'bytes') bytes = reply.bytes
    })
    return bytes
  }

  /** Bytes of a shard that is whole here. Throws WorkerError `missing`. */
  async read(modelId: string, shard: string, from: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    let bytes = new Uint8Array()
    await this.call({ kind: 'read', modelId, shard, from, length }, (reply) => {
      if (reply.kind === 'bytes') bytes = reply.bytes
    })
    return bytes
  }

  async held(): Promise<{ models: HeldModel[]; storedBytes: number }> {
    let held: { models: HeldModel[]; storedBytes: number } = { models: [], storedBytes: 0 }
    await this.call({ kind: 'held' }, (reply) => {
      if (reply.kind === 'held') held = { models: reply.models, storedBytes: reply.storedBytes }
    })
    return held
  }

  release(modelId: string): Promise<void> {
    return this.call({ kind: 'release', modelId })
  }

  trim(capBytes: number): Promise<void> {
    return this.call({ kind: 'trim', capBytes })
  }

  remove(modelId: string): Promise<void> {
    return this.channel.send({ kind: 'remove', modelId }, (reply) => reply.kind === 'done').ended
  }
}
