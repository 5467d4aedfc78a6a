// The network of mesh/network.ts inside one process: peers by key, whole frames in order, gossip to everybody. For benches of what peers say, not of how it travels.
import type { Network, NetworkEvent } from '../../../mesh/network.ts'

export class MemoryBus {
  private readonly peers = new Map<string, { emit(event: NetworkEvent): void; joined: Set<string> }>()

  join(self: string): Network {
    const listeners = new Set<(event: NetworkEvent) => void>()
    const joined = new Set<string>()
    const emit = (event: NetworkEvent): void => {
      for (const listener of listeners) listener(event)
    }
    const statistics = { framesSent: 0, framesReceived: 0, bytesSent: 0, bytesReceived: 0, bytesRelayed: 0 }
    /** Never inside the sender's own step. */
    const later = (to: string, event: NetworkEvent): void => setImmediate(() => this.peers.get(to)?.emit(event)) as never
    this.peers.set(self, { emit, joined })
    return {
      self,
      network: 'main',
      connect: (peer) => {
        const other = this.peers.get(peer)
        if (!other) return later(self, { kind: 'connectFailed', peer, reason: 'it is not on this bus' })
        const fresh = !other.joined.has(self)
        joined.add(peer)
        other.joined.add(self)
        later(self, { kind: 'connected', peer, direct: true })
        if (fresh) later(peer, { kind: 'connected', peer: self, direct: true })
      },
      disconnect: (peer) => {
        if (!joined.delete(peer)) return
        this.peers.get(peer)?.joined.delete(self)
        later(self, { kind: 'disconnected', peer })
        later(peer, { kind: 'disconnected', peer: self })
      },
      send: (peer, bytes) => {
        if (!joined.has(peer)) return false
        statistics.framesSent++
        statistics.bytesSent += bytes.length
        later(peer, { kind: 'frame', peer: self, bytes: bytes.slice() })
        return true
      },
      publish: (bytes) => {
        for (const peer of this.peers.keys()) if (peer !== self) later(peer, { kind: 'gossip', bytes: bytes.slice() })
      },
      addresses: () => [],
      peers: () => [...joined],
      relays: () => [],
      setRelays: () => {},
      statistics: () => ({ ...statistics }),
      subscribe: (listener) => {
        listeners.add(listener)
        return () => listeners.delete(listener)
      },
      flush: () => Promise.resolve(),
      close: async () => void this.peers.delete(self),
    }
  }
}
