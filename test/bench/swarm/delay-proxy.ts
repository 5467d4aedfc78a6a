// A TCP proxy that holds every byte back for a fixed time and a seeded jitter, in both directions, and keeps their order: a network's distance in user space.
import { connect, createServer, type Socket } from 'node:net'
import { randomFrom } from './fleet.ts'

export interface DelayProxy {
  port: number
  close(): void
}

export async function delayProxy(target: number, delayMs: number, jitterMs = 0, seed = 1): Promise<DelayProxy> {
  const random = randomFrom(seed)
  const sockets = new Set<Socket>()
  const pass = (from: Socket, to: Socket): void => {
    let lastMs = 0
    from.setNoDelay(true)
    from.on('data', (bytes: Buffer) => {
      // Never before what was sent earlier.
      lastMs = Math.max(lastMs, performance.now() + delayMs + random() * jitterMs)
      setTimeout(() => to.writable && to.write(bytes), Math.max(0, lastMs - performance.now()))
    })
    from.on('error', () => to.destroy())
    from.on('close', () => to.destroy())
  }
  const server = createServer((socket) => {
    const upstream = connect({ port: target, host: '127.0.0.1' })
    for (const one of [socket, upstream]) {
      sockets.add(one)
      one.once('close', () => sockets.delete(one))
    }
    pass(socket, upstream)
    pass(upstream, socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return {
    port: typeof address === 'object' && address ? address.port : 0,
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

/** A port nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' && address ? address.port : 0
}
