// What a device that lends asks of the store: room for some shards of a model, their bytes as pieces of a torrent or from the relay, and reading them for others.
import type { Manifest } from '../../../protocol/model/manifest.ts'
import { downloadLock, type HeldModel, type LendRequest, type StoreReply, type StoreRequest } from '../messages.ts'
import type { Catalogue } from './catalogue.ts'
import { downloadModel, fetchManifest, locked, missingBytes } from './download.ts'
import { StoreError } from './errors.ts'
import type { ShardFiles } from './files.ts'
import { PieceStore } from './pieces.ts'
import { makeRoom, storedBytes, useLock } from './room.ts'
import { checkedManifest } from './source.ts'

type Body = StoreReply extends infer R ? (R extends { id: number } ? Omit<R, 'id'> : never) : never
type Say = (message: Body, transfer?: Transferable[]) => void

/** One model that this tab lends or fetches to lend. */
interface Lent {
  manifest: Manifest
  pieces: PieceStore | null
  /** Aborts what waits, and lets go of the locks. */
  controller: AbortController
  /** Names of the shards whose use lock is held. */
  used: Set<string>
}

export class Lending {
  private readonly db: Catalogue
  private readonly files: ShardFiles
  private readonly models = new Map<string, Lent>()

  constructor(db: Catalogue, files: ShardFiles) {
    this.db = db
    this.files = files
  }

  /** Answers what is a LendRequest, ignores the rest. Throws StoreError. */
  async handle(request: StoreRequest, say: Say): Promise<void> {
    if (request.kind === 'reserve') return this.reserve(request, say)
    if (request.kind === 'fetch') return this.fetch(request, say)
    if (request.kind === 'pieces') return this.open(request, say)
    if (request.kind === 'held') return say({ kind: 'held', models: await this.held(), storedBytes: await storedBytes(this.db) })
    if (request.kind === 'release') return this.release(request.modelId)
    if (request.kind === 'trim') return void (await makeRoom(this.db, this.files, 0, request.capBytes))
    if (request.kind === 'bitfield') {
      const bits = await this.pieces(request.modelId).bitfield()
      say({ kind: 'bits', bits }, [bits.buffer])
    }
    if (request.kind === 'put') {
      await this.pieces(request.modelId).put(request.piece, request.bytes)
      say({ kind: 'bytes', bytes: request.bytes }, [request.bytes.buffer])
    }
    if (request.kind === 'whole') await this.pieces(request.modelId).putWhole(request.shard, request.bytes)
    if (request.kind === 'get') {
      const bytes = await this.pieces(request.modelId).get(request.piece, request.from, request.length)
      say({ kind: 'bytes', bytes }, [bytes.buffer])
    }
    if (request.kind === 'read') {
      const bytes = await this.read(request)
      say({ kind: 'bytes', bytes }, [bytes.buffer])
    }
  }

  /** Manifests that were decoded and checked already: what an id names never changes. */
  private readonly manifests = new Map<string, Manifest>()
  private manifest(modelId: string, bytes: Uint8Array): Manifest {
    const known = this.manifests.get(modelId) ?? checkedManifest(bytes, modelId)
    this.manifests.set(modelId, known)
    return known
  }

  private lent(modelId: string): Lent {
    const lent = this.models.get(modelId)
    if (!lent) throw new StoreError(`Model ${modelId.slice(0, 12)} is not lent by this tab.`, 'missing')
    return lent
  }

  private pieces(modelId: string): PieceStore {
    const { pieces } = this.lent(modelId)
    if (!pieces) throw new StoreError(`The pieces of model ${modelId.slice(0, 12)} are not open.`, 'missing')
    return pieces
  }

  /** Holds a lock until the model is released. */
  private async hold(name: string, controller: AbortController): Promise<void> {
    if (!navigator.locks) return
    const released = new Promise<void>((resolve) => controller.signal.addEventListener('abort', () => resolve(), { once: true }))
    await new Promise<void>((held, failed) => {
      const work = (): Promise<void> => {
        held()
        return released
      }
      navigator.locks.request(name, { mode: 'shared', signal: controller.signal }, work).catch(failed)
    })
  }

  private async reserve({ modelId, title, shards, capBytes }: Extract<LendRequest, { kind: 'reserve' }>, say: Say): Promise<void> {
    let lent = this.models.get(modelId)
    if (!lent) {
      const controller = new AbortController()
      const manifest = await fetchManifest(this.db, modelId, title, controller.signal, true)
      lent = { manifest, pieces: null, controller, used: new Set() }
      this.models.set(modelId, lent)
    }
    const { manifest, used, controller } = lent
    const wanted = shards.map((index) => manifest.shards[index])
    for (const { name } of wanted) {
      if (used.has(name)) continue
      used.add(name)
      await this.hold(useLock(modelId, name), controller)
    }
    await makeRoom(this.db, this.files, await missingBytes(this.db, modelId, wanted), capBytes)
    for (const { name } of wanted) {
      const record = await this.db.get('shards', [modelId, name])
      if (record) await this.db.put('shards', { ...record, usedAt: Date.now() })
    }
    const bytes = (await this.db.get('models', modelId))!.manifest
    say({ kind: 'manifest', manifest: bytes })
  }

  private async fetch({ modelId, shards }: Extract<LendRequest, { kind: 'fetch' }>, say: Say): Promise<void> {
    const { db, files } = this
    const { controller, manifest } = this.lent(modelId)
    const wanted = shards.map((index) => manifest.shards[index])
    const total = wanted.reduce((sum, shard) => sum + shard.bytes, 0)
    let told = 0
    const onProgress = async (): Promise<void> => {
      if (performance.now() - told < 100) return
      told = performance.now()
      say({ kind: 'progress', received: total - (await missingBytes(db, modelId, wanted)) })
    }
    await locked(downloadLock(modelId), 'shared', controller.signal, () =>
      downloadModel({ db, files, modelId, title: '', signal: controller.signal, shards, onProgress: () => void onProgress() }),
    )
  }

  private async open({ modelId, pieceBytes, shards }: Extract<LendRequest, { kind: 'pieces' }>, say: Say): Promise<void> {
    const lent = this.lent(modelId)
    const missing = new Set(shards.map((index) => lent.manifest.shards[index].name))
    await new Promise<void>((resolve, reject) => {
      lent.controller.signal.addEventListener('abort', () => reject(lent.controller.signal.reason), { once: true })
      const pieces =
        lent.pieces ??
        new PieceStore({
          db: this.db,
          files: this.files,
          modelId,
          manifest: lent.manifest,
          pieceBytes,
          onShard: (name, state, why) => this.listeners.get(modelId)?.(name, state, why),
        })
      lent.pieces = pieces
      this.listeners.set(modelId, (name, state, why) => {
        say({ kind: 'shard', name, state, why })
        if (state !== 'complete' || !missing.delete(name)) return
        if (missing.size === 0) resolve()
      })
      for (const index of shards) pieces.want(index).catch(reject)
      if (missing.size === 0) resolve()
    })
  }

  /** Whoever asked last for shards of a model hears about them. */
  private readonly listeners = new Map<string, (name: string, state: 'claimed' | 'complete' | 'refused', why: string) => void>()

  private async read({ modelId, shard, from, length }: Extract<LendRequest, { kind: 'read' }>): Promise<Uint8Array<ArrayBuffer>> {
    const state = await this.db.get('shards', [modelId, shard])
    const blob = state?.complete ? await this.files.open(modelId, shard) : null
    if (!blob || from < 0 || length < 0 || from + length > blob.size)
      throw new StoreError(`Bytes ${from} to ${from + length} of shard ${shard} are not on this device.`, 'missing')
    return new Uint8Array(await blob.slice(from, from + length).arrayBuffer())
  }

  private async held(): Promise<HeldModel[]> {
    const models = await this.db.getAll('models')
    return Promise.all(
      models.map(async ({ id, title, manifest, lent }) => {
        const records = await this.db.getAll('shards', IDBKeyRange.bound([id], [id, []]))
        const whole = new Set(records.filter((record) => record.complete).map((record) => record.name))
        const { shards } = this.manifest(id, manifest)
        return {
          id,
          title,
          shards: shards.flatMap((shard, index) => (whole.has(shard.name) ? [index] : [])),
          bytes: records.reduce((sum, record) => sum + record.received, 0),
          lent: lent ?? false,
        }
      }),
    )
  }

  async release(modelId: string): Promise<void> {
    const lent = this.models.get(modelId)
    if (!lent) return
    this.models.delete(modelId)
    this.listeners.delete(modelId)
    await lent.pieces?.close()
    lent.controller.abort(new DOMException('Stopped.', 'AbortError'))
  }
}
