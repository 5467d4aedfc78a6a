// What a relay tells of its mesh over HTTP: how to join, what the swarm holds (once, and live), metainfo of the store's models.
import { Hono } from 'hono'
import { streamSSE } from 'hono/streaming'
import type { Store } from '../store.ts'
import type { RelayMesh } from './relay.ts'

/** Events of /swarm/events at once: each holds a socket. */
const swarmWatchersMax = 500
/** A comment so often keeps proxies from closing a quiet stream. */
const swarmBeatMs = 15_000

export function meshRoutes(mesh: RelayMesh, store: Store): Hono {
  const app = new Hono()
  const fresh = { 'Cache-Control': 'no-store' }
  app.get('/mesh.json', (c) => {
    const url = new URL(c.req.url)
    // A TLS proxy says so; whoever forges it changes only what they are told themselves.
    if (c.req.header('x-forwarded-proto') === 'https') url.protocol = 'https:'
    return c.json(mesh.meshJson(url), 200, fresh)
  })
  app.get('/swarm', async (c, next) => {
    // The page lies under /swarm/; programs ask for JSON, browsers for a page.
    if ((c.req.header('accept') ?? '').includes('text/html')) return next()
    return c.json(await mesh.swarm(), 200, fresh)
  })
  let watchers = 0
  app.get('/swarm/events', (c) => {
    if (watchers >= swarmWatchersMax) return c.text('Too many are watching; ask GET /swarm now and then.', 503, fresh)
    watchers++
    return streamSSE(c, async (stream) => {
      let wake = (): void => {}
      let changed = true
      const stop = mesh.onChange(() => {
        changed = true
        wake()
      })
      stream.onAbort(() => wake())
      let sent = ''
      try {
        while (!stream.aborted && !stream.closed) {
          if (changed) {
            changed = false
            const data = JSON.stringify(await mesh.swarm())
            if (data !== sent) await stream.writeSSE({ data })
            sent = data
          } else await stream.write(': \n\n')
          if (stream.aborted || changed) continue
          await new Promise<void>((resolve) => {
            const timer = setTimeout(resolve, swarmBeatMs)
            wake = () => {
              clearTimeout(timer)
              resolve()
            }
          })
        }
      } finally {
        stop()
        watchers--
      }
    })
  })
  app.get('/models/:id/torrent', async (c) => {
    const model = (await store.list()).find((one) => one.id === c.req.param('id'))
    if (!model) return c.text('No such model.', 404, fresh)
    const { bytes, infoHash } = await mesh.metainfo(model)
    return c.body(bytes as Uint8Array<ArrayBuffer>, 200, {
      'Content-Type': 'application/x-bittorrent',
      'Cache-Control': 'public, max-age=31536000, immutable',
      ETag: `"${infoHash}"`,
    })
  })
  app.get('/mesh/counts', (c) => c.json(mesh.counts(), 200, fresh))
  return app
}
