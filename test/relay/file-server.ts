// A web server for one file, with the faults of real ones: connections that break, files that change, servers without ranges.
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface FileServer {
  url: string
  /** Requests so far, as "METHOD path range". */
  requests: string[]
  /** The bytes being served; may be replaced. */
  body: Uint8Array
  /** For each coming request in turn, after how many bytes of the answer the connection breaks; none breaks once the list is empty. */
  breaks: number[]
  /** The reader tells here how far it is: a connection breaks only once what was sent before has arrived. */
  arrived(position: number): void
  /** Status to answer with instead, for as many requests as there are entries. */
  statuses: number[]
  ranges: boolean
  close(): Promise<void>
}

/** Serves `body` under any path that ends in /file.gguf. */
export async function serveFile(body: Uint8Array, pieceBytes = 4096): Promise<FileServer> {
  const state = { requests: [] as string[], body, breaks: [] as number[], statuses: [] as number[], ranges: true } as FileServer

  let waiting: { position: number; resolve: () => void } | undefined
  state.arrived = (position) => {
    if (waiting && position >= waiting.position) waiting.resolve()
  }

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    state.requests.push([request.method, request.url, request.headers.range].filter(Boolean).join(' '))
    const status = state.statuses.shift()
    if (status) return void response.writeHead(status).end()
    const { body } = state
    const etag = `"${createHash('sha256').update(body).digest('hex').slice(0, 16)}"`
    const ifRange = request.headers['if-range']
    const wanted = /^bytes=(\d+)-$/.exec(request.headers.range ?? '')
    const from = wanted && state.ranges && (ifRange === undefined || ifRange === etag) ? Number(wanted[1]) : 0
    if (from >= body.length && from > 0) return void response.writeHead(416, { 'content-range': `bytes */${body.length}` }).end()
    response.writeHead(from > 0 ? 206 : 200, {
      'content-length': body.length - from,
      etag,
      ...(from > 0 ? { 'content-range': `bytes ${from}-${body.length - 1}/${body.length}` } : {}),
    })
    const breakAfter = state.breaks.shift() ?? Number.POSITIVE_INFINITY
    for (let at = from; at < body.length; at += pieceBytes) {
      const end = Math.min(body.length, at + pieceBytes)
      if (end - from > breakAfter) {
        response.write(body.subarray(at, from + breakAfter))
        response.flushHeaders()
        await new Promise<void>((resolve) => {
          waiting = { position: from + breakAfter, resolve }
        })
        return void response.destroy()
      }
      if (!response.write(body.subarray(at, end))) await new Promise((resolve) => response.once('drain', resolve).once('close', resolve))
      if (response.destroyed) return
    }
    response.end()
  }

  const server = createServer((request, response) => void answer(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/owner/file.gguf`
  state.close = () =>
    new Promise((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  return state
}
