import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createApp, type RunningServer, startServer } from '../../relay/server.ts'
import { openStore } from '../../relay/store.ts'
import { hashedPackage } from './hashed-package.ts'

let home: string
let server: RunningServer
let base: string
let id: string
let embed: Uint8Array

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'meadow-server-'))
  const store = openStore(home)
  const tiny = await hashedPackage()
  embed = tiny.shards[tiny.manifest.shards.findIndex((shard) => shard.name === 'embed')]!
  id = (await store.install(tiny.writeTo, { name: null, source: 'test', pinned: 'local' }, () => '')).id
  const pages = join(home, 'pages')
  await mkdir(join(pages, 'chat'), { recursive: true })
  await mkdir(join(pages, 'assets'))
  await writeFile(join(pages, 'index.html'), '<!doctype html>home')
  await writeFile(join(pages, 'chat', 'index.html'), '<!doctype html>chat')
  await writeFile(join(pages, 'assets', 'a-1234.js'), 'export {}')
  await writeFile(join(home, 'secret'), 'secret')
  server = await startServer(createApp({ store, pages, version: '1.2.3' }), 0, '127.0.0.1')
  base = `http://127.0.0.1:${server.port}`
})
afterAll(async () => {
  await server.close()
  await rm(home, { recursive: true })
})

const get = (path: string, headers: Record<string, string> = {}) => fetch(base + path, { headers })
const shard = (range?: string, headers: Record<string, string> = {}) => get(`/models/${id}/embed`, range === undefined ? headers : { range, ...headers })
const bytesOf = async (response: Response) => new Uint8Array(await response.arrayBuffer())

test('every answer, errors included, isolates the page and lets it load nothing but its own', async () => {
  for (const path of ['/', '/chat/', '/assets/a-1234.js', '/health', '/models', `/models/${id}/embed`, '/nothing', '/models/x/y']) {
    const { headers } = await get(path)
    expect(headers.get('cross-origin-opener-policy')).toBe('same-origin')
    expect(headers.get('cross-origin-embedder-policy')).toBe('require-corp')
    // The files of models are public: other relays' tabs use them as a web seed.
    expect(headers.get('cross-origin-resource-policy'), path).toBe(path.startsWith('/models/') ? 'cross-origin' : 'same-origin')
    expect(headers.get('access-control-allow-origin'), path).toBe(path.startsWith('/models/') ? '*' : null)
    expect(headers.get('x-content-type-options')).toBe('nosniff')
    const policy = headers.get('content-security-policy')!
    expect(policy).toContain("default-src 'none'")
    expect(policy).not.toMatch(/unsafe-inline|'unsafe-eval'|https?:|\*/)
  }
})

test('pages are asked for again, files with a hash in their name are kept', async () => {
  const home = await get('/')
  expect(await home.text()).toContain('home')
  expect(home.headers.get('cache-control')).toBe('no-cache')
  expect(await (await get('/chat/')).text()).toContain('chat')
  const asset = await get('/assets/a-1234.js')
  expect(asset.headers.get('content-type')).toMatch(/javascript/)
  expect(asset.headers.get('cache-control')).toMatch(/immutable/)
  expect((await get('/nothing')).status).toBe(404)
})

test('/health and /models say what is there', async () => {
  expect(await (await get('/health')).json()).toEqual({ ok: true, version: '1.2.3' })
  const models = (await (await get('/models')).json()) as { id: string; shards: { name: string; bytes: number }[] }[]
  expect(models.map((model) => model.id)).toEqual([id])
  expect(models[0]!.shards.find((one) => one.name === 'embed')!.bytes).toBe(embed.length)
})

test('a shard comes whole, in ranges, or not again', async () => {
  const whole = await shard()
  expect(whole.status).toBe(200)
  expect(Buffer.compare(await bytesOf(whole), embed)).toBe(0)
  const etag = whole.headers.get('etag')!
  expect(whole.headers.get('accept-ranges')).toBe('bytes')
  expect((await shard(undefined, { 'if-none-match': etag })).status).toBe(304)

  const ranges: [string, number, number][] = [
    ['bytes=0-9', 0, 10],
    ['bytes=100-', 100, embed.length],
    ['bytes=-5', embed.length - 5, embed.length],
    [`bytes=10-${embed.length * 2}`, 10, embed.length],
  ]
  for (const [range, from, to] of ranges) {
    const part = await shard(range)
    expect(part.status).toBe(206)
    expect(part.headers.get('content-range')).toBe(`bytes ${from}-${to - 1}/${embed.length}`)
    expect(Buffer.compare(await bytesOf(part), embed.subarray(from, to))).toBe(0)
  }
  const beyond = await shard(`bytes=${embed.length}-`)
  expect(beyond.status).toBe(416)
  expect(beyond.headers.get('content-range')).toBe(`bytes */${embed.length}`)
  expect((await shard('bytes=5-2')).status).toBe(200)
  expect((await shard('bytes=0-9', { 'if-range': '"other"' })).status).toBe(200)
  expect((await shard('bytes=0-9', { 'if-range': etag })).status).toBe(206)
  const head = await fetch(`${base}/models/${id}/embed`, { method: 'HEAD' })
  expect(head.headers.get('content-length')).toBe(String(embed.length))
})

test('nothing outside the pages and the shards can be read', async () => {
  for (const path of [
    '/models/../secret',
    `/models/${id}/../../secret`,
    `/models/${id}/origin.json`,
    `/models/${id}/..%2f..%2fsecret`,
    '/..%2fsecret',
    '/%2e%2e/secret',
    '/assets/..%5c..%5csecret',
    '//secret',
    `/models/${id}/nothing`,
  ]) {
    // fetch() would tidy the path up; a socket does not.
    const answer = await raw(path)
    expect(answer).toMatch(/^HTTP\/1\.1 4\d\d/)
    expect(answer).not.toMatch(/\r\n\r\n.*secret/s)
  }
})

test('localhost is both of its addresses, where there are both', async () => {
  const local = await startServer(createApp({ store: openStore(home), pages: home, version: '4' }), 0, 'localhost')
  expect(await (await fetch(`http://127.0.0.1:${local.port}/health`)).json()).toEqual({ ok: true, version: '4' })
  expect(await (await fetch(`http://localhost:${local.port}/health`)).json()).toEqual({ ok: true, version: '4' })
  await local.close()
})

test('a taken port is named', async () => {
  await expect(startServer(createApp({ store: openStore(home), pages: home, version: '' }), server.port, '127.0.0.1')).rejects.toThrow(
    `Port ${server.port} is taken`,
  )
})

function raw(path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(server.port, '127.0.0.1', () => socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`))
    let text = ''
    socket.setEncoding('latin1').on('data', (data) => {
      text += data
    })
    socket.on('end', () => resolve(text)).on('error', reject)
  })
}
