// Where a relay is, and what it tells those who would join. Apart from join.ts, which brings all of libp2p: `meadow swarm` needs only this.
import { z } from 'zod'
import { messageOf, RelayError, UsageError } from '../errors.ts'

export const relayDefault = 'http://localhost:8787'

const meshJson = z.object({
  version: z.string().max(64),
  protocol: z.literal(1),
  peer: z.string().regex(/^[0-9a-f]{64}$/),
  relays: z.array(z.string().max(512)).min(1).max(32),
  iceServers: z
    .array(z.object({ urls: z.union([z.string(), z.array(z.string())]), username: z.string().optional(), credential: z.string().optional() }))
    .max(16),
})

/** The address of a relay. Throws UsageError when it is none. */
export function relayUrl(text: string | undefined): URL {
  try {
    const url = new URL(text ?? process.env.MEADOW_RELAY ?? relayDefault)
    if (url.protocol === 'http:' || url.protocol === 'https:') return url
  } catch {
    // Said below.
  }
  throw new UsageError(`${text} is no address of a relay, such as ${relayDefault}.`)
}

/** What a relay tells those who would join. Throws RelayError. */
export async function fetchMeshJson(relay: URL): Promise<z.infer<typeof meshJson>> {
  const url = new URL('/mesh.json', relay)
  const response = await fetch(url, { signal: AbortSignal.timeout(10_000) }).catch((error) => {
    throw new RelayError(`The relay at ${relay.origin} cannot be reached: ${messageOf(error)}. Is it running (\`npm start\`), or elsewhere (--relay)?`)
  })
  if (!response.ok) throw new RelayError(`${url} answered ${response.status}: there is no mesh at this relay.`)
  const parsed = meshJson.safeParse(await response.json().catch(() => null))
  if (!parsed.success) throw new RelayError(`${url} answered in a form this version of Meadow does not know; the relay may be newer or older.`)
  return parsed.data
}
