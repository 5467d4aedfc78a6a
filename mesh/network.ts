// The network as the peers' machines see it: peers by key, whole frames, one presence topic. Over libp2p; no ring frame ever travels over a relayed connection.
import type { Connection, PeerId, Stream } from '@libp2p/interface'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { WebRTCDirect, WebSockets, WebSocketsSecure } from '@multiformats/multiaddr-matcher'
import { presenceTopic } from './group.ts'
import { type MeshNode, presenceTopicScore } from './node.ts'
import { keyOfPeer, keyOfPeerIdText, peerIdOf } from './peer-key.ts'
import { RingLink, ringProtocol } from './ring.ts'

export type NetworkEvent =
  /** A direct connection stands; frames can be sent. */
  | { kind: 'connected'; peer: string; direct: true }
  | { kind: 'disconnected'; peer: string }
  | { kind: 'connectFailed'; peer: string; reason: string }
  | { kind: 'frame'; peer: string; bytes: Uint8Array }
  | { kind: 'gossip'; bytes: Uint8Array }
  /** Where this peer can be reached has changed: at most four addresses, best first. */
  | { kind: 'addresses'; addresses: string[] }
  /** A relay was reached, or lost; `reason` says why. */
  | { kind: 'relay'; address: string; up: boolean; reason: string }

export interface NetworkOptions {
  node: MeshNode
  /** 'main', or the name of a private group (mesh/group.ts). */
  network: string
  /** Relays to stay connected to: multiaddrs that end in /p2p/<id>. */
  relays: string[]
  /** Bytes of one frame at most; protocol/limits.ts. */
  frameBytesMax: number
  /** Judges a presence record before it is passed on: signature, form, age. Rejecting costs the sender its score. */
  validate: (bytes: Uint8Array) => 'accept' | 'ignore' | 'reject'
  /** Which addresses this device can dial; a page's policy lets it open WebSockets to its own relay only. */
  dialable?: (address: string) => boolean
}

export interface Network {
  readonly self: string
  readonly network: string
  /** Ends in `connected` or `connectFailed`. Addresses without /p2p/ are those of `peer`. */
  connect(peer: string, addresses: readonly string[]): void
  disconnect(peer: string): void
  /** False when there is no direct connection: the frame is dropped, and `disconnected` was or will be told. */
  send(peer: string, bytes: Uint8Array): boolean
  publish(bytes: Uint8Array): void
  /** Where others reach this peer, best first, without /p2p/<self>: relayed signalling in its short form /p2p/<relay>/p2p-circuit/webrtc. */
  addresses(): string[]
  /** Peers with a direct connection. */
  peers(): string[]
  relays(): { address: string; up: boolean }[]
  /** Changes the relays to stay connected to. */
  setRelays(addresses: string[]): void
  statistics(): NetworkStatistics
  subscribe(listener: (event: NetworkEvent) => void): () => void
  /** Resolves when everything sent has been written, at the latest after `msMax`. */
  flush(msMax: number): Promise<void>
  /**
   * Ends all connections and stops the node. `stop` false leaves the node itself to the end of the process: in Node, stopping webrtc-direct after peers were
   * connected aborts the process (measured, 5 of 6; closing connections and then exiting: 0 of 9).
   */
  close(stop?: boolean): Promise<void>
}

export interface NetworkStatistics {
  framesSent: number
  framesReceived: number
  bytesSent: number
  bytesReceived: number
  /** Ring bytes over limited connections: always 0, measured where bytes are written, not assumed. */
  bytesRelayed: number
}

/** Milliseconds after which signalling through a relay is tried beside addresses that have not answered yet. */
const relayedDialDelayMs = 250
const dialTimeoutMs = 10_000
const relayRetryMs = { first: 500, most: 20_000 }

export function createNetwork(options: NetworkOptions): Network {
  const { node, frameBytesMax } = options
  const self = keyOfPeer(node.peerId)!
  const topic = presenceTopic(options.network)
  const listeners = new Set<(event: NetworkEvent) => void>()
  const links = new Map<string, RingLink>()
  const dialing = new Map<string, AbortController>()
  const closing = new AbortController()
  const statistics: NetworkStatistics = { framesSent: 0, framesReceived: 0, bytesSent: 0, bytesReceived: 0, bytesRelayed: 0 }
  const emit = (event: NetworkEvent): void => {
    for (const listener of listeners) listener(event)
  }

  // --- connections -----------------------------------------------------------------------------
  const isDirect = (connection: Connection): boolean => connection.limits == null && connection.status === 'open'
  const directTo = (peer: PeerId): Connection | undefined => {
    const open = node.getConnections(peer).filter(isDirect)
    // A WebSocket costs Node less than a peer connection: of several the first is the oldest, and all are as good for a tab.
    return open[0]
  }

  const onOpen = ({ detail: connection }: { detail: Connection }): void => {
    const key = keyOfPeer(connection.remotePeer)
    if (!key || connection.limits != null) return
    if (links.has(key)) return
    links.set(key, new RingLink({ open: (signal) => openRing(connection.remotePeer, signal), statistics, failed: (reason) => drop(key, reason) }))
    emit({ kind: 'connected', peer: key, direct: true })
    // Signalling is done: the relayed connection would only count against the relay's limits.
    for (const relayed of node.getConnections(connection.remotePeer)) if (relayed.limits != null) void relayed.close().catch(() => {})
  }
  const onClose = ({ detail: connection }: { detail: Connection }): void => {
    const key = keyOfPeer(connection.remotePeer)
    if (!key || connection.limits != null || directTo(connection.remotePeer)) return
    const link = links.get(key)
    if (!link) return
    links.delete(key)
    link.close()
    emit({ kind: 'disconnected', peer: key })
  }
  const drop = (key: string, _reason: string): void => {
    void node.hangUp(peerIdOf(key)).catch(() => {})
  }
  node.addEventListener('connection:open', onOpen)
  node.addEventListener('connection:close', onClose)

  const openRing = async (peer: PeerId, signal: AbortSignal): Promise<{ stream: Stream; relayed: boolean }> => {
    const connection = directTo(peer)
    if (!connection) throw new Error('there is no direct connection')
    const stream = await connection.newStream(ringProtocol, { signal, negotiateFully: false, maxOutboundStreams: 4 })
    return { stream, relayed: connection.limits != null }
  }

  const handle = node.handle(
    ringProtocol,
    (stream, connection) => {
      const key = keyOfPeer(connection.remotePeer)
      if (!key || connection.limits != null) return stream.abort(new Error('the ring takes direct connections between Ed25519 peers'))
      RingLink.receive(stream, frameBytesMax, {
        statistics,
        frame: (bytes) => emit({ kind: 'frame', peer: key, bytes }),
        failed: (reason) => drop(key, reason),
      })
    },
    { maxInboundStreams: 4, maxOutboundStreams: 4, runOnLimitedConnection: false },
  )

  // --- dialing ---------------------------------------------------------------------------------
  const connect = async (peer: string, addresses: readonly string[]): Promise<void> => {
    if (links.has(peer)) return emit({ kind: 'connected', peer, direct: true })
    if (dialing.has(peer)) return
    const abort = new AbortController()
    dialing.set(peer, abort)
    const signal = AbortSignal.any([abort.signal, closing.signal, AbortSignal.timeout(dialTimeoutMs)])
    try {
      await dialAny(peer, addresses, signal)
      // `connected` came with the connection.
    } catch (error) {
      if (!closing.signal.aborted && !links.has(peer)) emit({ kind: 'connectFailed', peer, reason: reasonOf(error) })
    } finally {
      abort.abort()
      dialing.delete(peer)
    }
  }

  const dialAny = async (peer: string, addresses: readonly string[], signal: AbortSignal): Promise<void> => {
    const id = peerIdOf(peer)
    const direct: Multiaddr[] = []
    const relayed: Multiaddr[] = []
    for (const text of new Set([...addresses, ...relayAddresses(node, options.relays).map((relay) => `${relay}/p2p-circuit/webrtc`)])) {
      const address = addressOf(text, id)
      if (!address || (options.dialable && !options.dialable(text))) continue
      if (text.includes('/p2p-circuit')) relayed.push(address)
      else direct.push(address)
    }
    if (direct.length + relayed.length === 0) throw new Error('no address of it can be dialed from here')
    const attempts: Promise<unknown>[] = []
    if (direct.length > 0) attempts.push(node.dial(direct, { signal }))
    if (relayed.length > 0) {
      if (direct.length > 0) await Promise.race([Promise.allSettled(attempts), pause(relayedDialDelayMs, signal)])
      if (links.has(peer)) return
      // One after the other: each makes a peer connection, and browsers refuse after about 500 of them.
      attempts.push(
        (async () => {
          let last: unknown
          for (const address of relayed) {
            if (links.has(peer)) return
            try {
              return await node.dial(address, { signal, force: true })
            } catch (error) {
              last = error
            }
          }
          throw last
        })(),
      )
    }
    await Promise.any(attempts)
    if (!directTo(id)) throw new Error('only a relayed connection could be made')
  }

  // --- relays ----------------------------------------------------------------------------------
  const upRelays = (): string[] => relays.filter((relay) => relay.up).map((relay) => relay.address)
  let relays: { address: string; up: boolean; stop: AbortController }[] = []
  const setRelays = (addresses: string[]): void => {
    for (const relay of relays) if (!addresses.includes(relay.address)) relay.stop.abort()
    relays = addresses.map((address) => relays.find((relay) => relay.address === address) ?? startRelay(address))
  }
  const startRelay = (address: string): { address: string; up: boolean; stop: AbortController } => {
    const relay = { address, up: false, stop: new AbortController() }
    void keepRelay(relay, AbortSignal.any([relay.stop.signal, closing.signal]))
    return relay
  }
  const keepRelay = async (relay: { address: string; up: boolean }, signal: AbortSignal): Promise<void> => {
    let waitMs = relayRetryMs.first
    const tell = (up: boolean, reason: string): void => {
      if (signal.aborted) return
      relay.up = up
      emit({ kind: 'relay', address: relay.address, up, reason })
      tellAddresses()
    }
    while (!signal.aborted) {
      try {
        const connection = await node.dial(multiaddr(relay.address), { signal: AbortSignal.any([signal, AbortSignal.timeout(dialTimeoutMs)]) })
        waitMs = relayRetryMs.first
        tell(true, '')
        await closed(connection, signal)
        tell(false, 'the connection ended')
      } catch (error) {
        tell(false, reasonOf(error))
      }
      // Jitter: a relay that comes back must not meet everyone in the same second.
      await pause(waitMs * (0.5 + Math.random()), signal)
      waitMs = Math.min(relayRetryMs.most, waitMs * 2)
    }
  }

  // --- gossip ----------------------------------------------------------------------------------
  const { pubsub } = node.services
  pubsub.topicValidators.set(topic, (_peer, message) => options.validate(message.data) as never)
  setTopicScore(node, topic)
  const onGossip = ({ detail }: { detail: { topic: string; data: Uint8Array } }): void => {
    if (detail.topic === topic) emit({ kind: 'gossip', bytes: detail.data })
  }
  pubsub.addEventListener('message', onGossip as never)
  pubsub.subscribe(topic)

  let told = ''
  const tellAddresses = (): void => {
    const addresses = addressesOf(node, upRelays())
    if (addresses.join() === told || closing.signal.aborted) return
    told = addresses.join()
    emit({ kind: 'addresses', addresses })
  }
  node.addEventListener('self:peer:update', tellAddresses)

  queueMicrotask(() => setRelays(options.relays))

  return {
    self,
    network: options.network,
    connect: (peer, addresses) => void connect(peer, addresses),
    disconnect(peer) {
      dialing.get(peer)?.abort()
      drop(peer, 'asked')
    },
    send: (peer, bytes) => links.get(peer)?.send(bytes) ?? false,
    publish(bytes) {
      pubsub.publish(topic, bytes).catch(() => {
        // Nobody to tell it to yet: presence is renewed anyway.
      })
    },
    addresses: () => addressesOf(node, upRelays()),
    peers: () => [...links.keys()],
    relays: () => relays.map(({ address, up }) => ({ address, up })),
    setRelays,
    statistics: () => ({ ...statistics }),
    subscribe(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    async flush(msMax) {
      const patience = AbortSignal.timeout(msMax)
      while (!patience.aborted && [...links.values()].some((link) => link.waiting)) await pause(5, patience)
      // Gossip is written by the streams of pubsub, which do not say when they are done: one turn of the loop lets them begin.
      await pause(20, patience)
    },
    async close(stop = true) {
      closing.abort()
      node.removeEventListener('self:peer:update', tellAddresses)
      node.removeEventListener('connection:open', onOpen)
      node.removeEventListener('connection:close', onClose)
      pubsub.removeEventListener('message', onGossip as never)
      for (const link of links.values()) link.close()
      links.clear()
      await handle.then(() => node.unhandle(ringProtocol)).catch(() => {})
      if (stop) return node.stop()
      await Promise.allSettled(node.getConnections().map((connection) => connection.close({ signal: AbortSignal.timeout(500) })))
    },
  }
}

/** Gives the presence topic its score, so that a peer that sends invalid records is heard less and then not at all. */
export function setTopicScore(node: MeshNode, topic: string): void {
  const { params } = (node.services.pubsub as unknown as { score: { params: { topics: Record<string, unknown> } } }).score
  params.topics[topic] = presenceTopicScore
}

/** `text` as an address of `peer`; null when it is none, or names another peer. */
function addressOf(text: string, peer: PeerId): Multiaddr | null {
  try {
    const last = /\/p2p\/([^/]+)$/.exec(text)?.[1]
    const relayed = text.includes('/p2p-circuit')
    const ends = last !== undefined && (!relayed || text.lastIndexOf('/p2p/') > text.indexOf('/p2p-circuit'))
    if (ends && last !== peer.toString()) return null
    return multiaddr(ends ? text : `${text}/p2p/${peer}`)
  } catch {
    return null
  }
}

/** Short forms of the relays that are connected: libp2p dials through a relay it is connected to whatever address stands before its id. */
function relayAddresses(node: MeshNode, configured: readonly string[]): string[] {
  const ids = configured.map((address) => /\/p2p\/([^/]+)$/.exec(address)?.[1]).filter((id) => id !== undefined)
  const connected = new Set(node.getConnections().map((connection) => connection.remotePeer.toString()))
  return ids.filter((id) => connected.has(id) && keyOfPeerIdText(id)).map((id) => `/p2p/${id}`)
}

/** One WebSocket, one WebRTC-direct and two relayed addresses at most: a presence record has room for four. */
function addressesOf(node: MeshNode, relaysUp: readonly string[]): string[] {
  const own = node.getMultiaddrs()
  const direct = own.filter((address) => !address.toString().includes('/p2p-circuit'))
  const best = (matches: (address: Multiaddr) => boolean): string[] => {
    const found = direct.filter(matches).map((address) => address.toString().replace(/\/p2p\/[^/]+$/, ''))
    // Reached from other machines too, where there is one.
    const chosen = found.find((text) => !/^\/ip4\/127\.|^\/ip6\/::1\//.test(text)) ?? found[0]
    return chosen ? [chosen] : []
  }
  const reserved = own.some((address) => address.toString().includes('/p2p-circuit'))
  const relayed = reserved ? relayAddresses(node, relaysUp).map((relay) => `${relay}/p2p-circuit/webrtc`) : []
  return [
    ...best((address) => WebSockets.matches(address) || WebSocketsSecure.matches(address)),
    ...best((address) => WebRTCDirect.matches(address)),
    ...relayed.slice(0, 2),
  ]
}

function closed(connection: Connection, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (connection.status !== 'open' || signal.aborted) return resolve()
    connection.addEventListener('close', () => resolve(), { once: true })
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const timer = setTimeout(resolve, ms)
    signal.addEventListener(
      'abort',
      () => {
        clearTimeout(timer)
        resolve()
      },
      { once: true },
    )
  })
}

/** The sentence of a failed dial: of several, the last. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors.at(-1))
  return error instanceof Error ? error.message : String(error)
}
