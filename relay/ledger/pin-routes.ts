// Pins over HTTP (pins.ts): put what is behind a root, get it. Mounted by the ledger's routes under /pins.
import { Hono, type Context as Request } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import type { LedgerNode } from './node.ts'
import { type PinContext, type Pins, pinBytesMax } from './pins.ts'

const id = /^[0-9a-f]{64}$/

function contextOf(c: Request): PinContext {
  const { job, claim, receipt } = c.req.query()
  if (job !== undefined && id.test(job)) return { job }
  if (claim !== undefined && id.test(claim)) return { claim }
  if (receipt !== undefined && /^[0-9a-f]{64}\/\d{1,2}$/.test(receipt)) return { receipt }
  throw new RangeError('say what it belongs to: ?job=, ?claim= or ?receipt=session/host')
}

function rootOf(c: Request): string {
  const root = c.req.param('root') ?? ''
  if (!id.test(root)) throw new RangeError('a root has 64 hex digits')
  return root
}

function receiptOf(c: Request): { session: string; host: number } {
  const session = c.req.param('session') ?? ''
  const host = c.req.param('host') ?? ''
  if (!id.test(session) || !/^\d{1,2}$/.test(host)) throw new RangeError('a receipt is named by a session of 64 hex digits and a host below 100')
  return { session, host: Number(host) }
}

export function pinRoutes(node: LedgerNode, pins: Pins): Hono {
  const app = new Hono()
  const most = bodyLimit({ maxSize: pinBytesMax, onError: (c) => c.json({ error: { code: 'oversized', message: `at most ${pinBytesMax} bytes` } }, 413) })
  const bodyOf = async (c: Request): Promise<Uint8Array> => new Uint8Array(await c.req.arrayBuffer())
  const found = (c: Request, name: string) => {
    const bytes = pins.get(name)
    if (!bytes) return c.json({ error: { code: 'missing', message: 'this is not pinned here' } }, 404)
    return c.body(bytes as Uint8Array<ArrayBuffer>, 200, { 'Content-Type': 'application/octet-stream' })
  }
  app.get('/tokens/:root', (c) => found(c, `tokens/${rootOf(c)}`))
  app.put('/tokens/:root', most, async (c) => {
    pins.putTokens(node, rootOf(c), await bodyOf(c), contextOf(c))
    return c.json({ pinned: true }, 201)
  })
  app.get('/records/:root', (c) => found(c, `records/${rootOf(c)}`))
  app.put('/records/:root', most, async (c) => {
    pins.putRecords(node, rootOf(c), await bodyOf(c), contextOf(c))
    return c.json({ pinned: true }, 201)
  })
  app.get('/rows/:root', (c) => found(c, `rows/${rootOf(c)}`))
  app.put('/rows/:root', most, async (c) => {
    pins.putRows(node, rootOf(c), await bodyOf(c), contextOf(c))
    return c.json({ pinned: true }, 201)
  })
  app.get('/receipts/:session/:host', (c) => {
    const { session, host } = receiptOf(c)
    return found(c, `receipts/${session}/${host}`)
  })
  app.put('/receipts/:session/:host', most, async (c) => {
    const { session, host } = receiptOf(c)
    pins.putReceipt(node, session, host, await bodyOf(c))
    return c.json({ pinned: true }, 201)
  })
  return app
}
