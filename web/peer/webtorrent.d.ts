// Types of webtorrent's prebuilt browser bundle: only what web/peer/torrents.ts uses.
declare module 'webtorrent/dist/webtorrent.min.js' {
  export interface Emitter {
    on(event: string, listener: (...values: never[]) => void): this
    once(event: string, listener: (...values: never[]) => void): this
  }
  export interface Wire extends Emitter {
    type: string
    peerId: string
    downloaded: number
    uploaded: number
    /** It has every piece. */
    isSeeder: boolean
    peerChoking: boolean
    amInterested: boolean
    /** Blocks asked for and not here yet. */
    requests: unknown[]
    peerPieces: { get(piece: number): boolean }
    /** Bytes per second; told how many came, it counts them. */
    downloadSpeed(bytes?: number): number
    destroy(): void
  }
  export interface TorrentFile {
    name: string
    length: number
    downloaded: number
    select(priority?: number): void
    deselect(): void
  }
  export interface Torrent extends Emitter {
    name: string
    files: TorrentFile[]
    pieceLength: number
    wires: Wire[]
    ready: boolean
    destroyed: boolean
    addWebSeed(url: string): void
    removePeer(peerId: string): void
    destroy(options?: object, done?: (error?: Error) => void): void
  }
  export type ChunkDone<T = undefined> = (error: Error | null, value?: T) => void
  export interface AddOptions {
    announce: string[]
    deselect: boolean
    bitfield: Uint8Array
    store: new (chunkLength: number) => unknown
    storeCacheSlots: number
    strategy: 'rarest' | 'sequential'
    uploads: number
  }
  export default class WebTorrent {
    static WEBRTC_SUPPORT: boolean
    constructor(options: object)
    on(event: string, listener: (...values: never[]) => void): this
    add(metainfo: Uint8Array, options: AddOptions): Torrent
    throttleUpload(bytesPerSecond: number): void
    destroy(done?: (error?: Error) => void): void
  }
}
