// Files and packages in memory, through the same interfaces that disks use.
import { type ImportOptions, type ImportResult, importGguf, type PackageSink, type RandomAccess } from '../../protocol/model/import.ts'
import type { Manifest, ModelSource } from '../../protocol/model/manifest.ts'

export const memoryFile = (bytes: Uint8Array, name = 'tiny.gguf'): RandomAccess => ({
  name,
  size: bytes.length,
  read: async (offset, length) => bytes.slice(offset, offset + length),
})

export interface MemorySink extends PackageSink {
  /** Whole shards, by name. */
  readonly shards: Map<string, Uint8Array>
}

export function memorySink(): MemorySink {
  const shards = new Map<string, Uint8Array>()
  return {
    shards,
    async open(name) {
      const parts: Uint8Array[] = []
      return {
        async write(bytes) {
          parts.push(bytes.slice())
        },
        async close() {
          const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
          let at = 0
          for (const part of parts) {
            all.set(part, at)
            at += part.length
          }
          shards.set(name, all)
        },
      }
    },
  }
}

export const memorySource = (manifest: Manifest, shards: ReadonlyMap<string, Uint8Array>): ModelSource => ({
  manifest,
  async readShard(index, into) {
    into.set(shards.get(manifest.shards[index].name)!)
  },
})

/** Imports a file's bytes (or a split file's parts) into memory. */
export async function importBytes(
  files: Uint8Array | RandomAccess[],
  options?: ImportOptions,
): Promise<ImportResult & { source: ModelSource; shards: Map<string, Uint8Array> }> {
  const sink = memorySink()
  const result = await importGguf(files instanceof Uint8Array ? [memoryFile(files)] : files, sink, options)
  return { ...result, shards: sink.shards, source: memorySource(result.manifest, sink.shards) }
}
