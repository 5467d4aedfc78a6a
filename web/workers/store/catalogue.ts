// What this browser knows about models: manifests, how much of each shard is here, pieces of a torrent that lie across shards, and (only where OPFS is missing) the
// bytes themselves in chunks.
import { type DBSchema, type IDBPDatabase, openDB } from 'idb'
import { space } from './space.ts'

export interface ModelRecord {
  /** Model id, 64 hex digits. */
  id: string
  name: string
  /** What the relay called it, else its name. */
  title: string
  architecture: string
  licence: string
  /** Bytes of all shards. */
  bytes: number
  shardCount: number
  /** Canonical manifest, as the relay sent it and as its hash was checked. */
  manifest: Uint8Array<ArrayBuffer>
  /** The person pressed pause: nothing goes on by itself. */
  paused: boolean
  addedAt: number
  /** Only here because this device lends it: makes room when the person's cap is reached. A model that the person downloaded stays. */
  lent?: boolean
}

export interface ShardRecord {
  modelId: string
  name: string
  /** Bytes stored. */
  received: number
  /** All bytes are here and had the manifest's SHA-256 when they came. */
  complete: boolean
  /** Byte ranges [from, to) of the shard's part file, sorted and apart, while it comes in pieces. */
  parts?: [number, number][]
  /** Date.now() of the last time it was loaded or came in. */
  usedAt?: number
}

export interface Schema extends DBSchema {
  models: { key: string; value: ModelRecord }
  shards: { key: [string, string]; value: ShardRecord }
  chunks: { key: [string, string, number]; value: Blob }
  /** By model and piece: whole pieces of which some bytes belong to a shard that is not wanted here. Without them this browser could not pass the piece on. */
  edges: { key: [string, number]; value: Uint8Array<ArrayBuffer> }
}

export type Catalogue = IDBPDatabase<Schema>

/** Opens the catalogue, making it on the first visit. Throws the browser's DOMException where IndexedDB is forbidden. */
export function openCatalogue(): Promise<Catalogue> {
  return openDB<Schema>(`meadow-models${space}`, 2, {
    upgrade(db, from) {
      if (from < 1) {
        db.createObjectStore('models', { keyPath: 'id' })
        db.createObjectStore('shards', { keyPath: ['modelId', 'name'] })
        db.createObjectStore('chunks')
      }
      if (from < 2) db.createObjectStore('edges')
    },
    // A newer page in another tab must be able to upgrade.
    blocking: (_current, _blocked, event) => (event.target as IDBDatabase).close(),
  })
}

/** Every key that starts with these parts: arrays sort after all strings and numbers. */
export const keysUnder = (...parts: string[]): IDBKeyRange => IDBKeyRange.bound([...parts], [...parts, []])
