// What a relay tells a page about its mesh (GET /mesh.json), read as a stranger's JSON.

export interface MeshConfig {
  /** Multiaddrs of relays, each ending in /p2p/<id>. */
  relays: string[]
  /** WebSocket address of the torrent tracker, '' when there is none. */
  tracker: string
  iceServers: { urls: string | string[]; username?: string; credential?: string }[]
  version: string
}

const texts = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter((one): one is string => typeof one === 'string' && one.length <= 512).slice(0, 16) : []

export function parseMeshConfig(json: unknown): MeshConfig {
  const { relays, tracker, iceServers, version } = (json ?? {}) as Record<string, unknown>
  return {
    relays: texts(relays),
    tracker: typeof tracker === 'string' && /^wss?:\/\//.test(tracker) ? tracker : '',
    iceServers: (Array.isArray(iceServers) ? iceServers : []).flatMap((server) => {
      const { urls, username, credential } = (server ?? {}) as Record<string, unknown>
      const list = typeof urls === 'string' ? [urls] : texts(urls)
      if (list.length === 0) return []
      return [{ urls: list, ...(typeof username === 'string' ? { username } : {}), ...(typeof credential === 'string' ? { credential } : {}) }]
    }),
    version: typeof version === 'string' ? version.slice(0, 64) : '',
  }
}

/** Throws with a sentence when the relay does not answer or has no mesh. */
export async function fetchMeshConfig(): Promise<MeshConfig> {
  let response: Response
  try {
    response = await fetch('/mesh.json', { cache: 'no-store' })
  } catch {
    throw new Error('The relay cannot be reached.')
  }
  if (!response.ok) throw new Error(`The relay has no mesh (status ${response.status}).`)
  const config = parseMeshConfig(await response.json().catch(() => null))
  if (config.relays.length === 0) throw new Error('The relay names no way into its mesh.')
  return config
}

/** The invitation of a link (#invite=…): 32 hex digits, or null. */
export function invitationOf(hash: string): string | null {
  return /(?:^#|&)invite=([0-9a-f]{32})(?:&|$)/.exec(hash)?.[1] ?? null
}

/** Layers that a link asks this device to hold (#hold=<beginning of a model id>:<from>-<to>, several by commas): placement then decides nothing. For groups of one's own devices. */
export function holdOf(hash: string): { model: string; from: number; to: number }[] {
  const text = /(?:^#|&)hold=([0-9a-f:,-]{3,400})(?:&|$)/.exec(hash)?.[1] ?? ''
  return text.split(',').flatMap((part) => {
    const [, model, from, to] = /^([0-9a-f]{8,64}):(\d{1,3})-(\d{1,3})$/.exec(part) ?? []
    return model && Number(from) < Number(to) ? [{ model, from: Number(from), to: Number(to) }] : []
  })
}

/**
 * One address for each relay: the WebSocket of the one that served this page (the first), since the page's policy allows no other; WebRTC-direct to the others where they
 * have it. Dialing two would only make a second connection to the same peer.
 */
export function onePerRelay(addresses: readonly string[]): string[] {
  const idOf = (address: string): string => /\/p2p\/([^/]+)$/.exec(address)?.[1] ?? address
  const own = addresses[0] === undefined ? '' : idOf(addresses[0])
  const chosen = new Map<string, string>()
  for (const address of addresses) {
    const id = idOf(address)
    if (!chosen.has(id) || (id !== own && address.includes('/webrtc-direct/'))) chosen.set(id, address)
  }
  return [...chosen.values()].filter((address) => idOf(address) === own || address.includes('/webrtc-direct/')).slice(0, 4)
}
