// The torrent tracker, at /tracker of the relay's one port. Signalling only: it passes WebRTC offers between those who want the same model, and keeps who they are
// while their sockets are open. Known torrents (the store's) are always served; of others only so many, so that strangers cannot make it hold anything.
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { Server } from 'bittorrent-tracker'
import { z } from 'zod'

export interface TrackerLimits {
  /** Torrents that are not of this relay's store. */
  strangeTorrentsMax: number
  /** Peers kept per torrent. */
  peersPerTorrentMax: number
  /** Messages a second from one socket, after a burst of ten times as many. */
  messagesPerSecondMax: number
}

export const trackerLimits: TrackerLimits = { strangeTorrentsMax: 256, peersPerTorrentMax: 1000, messagesPerSecondMax: 20 }

/** Offers of ten peers with their candidates take about 30 KiB. */
const messageBytesMax = 128 << 10
/** Clients are told to come back so often, in seconds; torrents start faster when their tabs announce soon. */
const intervalSeconds = 30

export interface Tracker {
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
  /** Info hashes (hex) that are always served. */
  know(infoHash: string): void
  counts(): { torrents: number; peers: number }
  close(): Promise<void>
}

const id = z.string().max(40)
const description = z.looseObject({ type: z.enum(['offer', 'answer']), sdp: z.string().max(64 << 10) })
/** What WebTorrent's clients send; fields that only count bytes are the library's to read. */
const message = z.looseObject({
  action: z.enum(['announce', 'scrape']),
  info_hash: z.union([id, z.array(id).max(64)]).optional(),
  peer_id: id.optional(),
  to_peer_id: id.optional(),
  offer_id: id.optional(),
  offers: z
    .array(z.looseObject({ offer: description, offer_id: id }))
    .max(20)
    .nullish(),
  answer: description.nullish(),
})

function isMessage(data: unknown): boolean {
  try {
    return message.safeParse(JSON.parse(String(data))).success
  } catch {
    return false
  }
}

export function createTracker(limits: TrackerLimits = trackerLimits): Tracker {
  const known = new Set<string>()
  const server = new Server({
    http: false,
    udp: false,
    stats: false,
    // The library tells clients a fifth of it.
    interval: intervalSeconds * 5 * 1000,
    peersCacheLength: limits.peersPerTorrentMax,
    ws: { noServer: true, maxPayload: messageBytesMax },
    filter: (infoHash, _params, done) => {
      const torrents = server.torrents
      if (known.has(infoHash) || infoHash in torrents) return done(null)
      if (Object.keys(torrents).filter((hash) => !known.has(hash)).length < limits.strangeTorrentsMax) return done(null)
      done(new Error('this tracker serves the models of its relay, and has no room for others'))
    },
  })
  // What strangers send wrong is told to them by the library; nothing of it concerns the operator.
  server.on('warning', () => {})
  server.on('error', (error) => console.error(`tracker: ${error.message}`))

  // The library trusts the inner shape of messages, and stumbles over wrong ones in a later tick, where nobody can catch it: they must end here.
  const answer = server._onWebSocketRequest.bind(server)
  const allowances = new WeakMap<object, { left: number; atMs: number }>()
  const ended = new WeakSet<object>()
  const end = (socket: { close(code: number, reason: string): void }, code: number, reason: string): void => {
    ended.add(socket)
    socket.close(code, reason)
  }
  server._onWebSocketRequest = (socket, options, data) => {
    if (ended.has(socket)) return
    const burst = limits.messagesPerSecondMax * 10
    const nowMs = performance.now()
    const allowance = allowances.get(socket) ?? { left: burst, atMs: nowMs }
    allowances.set(socket, allowance)
    allowance.left = Math.min(burst, allowance.left + ((nowMs - allowance.atMs) / 1000) * limits.messagesPerSecondMax) - 1
    allowance.atMs = nowMs
    if (allowance.left < 0) return end(socket, 1008, 'too many messages')
    if (!isMessage(data)) return end(socket, 1007, 'this message has not the form of one')
    answer(socket, options, data)
  }
  // Swarms whose last peer has left are forgotten.
  const sweep = setInterval(() => {
    for (const [hash, swarm] of Object.entries(server.torrents)) if (swarm.complete + swarm.incomplete === 0) delete server.torrents[hash]
  }, 60_000)
  sweep.unref()

  const sockets = new Set<{ terminate(): void }>()
  return {
    upgrade(request, socket, head) {
      server.ws.handleUpgrade(request, socket, head, (webSocket) => {
        sockets.add(webSocket)
        webSocket.once('close', () => sockets.delete(webSocket))
        server.ws.emit('connection', webSocket, request)
      })
    },
    know: (infoHash) => void known.add(infoHash),
    counts() {
      const swarms = Object.values(server.torrents)
      return { torrents: swarms.length, peers: swarms.reduce((sum, swarm) => sum + swarm.complete + swarm.incomplete, 0) }
    },
    async close() {
      clearInterval(sweep)
      for (const socket of sockets) socket.terminate()
      server.ws.close()
    },
  }
}
