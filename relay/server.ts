// The relay's web server: the pages of build/web, the models of the store (a web seed for torrents too), what the swarm holds, and the OpenAI door. Every answer
// carries the headers that make a page cross-origin isolated (threads in WASM need it) and that let it load nothing but its own.
import { createReadStream, existsSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { serve } from '@hono/node-server'
import { serveStatic } from '@hono/node-server/serve-static'
import { type Context, Hono } from 'hono'
import { hex } from '../protocol/hash.ts'
import { catalogue } from './catalogue.ts'
import { codeOf, RelayError } from './errors.ts'
import { headersOf } from './headers.ts'
import type { RelayMesh } from './mesh/relay.ts'
import { meshRoutes } from './mesh/routes.ts'
import type { Store, StoredModel } from './store.ts'

export interface AppOptions {
  store: Store
  /** Folder of the built pages. */
  pages: string
  /** Shown by /health. */
  version: string
  /** Its mesh; without one there are the pages and the models only. */
  mesh?: RelayMesh
  /** What stands at /v1 (relay/openai.ts). */
  openai?: Hono
  /** What stands at /ledger (relay/ledger/api.ts). */
  ledger?: Hono
}

/** The application, without a socket. */
export function createApp({ store, pages, version, mesh, openai, ledger }: AppOptions): Hono {
  const app = new Hono()

  app.use(async (c, next) => {
    await next()
    for (const [name, value] of Object.entries(headersOf(c.req.path))) c.res.headers.set(name, value)
  })

  app.get('/health', (c) => c.json({ ok: true, version }, 200, { 'Cache-Control': 'no-store' }))

  app.get('/models', async (c) => {
    const models = await store.list()
    return c.json(models.map(describe), 200, { 'Cache-Control': 'no-cache' })
  })
  app.options('/models/*', (c) => c.body(null, 204))
  if (mesh) app.route('/', meshRoutes(mesh, store))
  if (openai) app.route('/v1', openai)
  if (ledger) app.route('/ledger', ledger)
  app.get('/models/:id/:name', (c) => serveModelFile(c, store))
  app.all('/models/*', (c) => c.text('No such model.', 404))

  app.use(
    serveStatic({
      root: pages,
      // The build lays a smaller copy beside each text (vite.config.ts).
      precompressed: true,
      onFound: (path, c) => {
        // Vite puts a hash of the content into the names of everything in assets/.
        c.header('Cache-Control', /[/\\]assets[/\\]/.test(path) ? 'public, max-age=31536000, immutable' : 'no-cache')
      },
    }),
  )
  app.notFound((c) => c.text('There is no such page.', 404, { 'Cache-Control': 'no-store' }))
  app.onError((error, c) => {
    console.error(`${c.req.method} ${c.req.path}: ${error.message}`)
    return c.text('The relay could not answer this.', 500, { 'Cache-Control': 'no-store' })
  })
  return app
}

/** One entry of GET /models. */
function describe(model: StoredModel) {
  const { core, shards } = model.manifest
  return {
    id: model.id,
    name: core.name,
    title: catalogue.find((entry) => entry.name === model.origin?.name)?.title ?? core.name,
    isDefault: model.origin?.name === catalogue[0]!.name,
    architecture: core.architecture,
    licence: core.licence,
    layers: core.layers,
    context: core.context,
    bytes: model.bytes,
    shards: shards.map((shard) => ({ name: shard.name, bytes: shard.bytes, sha256: hex(shard.sha256) })),
  }
}

async function serveModelFile(c: Context, store: Store): Promise<Response> {
  const id = c.req.param('id') ?? ''
  const name = c.req.param('name') ?? ''
  const path = store.file(id, name)
  const found = path && (name === 'manifest' || isShardOf(store, id, name)) ? await stat(path).catch(() => null) : null
  if (!path || !found) return c.text('No such model.', 404, { 'Cache-Control': 'no-store' })
  // A model's id commits to every byte of it: the address never changes its meaning.
  const etag = `"${id}/${name}"`
  const headers: Record<string, string> = {
    'Content-Type': 'application/octet-stream',
    'Cache-Control': 'public, max-age=31536000, immutable',
    'Accept-Ranges': 'bytes',
    ETag: etag,
  }
  if (c.req.header('if-none-match') === etag) return c.body(null, 304, headers)
  const ifRange = c.req.header('if-range')
  const range = parseRange(ifRange === undefined || ifRange === etag ? c.req.header('range') : undefined, found.size)
  if (range === 'unsatisfiable') return c.body(null, 416, { ...headers, 'Content-Range': `bytes */${found.size}` })
  const [start, end] = range ?? [0, found.size - 1]
  headers['Content-Length'] = String(end - start + 1)
  if (range) headers['Content-Range'] = `bytes ${start}-${end}/${found.size}`
  const status = range ? 206 : 200
  if (c.req.method === 'HEAD') return c.body(null, status, headers)
  const stream = createReadStream(path, { start, end, highWaterMark: 256 << 10 })
  return c.body(Readable.toWeb(stream) as ReadableStream, status, headers)
}

function isShardOf(store: Store, id: string, name: string): boolean {
  try {
    return store.source(id).manifest.shards.some((shard) => shard.name === name)
  } catch {
    return false
  }
}

/** One byte range of a Range header: [first, last]; null when there is none we serve (several ranges, other units: the whole file is a valid answer). */
export function parseRange(header: string | undefined, size: number): [number, number] | 'unsatisfiable' | null {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? '')
  if (!match || (match[1] === '' && match[2] === '')) return null
  if (match[1] === '') {
    const length = Math.min(Number(match[2]), size)
    return length === 0 ? 'unsatisfiable' : [size - length, size - 1]
  }
  const first = Number(match[1])
  const last = match[2] === '' ? size - 1 : Math.min(Number(match[2]), size - 1)
  if (match[2] !== '' && Number(match[2]) < first) return null
  return first >= size ? 'unsatisfiable' : [first, last]
}

export interface RunningServer {
  port: number
  /** Ends open connections and frees the port. */
  close(): Promise<void>
}

/**
 * Listens; `localhost` means both of this machine's own addresses, since a browser may take either. `port` 0 takes a free one.
 * `attach` may take a server's upgrades. Throws RelayError naming the port when it is taken.
 */
export async function startServer(app: Hono, port: number, hostname: string, attach?: (server: Server) => void): Promise<RunningServer> {
  if (hostname !== 'localhost') return listen(app, port, hostname, attach)
  const first = await listen(app, port, '127.0.0.1', attach)
  try {
    const second = await listen(app, first.port, '::1', attach)
    return { port: first.port, close: async () => void (await Promise.all([first.close(), second.close()])) }
  } catch (error) {
    // A machine without IPv6.
    if (['EADDRNOTAVAIL', 'EAFNOSUPPORT'].includes(codeOf(error instanceof Error ? error.cause : undefined))) return first
    await first.close()
    throw error
  }
}

function listen(app: Hono, port: number, hostname: string, attach?: (server: Server) => void): Promise<RunningServer> {
  return new Promise((resolve, reject) => {
    const server = serve({ fetch: app.fetch, port, hostname }, (address) => {
      server.off('error', onError)
      resolve({ port: address.port, close: () => closeServer(server as Server, sockets) })
    })
    // Upgraded sockets are no longer the server's to close, but it waits for them.
    const sockets = new Set<Socket>()
    ;(server as Server).on('connection', (socket: Socket) => {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
    })
    const onError = (cause: Error) => {
      const refuse = (message: string) => reject(new RelayError(message, { cause }))
      if (codeOf(cause) === 'EADDRINUSE') refuse(`Port ${port} is taken by another program: choose one with --port or PORT.`)
      else if (codeOf(cause) === 'EACCES') refuse(`Port ${port} may not be used by this user: choose one above 1023 with --port or PORT.`)
      else refuse(`The server could not listen on ${hostname}, port ${port}: ${cause.message}.`)
    }
    server.on('error', onError)
    attach?.(server as Server)
  })
}

function closeServer(server: Server, sockets: Set<Socket>): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
    for (const socket of sockets) socket.destroy()
  })
}

/** Throws RelayError when the pages were not built. */
export function checkPages(pages: string): void {
  if (!existsSync(`${pages}/index.html`)) throw new RelayError(`The pages are not built (${pages} is missing): run \`npm run build\`.`)
}
