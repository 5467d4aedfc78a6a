// A static server for bench pages on 127.0.0.1: cross-origin isolated, so that WASM may use threads. `routes` maps URL prefixes to folders or single files.
import { createReadStream, statSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { extname, join, normalize } from 'node:path'

const types: Record<string, string> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.wasm': 'application/wasm',
  '.json': 'application/json',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
}

export interface Server {
  /** http://127.0.0.1:port, without a slash at the end. */
  address: string
  /** Prefixes may be added while the server runs. */
  routes: Map<string, string>
  close(): Promise<void>
}

export async function serve(routes: Record<string, string>): Promise<Server> {
  const table = new Map(Object.entries(routes))
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://host').pathname)
    const prefix = [...table.keys()].filter((p) => path === p || path.startsWith(p.endsWith('/') ? p : `${p}/`)).sort((a, b) => b.length - a.length)[0]
    const target = prefix === undefined ? '' : join(table.get(prefix) as string, normalize(`/${path.slice(prefix.length)}`))
    const found = target ? statSync(target.replace(/\/$/, ''), { throwIfNoEntry: false }) : undefined
    if (!found?.isFile()) {
      response.writeHead(404).end()
      return
    }
    response.writeHead(200, {
      'content-type': types[extname(path)] ?? 'application/octet-stream',
      'content-length': found.size,
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-embedder-policy': 'require-corp',
      'cross-origin-resource-policy': 'same-origin',
    })
    createReadStream(target.replace(/\/$/, '')).pipe(response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    routes: table,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}
