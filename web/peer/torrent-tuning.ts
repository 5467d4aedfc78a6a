// What WebTorrent asks whom for, and how often it thinks about it. Two of its habits cost too much here (measured with one seeding and five fetching tabs, 98 MB, two
// cores): it goes through all wires and all pieces for every block of 16 KiB that comes, and it asks a seeder for what other tabs could give as well.
import type { Torrent, Wire } from 'webtorrent/dist/webtorrent.min.js'
import { mayAsk, type Source } from './piece-policy.ts'
import { blockBytes, type Piece, plainBlockBytes, slowBytesPerSecond, useLargeBlocks } from './torrent-wire.ts'

/** The requests in flight are worth half a second or more: looking this often keeps them so. */
const updateMs = 100
/** When somebody who could send waits for a request. */
const dryMs = 20
/** When nothing happens. */
const againMs = 1000
/** Without a byte from any peer for this long, the relay's web seed may be asked for anything. */
const starvingMs = 2500

/** The parts of a torrent that are nobody's business but are needed here; webtorrent 3.0.21. Absent ones (another version) leave WebTorrent as it is. */
interface Inside extends Torrent {
  /** null: here. */
  pieces: (Piece | null)[]
  _reservations: (Wire | null)[][]
  _rarityMap: { getRarestPiece(filter: (piece: number) => boolean): number }
  _update(): void
  _updateWireWrapper(): void
  _updateWire(wire: Wire): void
}

/** Makes a torrent that is ready ask by `mayAsk`, and think less often. */
export function tune(torrent: Torrent): void {
  const inside = torrent as Inside
  const map = inside._rarityMap
  if (!map || !inside._updateWireWrapper || !inside._updateWire) return
  const { getRarestPiece } = map
  const scale = useLargeBlocks(torrent) ? blockBytes / plainBlockBytes : 1
  const updateWire = inside._updateWire
  const peaks = new WeakMap<Wire, number>()
  const count = inside.pieces.length
  /** Of the look that runs. */
  let asked: Source | null = null
  let spread = new Uint16Array(count)
  let slow = new Set<Wire>()
  let seeders = 0
  let othersSpeed = 0
  let heardAt = performance.now()

  const look = (): void => {
    const wires = inside.wires
    spread = new Uint16Array(count)
    slow = new Set()
    seeders = 0
    othersSpeed = 0
    for (const wire of wires) {
      const speed = wire.downloadSpeed()
      peaks.set(wire, Math.max(speed, peaks.get(wire) ?? 0))
      if (speed < slowBytesPerSecond) slow.add(wire)
      if (wire.type === 'webSeed') continue
      if (speed > 0) heardAt = performance.now()
      if (wire.isSeeder) seeders++
      else {
        othersSpeed += speed
        if (wire.peerChoking) continue
        for (let piece = 0; piece < count; piece++) if (wire.peerPieces.get(piece)) spread[piece]++
      }
    }
    inside._updateWireWrapper()
  }

  // A piece whose blocks are all asked for elsewhere is worth a thought only where somebody slow holds one: without this the search is quadratic in the pieces.
  const free = (index: number): boolean => {
    const piece = inside.pieces[index]
    if (!piece) return false
    if (piece._reservations < piece._chunks || (piece._cancellations?.length ?? 0) > 0) return true
    return slow.size > 0 && (inside._reservations[index]?.some((wire) => wire !== null && slow.has(wire)) ?? false)
  }
  map.getRarestPiece = (filter) => {
    const source = asked
    const starving = performance.now() - heardAt > starvingMs
    const wanted = source && source.kind !== 'partial' ? (piece: number) => mayAsk(source, spread[piece], seeders, othersSpeed, starving) : () => true
    return getRarestPiece.call(map, (piece: number) => free(piece) && filter(piece) && wanted(piece))
  }
  inside._updateWire = (wire) => {
    largeBlocks(wire)
    asked = { kind: wire.type === 'webSeed' ? 'web' : wire.isSeeder ? 'seeder' : 'partial', speed: wire.downloadSpeed(), peak: peaks.get(wire) ?? 0 }
    try {
      updateWire.call(inside, wire)
    } finally {
      asked = null
    }
  }

  // How many requests fill a second WebTorrent reckons in blocks of 16 KiB: while it does, a wire is as much slower as the blocks are larger.
  const scaled = new WeakSet<Wire>()
  const largeBlocks = (wire: Wire): void => {
    if (scaled.has(wire) || wire.type === 'webSeed') return
    scaled.add(wire)
    const { downloadSpeed } = wire
    // With an argument it is told of bytes that came.
    wire.downloadSpeed = (bytes) => downloadSpeed.call(wire, bytes) / (asked ? scale : 1)
  }

  let lookedAt = 0
  let timer: ReturnType<typeof setTimeout> | undefined
  const lookNow = (): void => {
    clearTimeout(timer)
    timer = undefined
    lookedAt = performance.now()
    if (!inside.destroyed) look()
  }
  const dry = (): boolean => inside.wires.some((wire) => wire.requests.length === 0 && wire.amInterested && !wire.peerChoking)
  // At once when the last look is old, so that a hidden tab, whose timers come once a second, goes on with what comes.
  inside._update = () => {
    const since = performance.now() - lookedAt
    if (since >= updateMs || (since >= dryMs && dry())) lookNow()
    else timer ??= setTimeout(lookNow, updateMs - since)
  }
  // What was refused because peers have it is looked at again when they have sent nothing for a while, though nothing happens then.
  const again = setInterval(() => {
    if (inside.destroyed) clearInterval(again)
    else inside._update()
  }, againMs)
}
