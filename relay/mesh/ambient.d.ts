// Types of what has none: only what the relay uses.

declare module 'bittorrent-tracker' {
  interface TrackerSocket {
    close(code: number, reason: string): void
    terminate(): void
    once(event: 'close', listener: () => void): void
  }
  export class Server {
    constructor(options: {
      http: false
      udp: false
      stats: false
      interval: number
      peersCacheLength: number
      ws: { noServer: true; maxPayload: number }
      filter: (infoHash: string, params: unknown, done: (error: Error | null) => void) => void
    })
    torrents: Record<string, { complete: number; incomplete: number }>
    ws: {
      handleUpgrade(
        request: import('node:http').IncomingMessage,
        socket: import('node:stream').Duplex,
        head: Buffer,
        done: (socket: TrackerSocket) => void,
      ): void
      emit(event: 'connection', socket: TrackerSocket, request: import('node:http').IncomingMessage): void
      close(): void
    }
    _onWebSocketRequest(socket: TrackerSocket, options: unknown, message: unknown): void
    on(event: 'warning' | 'error', listener: (error: Error) => void): void
  }
}

declare module 'webtorrent' {
  import type { EventEmitter } from 'node:events'
  export interface Torrent extends EventEmitter {
    infoHash: string
    uploaded: number
    downloaded: number
    uploadSpeed: number
    numPeers: number
    done: boolean
    progress: number
    addPeer(address: string): boolean
    destroy(options: object, done?: (error?: Error) => void): void
  }
  export interface AddOptions {
    announce?: string[]
    urlList?: string[]
    path?: string
    store?: new (chunkLength: number) => unknown
    skipVerify?: boolean
    storeCacheSlots?: number
    uploads?: number
  }
  export default class WebTorrent extends EventEmitter {
    constructor(options: object)
    add(metainfo: Uint8Array, options: AddOptions, ready?: (torrent: Torrent) => void): Torrent
    destroy(done?: (error?: Error) => void): void
    _connPool: { tcpServer: import('node:net').Server } | null
  }
}
