// One web port: WebSocket upgrades are routed here, /tracker to the tracker and /mesh (or /, which is where libp2p's addresses lead: they have no path) to libp2p's
// own listener on a loopback port. Caps on connections are enforced here, since libp2p sees only the loopback.
import type { IncomingMessage, Server } from 'node:http'
import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type UpgradeLimits, upgradeLimits } from './limits.ts'

export interface UpgradeTargets {
  /** Loopback port of libp2p's WebSocket listener. */
  meshPort: number
  tracker: (request: IncomingMessage, socket: Duplex, head: Buffer) => void
}

export interface UpgradeRouter {
  /** Takes a server's upgrades from now on. */
  attach(server: Server): void
  /** `bytes`: what libp2p's WebSockets have carried, both ways, of those that have closed and those that stand. */
  counts(): { open: number; refused: number; addresses: number; bytes: number }
  close(): void
}

interface Address {
  open: number
  /** Connections it may still open now, refilled by time. */
  left: number
  atMs: number
}

/** Addresses remembered for their rate once nothing of theirs is open; the oldest go first. */
const addressesMax = 10_000

export function createUpgradeRouter(targets: UpgradeTargets, limits: UpgradeLimits = upgradeLimits): UpgradeRouter {
  const addresses = new Map<string, Address>()
  const sockets = new Set<Duplex>()
  let refused = 0
  let closedBytes = 0
  const carried = (socket: Duplex): number => (socket as Socket).bytesRead + (socket as Socket).bytesWritten

  const refuse = (socket: Duplex, status: string, reason: string): void => {
    refused++
    socket.end(`HTTP/1.1 ${status}\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: ${reason.length}\r\n\r\n${reason}`)
  }

  /** A sentence when the connection must be refused, else null and it is counted. */
  const admit = (name: string): string | null => {
    if (sockets.size >= limits.connectionsMax) return `This relay holds ${limits.connectionsMax} connections, its limit.`
    if (isLoopback(name)) return null
    const nowMs = performance.now()
    const address = addresses.get(name) ?? { open: 0, left: limits.connectionsPerAddressMax, atMs: nowMs }
    addresses.delete(name)
    addresses.set(name, address)
    if (addresses.size > addressesMax) forgetOne(addresses)
    address.left = Math.min(limits.connectionsPerAddressMax, address.left + ((nowMs - address.atMs) / 1000) * limits.connectionsPerSecondMax)
    address.atMs = nowMs
    if (address.open >= limits.connectionsPerAddressMax) return `Your address holds ${limits.connectionsPerAddressMax} connections to this relay, its limit.`
    if (address.left < 1) return 'Your address opens connections too fast.'
    address.left--
    address.open++
    return null
  }

  const onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    socket.on('error', () => socket.destroy())
    const path = (request.url ?? '').replace(/\?.*$/, '')
    const target = path === '/tracker' ? 'tracker' : path === '/' || path === '/mesh' ? 'mesh' : null
    if (!target) return refuse(socket, '404 Not Found', 'There is no WebSocket at this path.')
    if ((request.headers.upgrade ?? '').toLowerCase() !== 'websocket') return refuse(socket, '400 Bad Request', 'Only WebSockets are upgraded to.')
    const name = request.socket.remoteAddress ?? ''
    const reason = admit(name)
    if (reason) return refuse(socket, '429 Too Many Requests', reason)
    sockets.add(socket)
    socket.once('close', () => {
      sockets.delete(socket)
      closedBytes += carried(socket)
      const address = addresses.get(name)
      if (address && address.open > 0) address.open--
    })
    if (target === 'tracker') targets.tracker(request, socket, head)
    else pipe(request, socket as Socket, head, targets.meshPort)
  }

  return {
    attach: (server) => void server.on('upgrade', onUpgrade),
    counts: () => ({ open: sockets.size, refused, addresses: addresses.size, bytes: [...sockets].reduce((sum, socket) => sum + carried(socket), closedBytes) }),
    close() {
      for (const socket of sockets) socket.destroy()
    },
  }
}

/** Hands the request on as it came, then the bytes of both sides. */
function pipe(request: IncomingMessage, socket: Socket, head: Buffer, port: number): void {
  const upstream = connect({ port, host: '127.0.0.1' })
  upstream.setNoDelay(true)
  socket.setNoDelay(true)
  const lines = [`${request.method} / HTTP/1.1`]
  for (let i = 0; i < request.rawHeaders.length; i += 2) lines.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}`)
  upstream.write(`${lines.join('\r\n')}\r\n\r\n`)
  if (head.length > 0) upstream.write(head)
  socket.pipe(upstream)
  upstream.pipe(socket)
  const end = () => {
    socket.destroy()
    upstream.destroy()
  }
  for (const one of [socket, upstream]) one.on('error', end).on('close', end)
}

/** The longest unseen address that has nothing open. */
function forgetOne(addresses: Map<string, Address>): void {
  for (const [name, { open }] of addresses) if (open === 0) return void addresses.delete(name)
}

const isLoopback = (address: string) => address === '::1' || /^(::ffff:)?127\./.test(address)
