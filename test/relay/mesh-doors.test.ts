// The doors of a relay's mesh, each with real sockets: mesh.json, swarm and its events, torrents, upgrade routing and its limits, tracker.
import { createHash } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { infoOf } from '../../mesh/torrent.ts'
import { createTracker } from '../../relay/mesh/tracker.ts'
import { createUpgradeRouter } from '../../relay/mesh/upgrade.ts'
import { type LocalRelay, localEngines, localPeer, localRelay } from '../mesh/local-swarm.ts'

let relay: LocalRelay
beforeAll(async () => {
  relay = await localRelay()
}, 60_000)
afterAll(() => relay.close(), 60_000)

test('/mesh.json names the relay by the address one asked at, wss behind a TLS proxy, and no third party', async () => {
  const { port } = new URL(relay.url)
  const json = await (await fetch(`${relay.url}/mesh.json`)).json()
  expect(json).toMatchObject({
    version: '0.0.0',
    protocol: 1,
    network: 'main',
    peer: relay.mesh.key,
    relays: [expect.stringMatching(new RegExp(`^/ip4/127\\.0\\.0\\.1/tcp/${port}/ws/p2p/12D3Koo\\w+$`))],
    tracker: `ws://127.0.0.1:${port}/tracker`,
    iceServers: [],
  })
  const proxied = await (await fetch(`${relay.url}/mesh.json`, { headers: { 'x-forwarded-proto': 'https', host: 'meadow.example' } })).json()
  expect(proxied.tracker).toMatch(/^wss:/)
  expect(relay.mesh.meshJson(new URL('https://meadow.example/')).relays[0]).toMatch(/^\/dns\/meadow\.example\/tcp\/443\/wss\/p2p\//)
  expect(relay.mesh.meshJson(new URL('http://[::1]:8787/')).relays[0]).toMatch(/^\/ip6\/::1\/tcp\/8787\/ws\/p2p\//)
})

test('/swarm is a table, its events tell of a host that comes and of one that goes', async () => {
  const stop = new AbortController()
  const events = await fetch(`${relay.url}/swarm/events`, { signal: stop.signal })
  expect(events.headers.get('content-type')).toContain('text/event-stream')
  const tables: { models: { hosts: unknown[]; runnable: boolean }[] }[] = []
  const heard = (async () => {
    let text = ''
    for await (const piece of events.body!.pipeThrough(new TextDecoderStream() as never) as unknown as AsyncIterable<string>) {
      text += piece
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        const data = /^data: (.*)$/m.exec(text.slice(0, end))?.[1]
        if (data) tables.push(JSON.parse(data))
        text = text.slice(end + 2)
      }
      if (tables.some((table) => table.models[0]!.runnable) && !tables.at(-1)!.models[0]!.runnable) return
    }
  })()
  const { layers, modelId } = relay.facts
  const peer = await localPeer({ relays: [relay.address], engines: localEngines(relay.source), lend: { facts: relay.facts, segment: { from: 0, to: layers } } })
  await peer.notice((notice) => notice.of === 'host' && notice.what === 'state' && notice.state === 'serving')
  while (!tables.some((table) => table.models[0]!.runnable)) await new Promise((resolve) => setTimeout(resolve, 20))
  const table = await (await fetch(`${relay.url}/swarm`)).json()
  expect(table).toMatchObject({ network: 'main', hosts: 1, models: [{ id: modelId, runnable: true, holes: [], coverage: Array(layers).fill(1) }] })
  await peer.close()
  await heard
  stop.abort()
  expect(tables.at(-1)!.models[0]).toMatchObject({ runnable: false, hosts: [] })
}, 60_000)

test('/models/<id>/torrent is the metainfo every relay makes', async () => {
  const response = await fetch(`${relay.url}/models/${relay.specimen.id}/torrent`)
  const bytes = new Uint8Array(await response.arrayBuffer())
  expect(response.headers.get('etag')).toBe(`"${createHash('sha1').update(infoOf(bytes)).digest('hex')}"`)
  const other = await localRelay()
  expect(Buffer.compare(bytes, new Uint8Array(await (await fetch(`${other.url}/models/${other.specimen.id}/torrent`)).arrayBuffer()))).toBe(0)
  await other.close()
  expect((await fetch(`${relay.url}/models/${'00'.repeat(32)}/torrent`)).status).toBe(404)
}, 60_000)

test('shards may be fetched by pages of other relays, in ranges, and a preflight is remembered for a day', async () => {
  const url = `${relay.url}/models/${relay.specimen.id}/layer-0`
  const preflight = await fetch(url, { method: 'OPTIONS', headers: { origin: 'https://other.example', 'access-control-request-headers': 'range' } })
  expect(preflight.status).toBe(204)
  expect(preflight.headers.get('access-control-max-age')).toBe('86400')
  const part = await fetch(url, { headers: { range: 'bytes=0-9' } })
  expect(part.headers.get('access-control-allow-origin')).toBe('*')
  expect((await part.arrayBuffer()).byteLength).toBe(10)
  // Nothing else may be read by other sites.
  for (const path of ['/mesh.json', '/swarm', '/models', '/v1/models'])
    expect((await fetch(relay.url + path)).headers.get('access-control-allow-origin')).toBeNull()
})

/** The status line and body of an upgrade request, or 101 and an open socket. */
function upgrade(port: number, path: string): Promise<{ status: number; text: string; end: () => void }> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () =>
      socket.write(
        `GET ${path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
      ),
    )
    let text = ''
    socket.setEncoding('latin1').on('data', (data) => {
      text += data
      const status = Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1])
      if (status === 101) resolve({ status, text, end: () => socket.destroy() })
    })
    socket.on('close', () => resolve({ status: Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]), text, end: () => {} })).on('error', reject)
  })
}

async function serverWith(attach: (server: Server) => void): Promise<{ port: number; close: () => void }> {
  const server = createServer()
  attach(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { port: (server.address() as AddressInfo).port, close: () => server.close() }
}

test('WebSockets are let in at /, /mesh and /tracker, nowhere else', async () => {
  const port = Number(new URL(relay.url).port)
  for (const path of ['/', '/mesh', '/tracker']) {
    const { status, end } = await upgrade(port, path)
    expect({ path, status }).toEqual({ path, status: 101 })
    end()
  }
  expect(await upgrade(port, '/models')).toMatchObject({ status: 404, text: expect.stringContaining('There is no WebSocket at this path.') })
})

test('a relay that is full says so', async () => {
  const tracker = createTracker()
  const router = createUpgradeRouter(
    { meshPort: 9, tracker: (request, socket, head) => tracker.upgrade(request, socket, head) },
    { connectionsMax: 2, connectionsPerAddressMax: 10, connectionsPerSecondMax: 10 },
  )
  const server = await serverWith((one) => router.attach(one))
  const held = [await upgrade(server.port, '/tracker'), await upgrade(server.port, '/tracker')]
  expect(await upgrade(server.port, '/tracker')).toMatchObject({ status: 429, text: expect.stringContaining('This relay holds 2 connections, its limit.') })
  expect(router.counts()).toMatchObject({ open: 2, refused: 1 })
  for (const one of held) one.end()
  while (router.counts().open > 0) await new Promise((resolve) => setTimeout(resolve, 10))
  router.close()
  await tracker.close()
  server.close()
})

test('the tracker joins peers, ends sockets that send nonsense or too much, and goes on', async () => {
  const tracker = createTracker({ strangeTorrentsMax: 1, peersPerTorrentMax: 10, messagesPerSecondMax: 2 })
  const server = await serverWith((one) => one.on('upgrade', (request, socket, head) => tracker.upgrade(request, socket, head)))
  const open = async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${server.port}/tracker`)
    await new Promise((resolve, reject) => {
      socket.onopen = resolve
      socket.onerror = reject
    })
    return socket
  }
  const closed = (socket: WebSocket) => new Promise<number>((resolve) => socket.addEventListener('close', (event) => resolve(event.code)))
  const announce = (letter: string, rest: object = {}) =>
    JSON.stringify({
      action: 'announce',
      info_hash: 'a'.repeat(20),
      peer_id: letter.repeat(20),
      numwant: 5,
      uploaded: 0,
      downloaded: 0,
      left: 1,
      event: 'started',
      ...rest,
    })

  const first = await open()
  first.send(announce('x'))
  const second = await open()
  const offered = new Promise<{ offer: unknown }>((resolve) => {
    first.onmessage = ({ data }) => {
      const message = JSON.parse(String(data))
      if (message.offer) resolve(message)
    }
  })
  second.send(announce('y', { offers: [{ offer: { type: 'offer', sdp: 'v=0' }, offer_id: 'b'.repeat(20) }] }))
  expect((await offered).offer).toEqual({ type: 'offer', sdp: 'v=0' })
  expect(tracker.counts()).toEqual({ torrents: 1, peers: 2 })

  const liar = await open()
  const liarEnd = closed(liar)
  liar.send(announce('z', { offers: [null, 7] }))
  expect(await liarEnd).toBe(1007)

  const stranger = await open()
  const refused = new Promise<string>((resolve) => {
    stranger.onmessage = ({ data }) => resolve(String(data))
  })
  stranger.send(announce('w', { info_hash: 'q'.repeat(20) }))
  expect(await refused).toContain('has no room for others')

  const flood = await open()
  const floodEnd = closed(flood)
  for (let i = 0; i < 30; i++) flood.send(announce('v', { event: 'update' }))
  expect(await floodEnd).toBe(1008)
  expect(first.readyState).toBe(WebSocket.OPEN)
  await tracker.close()
  server.close()
}, 30_000)
