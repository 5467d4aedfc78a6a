// Where shard bytes lie: one OPFS file each, or chunks in IndexedDB where OPFS is missing or refuses. Knows nothing of hashes or downloads.
import { type Catalogue, keysUnder } from './catalogue.ts'
import { space } from './space.ts'

/** Appends to one shard. One writer at a time: callers hold the shard's lock. */
export interface ShardWriter {
  /** Bytes that are stored for good. */
  readonly written: number
  /** Throws the browser's QuotaExceededError when the disk is full; what was written before stays. */
  write(bytes: Uint8Array<ArrayBuffer>): Promise<void>
  close(): Promise<void>
}

/** One shard that comes in pieces, in any order. One holder at a time: callers hold the shard's lock. Ranges that were never written read as anything. */
export interface ShardPart {
  /** Throws the browser's QuotaExceededError when the disk is full. */
  write(at: number, bytes: Uint8Array<ArrayBuffer>): Promise<void>
  read(at: number, length: number): Promise<Uint8Array<ArrayBuffer>>
  /** Keeps what was written for another day. */
  close(): Promise<void>
  /** All bytes of the shard, for the check before `finish`. */
  whole(): Promise<Uint8Array<ArrayBuffer>>
  /** Makes it the shard's file. */
  finish(): Promise<void>
}

export interface ShardFiles {
  readonly kind: 'opfs' | 'indexeddb'
  writer(modelId: string, name: string): Promise<ShardWriter>
  /** Opens the shard's part file, making it when there is none. `bytes` is the shard's size. */
  part(modelId: string, name: string, bytes: number): Promise<ShardPart>
  removePart(modelId: string, name: string): Promise<void>
  /** The bytes stored so far, not copied into memory; null when there are none. */
  open(modelId: string, name: string): Promise<Blob | null>
  remove(modelId: string, name: string): Promise<void>
  removeModel(modelId: string): Promise<void>
}

/** The layout of a model fixes the names of its shards (embed, layer-0, ..., tokenizer), so no shard is called so. */
const partName = (name: string): string => `${name}.part`

const missing = (error: unknown): boolean => error instanceof DOMException && error.name === 'NotFoundError'

class OpfsFiles implements ShardFiles {
  readonly kind = 'opfs'
  private readonly root: FileSystemDirectoryHandle
  constructor(root: FileSystemDirectoryHandle) {
    this.root = root
  }

  async writer(modelId: string, name: string): Promise<ShardWriter> {
    const folder = await this.root.getDirectoryHandle(modelId, { create: true })
    const file = await folder.getFileHandle(name, { create: true })
    // In place, unlike createWritable, whose swap file is lost with the tab: this is what makes a download resumable in the middle of a shard.
    const handle = await file.createSyncAccessHandle()
    let written = handle.getSize()
    return {
      get written() {
        return written
      },
      async write(bytes) {
        const count = handle.write(bytes, { at: written })
        written += count
        if (count < bytes.length) throw new DOMException('the disk took only part of the bytes', 'QuotaExceededError')
      },
      async close() {
        handle.flush()
        const kept = handle.getSize()
        handle.close()
        // Chromium can take bytes and drop them when the quota shrank meanwhile (seen with an overridden quota).
        if (kept < written) throw new DOMException('the disk did not keep the bytes', 'QuotaExceededError')
      },
    }
  }

  async part(modelId: string, name: string, bytes: number): Promise<ShardPart> {
    const folder = await this.root.getDirectoryHandle(modelId, { create: true })
    const file = await folder.getFileHandle(partName(name), { create: true })
    const handle = await file.createSyncAccessHandle()
    // Its full size at once: pieces come in any order, and a disk that is too small says so now.
    if (handle.getSize() !== bytes) handle.truncate(bytes)
    const read = async (at: number, length: number): Promise<Uint8Array<ArrayBuffer>> => {
      const into = new Uint8Array(length)
      if (handle.read(into, { at }) < length) throw new DOMException('the disk did not keep the bytes', 'QuotaExceededError')
      return into
    }
    return {
      async write(at, piece) {
        if (handle.write(piece, { at }) < piece.length) throw new DOMException('the disk took only part of the bytes', 'QuotaExceededError')
      },
      read,
      async close() {
        handle.flush()
        handle.close()
      },
      whole: () => read(0, bytes),
      finish: async () => {
        handle.flush()
        handle.close()
        await this.remove(modelId, name)
        await moveTo(folder, file, name)
      },
    }
  }

  removePart(modelId: string, name: string): Promise<void> {
    return this.remove(modelId, partName(name))
  }

  async open(modelId: string, name: string): Promise<Blob | null> {
    try {
      const folder = await this.root.getDirectoryHandle(modelId)
      return await (await folder.getFileHandle(name)).getFile()
    } catch (error) {
      if (missing(error)) return null
      throw error
    }
  }

  async remove(modelId: string, name: string): Promise<void> {
    try {
      await (await this.root.getDirectoryHandle(modelId)).removeEntry(name)
    } catch (error) {
      if (!missing(error)) throw error
    }
  }

  async removeModel(modelId: string): Promise<void> {
    try {
      await this.root.removeEntry(modelId, { recursive: true })
    } catch (error) {
      if (!missing(error)) throw error
    }
  }
}

/** A rename where the browser has one (all current ones do, no type names it), else a copy. */
async function moveTo(folder: FileSystemDirectoryHandle, file: FileSystemFileHandle, name: string): Promise<void> {
  const movable = file as FileSystemFileHandle & { move?(name: string): Promise<void> }
  if (movable.move) return movable.move(name)
  const handle = await (await folder.getFileHandle(name, { create: true })).createSyncAccessHandle()
  try {
    handle.write(new Uint8Array(await (await file.getFile()).arrayBuffer()), { at: 0 })
    handle.flush()
  } finally {
    handle.close()
  }
  await folder.removeEntry(file.name)
}

/** Bytes of one record: large enough that a 30 MB shard is a handful, small enough that a crash loses little. */
const chunkBytes = 4 << 20

class ChunkFiles implements ShardFiles {
  readonly kind = 'indexeddb'
  private readonly db: Catalogue
  constructor(db: Catalogue) {
    this.db = db
  }

  async writer(modelId: string, name: string): Promise<ShardWriter> {
    const { db } = this
    let count = await db.count('chunks', keysUnder(modelId, name))
    // A short last chunk (a download that was paused) is taken back into memory and filled up.
    const last = count > 0 ? await db.get('chunks', [modelId, name, count - 1]) : undefined
    let pending: Uint8Array<ArrayBuffer>[] = []
    let pendingBytes = 0
    if (last && last.size < chunkBytes) {
      pending = [new Uint8Array(await last.arrayBuffer())]
      pendingBytes = last.size
      count--
    }
    let written = count * chunkBytes + pendingBytes
    const store = async (): Promise<void> => {
      if (pendingBytes === 0) return
      await db.put('chunks', new Blob(pending), [modelId, name, count])
    }
    return {
      get written() {
        return written
      },
      async write(bytes) {
        for (let at = 0; at < bytes.length; ) {
          const part = bytes.subarray(at, at + chunkBytes - pendingBytes)
          pending.push(part.slice())
          pendingBytes += part.length
          at += part.length
          if (pendingBytes === chunkBytes) {
            await store()
            pending = []
            pendingBytes = 0
            count++
          }
        }
        written += bytes.length
      },
      close: store,
    }
  }

  /** Pieces as they came, keyed by their offset. */
  async part(modelId: string, name: string, bytes: number): Promise<ShardPart> {
    const { db } = this
    const under = keysUnder(modelId, partName(name))
    const read = async (at: number, length: number): Promise<Uint8Array<ArrayBuffer>> => {
      const into = new Uint8Array(length)
      const found: [number, Blob][] = []
      let cursor = await db.transaction('chunks').store.openCursor(under)
      for (; cursor; cursor = await cursor.continue()) {
        const from = cursor.key[2] - at
        const { value } = cursor
        if (from >= length || from + value.size <= 0) continue
        const skip = Math.max(0, -from)
        const part = value.slice(skip, Math.min(value.size, length - from))
        // The cursor's transaction would end under an await of anything else: bytes are taken afterwards.
        found.push([from + skip, part])
      }
      for (const [to, part] of found) into.set(new Uint8Array(await part.arrayBuffer()), to)
      return into
    }
    return {
      write: async (at, piece) => void (await db.put('chunks', new Blob([piece]), [modelId, partName(name), at])),
      read,
      close: async () => {},
      whole: () => read(0, bytes),
      finish: async () => {
        const whole = await read(0, bytes)
        await this.remove(modelId, name)
        const writer = await this.writer(modelId, name)
        await writer.write(whole)
        await writer.close()
        await db.delete('chunks', under)
      },
    }
  }

  removePart(modelId: string, name: string): Promise<void> {
    return this.remove(modelId, partName(name))
  }

  async open(modelId: string, name: string): Promise<Blob | null> {
    const chunks = await this.db.getAll('chunks', keysUnder(modelId, name))
    return chunks.length > 0 ? new Blob(chunks) : null
  }

  async remove(modelId: string, name: string): Promise<void> {
    await this.db.delete('chunks', keysUnder(modelId, name))
  }

  async removeModel(modelId: string): Promise<void> {
    await this.db.delete('chunks', keysUnder(modelId))
  }
}

/** OPFS where it works, else IndexedDB. `createSyncAccessHandle` exists in workers only, and Safari had OPFS before it had writers. */
export async function openFiles(db: Catalogue): Promise<ShardFiles> {
  try {
    if (typeof FileSystemFileHandle !== 'undefined' && 'createSyncAccessHandle' in FileSystemFileHandle.prototype) {
      const root = await navigator.storage.getDirectory()
      return new OpfsFiles(await root.getDirectoryHandle(`models${space}`, { create: true }))
    }
  } catch {
    // Private windows of some browsers refuse OPFS: the fallback below still works there.
  }
  return new ChunkFiles(db)
}
