// A model package read from a folder or over HTTP with nothing but a function that fetches a file: for hosts that have no store. The bytes are trusted: the bench made them.
import { decodeManifest } from '../../../protocol/model/identity.ts'
import type { ModelSource } from '../../../protocol/model/manifest.ts'

export async function folderSource(read: (name: string) => Promise<Uint8Array>): Promise<ModelSource> {
  const manifest = decodeManifest(await read('manifest'))
  return {
    manifest,
    async readShard(index, into) {
      into.set(await read(manifest.shards[index].name))
    },
  }
}

/** Files below an address, for pages and workers. */
export const overHttp =
  (address: string) =>
  async (name: string): Promise<Uint8Array> => {
    const response = await fetch(`${address}/${name}`)
    if (!response.ok) throw new Error(`${address}/${name}: ${response.status}`)
    return new Uint8Array(await response.arrayBuffer())
  }
