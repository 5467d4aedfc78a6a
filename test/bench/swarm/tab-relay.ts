// A relay in a process of its own for the bench's tabs: `node tab-relay.ts '{"home":…,"pages":…,"seed":false}'`. It counts what it sends of models over HTTP, which
// `meadow serve` has no reason to, and may be told not to seed, so that a tab is the only seeder. Prints {"url":…}; answers every message with its counts.
import { Hono } from 'hono'
import { startRelayMesh } from '../../../relay/mesh/relay.ts'
import { createApp, startServer } from '../../../relay/server.ts'
import { openStore } from '../../../relay/store.ts'

export interface TabRelayConfig {
  home: string
  pages: string
  seed: boolean
}

export interface TabRelayCounts {
  /** Bytes of shards sent over HTTP: the web seed and downloads alike. */
  webBytes: number
  /** Bytes of shards that the relay's own seeder sent over WebRTC. */
  seededBytes: number
}

const config = JSON.parse(process.argv[2]!) as TabRelayConfig
const store = openStore(config.home)
const mesh = await startRelayMesh({ store, version: 'bench', direct: null, seed: config.seed })
const inner = createApp({ store, pages: config.pages, version: 'bench', mesh })
let webBytes = 0
const app = new Hono()
app.all('*', async (c) => {
  const response = await inner.fetch(c.req.raw)
  const { pathname } = new URL(c.req.url)
  if (c.req.method === 'GET' && response.ok && /^\/models\/[0-9a-f]{64}\/(embed|head|tokenizer|layer-\d+)$/.test(pathname))
    webBytes += Number(response.headers.get('content-length') ?? 0)
  return response
})
const server = await startServer(app, 0, '127.0.0.1', mesh.attach)
if (config.seed) await mesh.seedStore(server.port)
console.log(JSON.stringify({ url: `http://localhost:${server.port}` }))
process.on('message', () => {
  const { seeding } = mesh.counts() as { seeding: { uploadedBytes: number }[] }
  const counts: TabRelayCounts = { webBytes, seededBytes: seeding.reduce((sum, { uploadedBytes }) => sum + uploadedBytes, 0) }
  process.send?.(counts)
})
// Ends with its parent.
process.once('disconnect', () => process.exit())
process.once('SIGTERM', () => process.exit())
