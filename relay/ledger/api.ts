// The ledger over HTTP: submit, read with proof, follow, page through. Everything read can be checked against a signed header by who reads it; nothing here is
// trusted with more than being up. Mounted by the relay under /ledger.
import { Hono, type Context as Request } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { streamSSE } from 'hono/streaming'
import { shares } from '../../ledger/apply/session.ts'
import { decodeSigned, encodeSigned } from '../../ledger/block.ts'
import { LedgerError } from '../../ledger/errors.ts'
import { encodeGenesis, leastFee } from '../../ledger/genesis.ts'
import { checkAll } from '../../ledger/invariants.ts'
import { type Key, keyOf, type RecordKind } from '../../ledger/records.ts'
import { reputationScore } from '../../ledger/reputation.ts'
import { decodeTransaction, signTransaction, transactionBytesMax } from '../../ledger/transaction.ts'
import { equalBytes, fromHex, hex } from '../../protocol/hash.ts'
import { RelayError } from '../errors.ts'
import { openApi } from './api-description.ts'
import { Inclusions } from './inclusion.ts'
import { headerJson, toJson, transactionJson } from './json.ts'
import type { LedgerNode } from './node.ts'
import { pinRoutes } from './pin-routes.ts'
import { Pins } from './pins.ts'
import { RateLimit, type RateOptions } from './rate.ts'
import type { LogEntry } from './store.ts'

export interface LedgerRouteOptions {
  /** Transactions a second and burst from one address. */
  submits?: RateOptions
  reads?: RateOptions
  /** Grants from one address: a few a day. */
  grants?: RateOptions
  /** Who asks: the address that limits count. Default: the other end of the connection; behind a proxy that would be the proxy. */
  addressOf?: (c: Request) => string
  /** Signs grants when this relay is the operator; null: no faucet here. */
  operatorSecret?: Uint8Array | null
  /** Followers at the same time. */
  followersMax?: number
  /** Where tokens and receipts are pinned; default: in memory. */
  pins?: Pins
}

const pageMax = 200
/** Records proven in one answer. */
const provenMax = 64
const isKey = (key: string): boolean => key.length <= 200 && /^[a-z]+(\/[0-9a-z]+)*$/.test(key)
/** Bytes of transactions or records in one answer: moves of disputes have up to 64 KiB, games up to 4 MiB. Hex doubles them. */
const answerBytesMax = 256 << 10
/** What a search looks through, and how much of each it shows. */
const searchedKinds = ['account', 'model', 'job', 'claim', 'session', 'dispute'] as const
const foundMax = 8
const followersDefault = 1000

/** Routes relative to where they are mounted. */
export function ledgerRoutes(node: LedgerNode, options: LedgerRouteOptions = {}): Hono {
  const app = new Hono()
  const addressOf = options.addressOf ?? remoteAddress
  const submits = new RateLimit(options.submits ?? { perSecond: 100, burst: 500 })
  const reads = new RateLimit(options.reads ?? { perSecond: 200, burst: 1000 })
  const grants = new RateLimit(options.grants ?? { perSecond: 5 / 86_400, burst: 5 })
  let followers = 0

  const limited = (limit: RateLimit) => async (c: Request, next: () => Promise<void>) => {
    const waitMs = limit.take(addressOf(c))
    if (waitMs > 0) return refusal(c, 429, 'busy', 'too many requests from this address', { 'Retry-After': String(Math.ceil(waitMs / 1000)) })
    return next()
  }
  app.use(async (c, next) => {
    await next()
    if (!c.res.headers.has('Cache-Control')) c.res.headers.set('Cache-Control', 'no-store')
  })
  app.onError((error, c) => {
    if (error instanceof LedgerError) return refusal(c, 422, error.code, error.message)
    if (error instanceof RelayError) return refusal(c, 503, 'unavailable', error.message)
    if (error instanceof RangeError) return refusal(c, 400, 'encoding', error.message)
    console.error(`${c.req.method} ${c.req.path}: ${error.message}`)
    return refusal(c, 500, 'internal', 'The ledger could not answer this.')
  })

  app.get('/openapi.json', (c) => c.json(openApi))

  app.post('/transactions', limited(submits), upTo(transactionBytesMax), async (c) => {
    const acknowledgement = await node.submit(new Uint8Array(await c.req.arrayBuffer()))
    return c.json(toJson(acknowledgement) as object, 201)
  })

  app.post('/faucet', limited(grants), upTo(1024), async (c) => {
    const secret = options.operatorSecret
    if (!secret) return refusal(c, 403, 'role', 'this relay grants nothing')
    const { account } = (await c.req.json().catch(() => ({}))) as { account?: unknown }
    if (typeof account !== 'string' || !/^[0-9a-f]{64}$/.test(account)) return refusal(c, 400, 'encoding', 'account must be 64 hex digits')
    const granted = await grantTo(node, secret, fromHex(account))
    return c.json(toJson({ ...granted, amount: node.chain.parameters.faucet.grant }) as object, 201)
  })

  app.use('*', limited(reads))
  app.get('/status', (c) => c.json(status(node) as object))
  app.get('/genesis', (c) => c.body(encodeGenesis(node.genesis) as Uint8Array<ArrayBuffer>, 200, { 'Content-Type': 'application/octet-stream' }))
  app.route('/pins', pinRoutes(node, options.pins ?? new Pins(':memory:')))
  // Reads every record: once a block.
  let sums: { height: number; json: object } | null = null
  app.get('/invariants', (c) => {
    const { height } = node.chain
    if (sums?.height !== height) sums = { height, json: toJson(checkAll(node.chain.state)) as object }
    return c.json(sums.json)
  })

  // A record with its proof: what the page checks. `key` is everything after /state/.
  app.get('/state/:key{.+}', (c) => {
    const key = c.req.param('key') ?? ''
    if (!isKey(key)) return refusal(c, 400, 'encoding', 'no such key')
    const { value, proof, header } = node.prove(key)
    // `?now=0`: not asked for; a game in dispute is large.
    const record = value && c.req.query('now') !== '0' ? node.get(key as Key<RecordKind>) : null
    return c.json({
      key,
      value: value && hex(value),
      proof: hex(proof),
      header: header && hex(encodeSigned(header)),
      // For reading only; what is proven is `value`.
      now: record ? toJson(record) : null,
    })
  })

  // Several records under one header: what a payment is checked by, before it begins.
  app.get('/prove', (c) => {
    const keys = (c.req.query('keys') ?? '').split(',')
    if (keys.length > provenMax || keys.some((key) => !isKey(key)))
      return refusal(c, 400, 'encoding', `keys must be 1 to ${provenMax} keys with commas between`)
    const entries = keys.map((key) => {
      const { value, proof } = node.prove(key)
      return { key, value: value && hex(value), proof: hex(proof) }
    })
    return c.json({ header: node.head && hex(encodeSigned(node.head)), entries })
  })

  app.get('/accounts/:id', (c) => {
    const id = idOf(c)
    const account = node.chain.state.account(id)
    const reputation = node.get(keyOf.reputation(id))
    const score = reputationScore(reputation, account, node.chain.timeMs)
    const held = heldOf(node, id).reduce((sum, one) => sum + one.amount, 0n)
    return c.json(toJson({ id, ...account, reputation: reputation ?? null, score, held }) as object)
  })
  // Sessions in which the account hosted and that have not been paid yet: what is held for it, and until when.
  app.get('/accounts/:id/held', (c) => c.json({ sessions: toJson(heldOf(node, idOf(c)).slice(0, pageMax)) }))
  app.get('/accounts/:id/events', (c) => {
    const { before, limit } = pageOf(c)
    const events = node.store.eventsOf(idOf(c), before, limit)
    return c.json({ events: toJson(events), next: events.length === limit ? events.at(-1)!.seq : null })
  })
  app.get('/events', (c) => {
    const { before, limit } = pageOf(c)
    const events = node.store.events(before, limit)
    return c.json({ events: toJson(events), next: events.length === limit ? events.at(-1)!.seq : null })
  })

  app.get('/records/:kind', (c) => {
    const kind = c.req.param('kind')
    const after = c.req.query('after') ?? ''
    const { limit } = pageOf(c)
    const keys = node.chain.state.keysOf(kind)
    const from = keys.findIndex((key) => key > after)
    const found = from < 0 ? [] : keys.slice(from, from + limit)
    const records = found.map((key) => ({ key, ...(toJson(node.get(key as Key<RecordKind>)) as object) }))
    return c.json({ records, next: found.length === limit ? found.at(-1)! : null })
  })

  app.get('/blocks', (c) => {
    const { before, limit } = pageOf(c)
    const blocks = node.store.blocks(before, limit, numberOf(c, 'from', 0))
    const list = blocks.map((block) => ({ ...headerJson(decodeSigned(block.header!)), signed: hex(block.header!) }))
    return c.json({ blocks: list, next: blocks.length === limit ? blocks.at(-1)!.height : null })
  })
  app.get('/blocks/:height', (c) => {
    const height = Number(c.req.param('height'))
    const block = Number.isSafeInteger(height) ? node.store.block(height) : null
    if (!block?.header) return refusal(c, 404, 'missing', 'there is no such block')
    const transactions = node.store.transactionsOf(height).map(({ seq, bytes }) => ({ seq, bytes: hex(bytes), ...transactionJson(decodeTransaction(bytes)) }))
    return c.json({ ...headerJson(decodeSigned(block.header)), signed: hex(block.header), list: transactions })
  })
  app.get('/blocks/:height/transactions', (c) => {
    const height = Number(c.req.param('height'))
    const block = Number.isSafeInteger(height) ? node.store.block(height) : null
    if (!block?.header) return refusal(c, 404, 'missing', 'there is no such block')
    const after = numberOf(c, 'after', 0)
    const entries = node.store.transactionsOf(height).filter(({ seq }) => seq > after)
    return c.json(pageOfEntries(entries, pageOf(c).limit))
  })

  const inclusions = new Inclusions(node.store)
  /** Bytes of a transaction with all it takes to check that it is part of a signed block; `header` null while its block is being built. */
  const provenJson = ({ seq, height, bytes }: LogEntry) => {
    const transaction = decodeTransaction(bytes)
    const block = node.store.block(height)!
    const place = block.header && inclusions.of(height, transaction.id)
    return {
      seq,
      height,
      timeMs: block.timeMs,
      bytes: hex(bytes),
      index: place?.index ?? null,
      path: place ? hex(place.path) : null,
      header: block.header && hex(block.header),
      transaction,
    }
  }
  const shortJson = (entry: LogEntry) => {
    const { transaction, ...rest } = provenJson(entry)
    const { id, from, nonce, fee, size, body } = transaction
    return { ...rest, ...(toJson({ id, kind: body.kind, from, nonce, fee, size }) as object) }
  }
  /** As many of `entries` (at most `limit`) as make an answer of bearable size; at least one. */
  const pageOfEntries = (entries: readonly LogEntry[], limit: number) => {
    let count = 0
    for (let size = 0; count < Math.min(limit, entries.length); count++) {
      size += entries[count].bytes.length
      if (count > 0 && size > answerBytesMax) break
    }
    const shown = entries.slice(0, count)
    return { transactions: shown.map(shortJson), next: count === limit || count < entries.length ? (shown.at(-1)?.seq ?? null) : null }
  }

  app.get('/transactions', (c) => {
    const { before, limit } = pageOf(c)
    const about = c.req.query('about')
    if (about !== undefined && !/^[0-9a-f]{64}$/.test(about)) return refusal(c, 400, 'encoding', 'about must be 64 hex digits')
    const entries = about === undefined ? node.store.transactions(before, limit) : node.store.transactionsAbout(fromHex(about), before, limit)
    return c.json(pageOfEntries(entries, limit))
  })
  app.get('/transactions/:id', (c) => {
    const entry = node.store.transaction(idOf(c))
    if (!entry) return refusal(c, 404, 'missing', 'there is no such transaction')
    const { transaction, ...rest } = provenJson(entry)
    return c.json({ ...rest, ...transactionJson(transaction) })
  })

  // What was played in a dispute, oldest first, with the bytes of every move: a page draws it, and can play it again.
  app.get('/disputes/:id/rounds', (c) => {
    const { limit } = pageOf(c)
    return c.json(pageOfEntries(node.store.transactionsSince(idOf(c), numberOf(c, 'after', 0), limit), limit))
  })

  // Several records of a kind with their proofs under one header. `stake`: accounts that have one, the largest first.
  let staked: { height: number; keys: string[] } | null = null
  const stakers = (): string[] => {
    const { height } = node.chain
    if (staked?.height !== height) {
      const all = node.chain.state.keysOf('account').map((key) => ({ key, stake: node.get(key as Key<'account'>)!.stake }))
      const some = all.filter(({ stake }) => stake > 0n).sort((a, b) => (a.stake === b.stake ? 0 : a.stake < b.stake ? 1 : -1))
      staked = { height, keys: some.map(({ key }) => key) }
    }
    return staked.keys
  }
  app.get('/proofs/:kind', (c) => {
    const kind = c.req.param('kind')
    if (!/^[a-z]{1,20}$/.test(kind)) return refusal(c, 400, 'encoding', 'no such kind')
    const after = c.req.query('after') ?? ''
    const { limit } = pageOf(c)
    const keys =
      kind === 'stake' ? stakers().slice(stakers().indexOf(after) + 1, stakers().indexOf(after) + 1 + limit) : node.store.keysLike(`${kind}/`, after, limit)
    const records: { key: string; value: string; proof: string }[] = []
    let size = 0
    for (const key of keys) {
      const { value, proof } = node.prove(key)
      // New in the block that is being built.
      if (!value) continue
      size += value.length + proof.length
      if (records.length > 0 && size > answerBytesMax) break
      records.push({ key, value: hex(value), proof: hex(proof) })
    }
    const whole = keys.length < limit && size <= answerBytesMax
    return c.json({ header: node.head && hex(encodeSigned(node.head)), records, next: whole ? null : (records.at(-1)?.key ?? null) })
  })

  // Where an id, or its beginning, is known: what a search box asks.
  app.get('/find/:text', (c) => {
    const text = c.req.param('text')
    if (!/^[0-9a-f]{4,64}$/.test(text)) return refusal(c, 400, 'encoding', 'at least 4 hex digits are needed')
    const found = searchedKinds.flatMap((kind) =>
      node.store.keysLike(`${kind}/${text}`, '', foundMax).map((key) => ({ kind: kind as string, id: key.slice(kind.length + 1) })),
    )
    const even = text.slice(0, text.length & ~1)
    for (const id of node.store.idsLike(fromHex(even), foundMax)) if (hex(id).startsWith(text)) found.push({ kind: 'transaction', id: hex(id) })
    return c.json({ found })
  })

  // Server-sent events: `transaction` as soon as it is durable, `block` when it is finished; ?account= only what touches that account.
  app.get('/follow', (c) => {
    const account = c.req.query('account')
    if (followers >= (options.followersMax ?? followersDefault)) return refusal(c, 503, 'busy', 'too many followers')
    return streamSSE(c, async (stream) => {
      followers++
      const waiting: { event: string; data: string; id: string }[] = []
      let wake = () => {}
      const leave = node.subscribe((notice) => {
        const events = toJson(account ? notice.events.filter((one) => hex(one.account) === account) : notice.events) as unknown[]
        if (account && events.length === 0 && notice.type === 'transaction' && hex(notice.transaction.from) !== account) return
        const data =
          notice.type === 'block'
            ? { ...headerJson(notice.block), events }
            : { height: notice.height, seq: notice.seq, ...transactionJson(notice.transaction), events }
        // A follower that does not keep up loses the stream, not the relay its memory; it comes back and pages through what it missed.
        if (waiting.length >= 1000) return stream.abort()
        waiting.push({ event: notice.type, data: JSON.stringify(data), id: String(notice.type === 'block' ? notice.block.header.height : notice.seq) })
        wake()
      })
      stream.onAbort(() => wake())
      try {
        await stream.writeSSE({ event: 'status', data: JSON.stringify(status(node)) })
        while (!stream.aborted) {
          const next = waiting.shift()
          if (next) await stream.writeSSE(next)
          else {
            await new Promise<void>((resolve) => {
              wake = resolve
            })
          }
        }
      } finally {
        leave()
        followers--
      }
    })
  })
  return app
}

/** What a session would pay an account if its window closed now, before the shares of others; sessions that have not been paid yet. */
export function heldOf(node: LedgerNode, account: Uint8Array): { session: string; amount: bigint; open: boolean; finalMs: number }[] {
  return node.chain.state.keysOf('session').flatMap((key) => {
    const session = node.get(key as Key<'session'>)!
    if (session.paid) return []
    const own = shares(session).filter((one, i) => equalBytes(one.account, account) && !session.hosts[i]!.fallen)
    if (own.length === 0) return []
    const amount = own.reduce((sum, one) => sum + one.amount, 0n)
    return [{ session: key.slice('session/'.length), amount, open: session.open, finalMs: session.finalMs }]
  })
}

/** A grant by the operator, with its next nonce. Throws LedgerError. */
export async function grantTo(node: LedgerNode, secret: Uint8Array, to: Uint8Array) {
  const operator = node.genesis.operator
  const { nonce } = node.chain.state.account(operator)
  return node.submit(signTransaction(secret, node.name, nonce, leastFee(node.chain.parameters, 256), { kind: 'faucet.grant', to }))
}

/** Of @hono/node-server's requests; '' where there is no socket. */
function remoteAddress(c: Request): string {
  const { incoming } = (c.env ?? {}) as { incoming?: { socket?: { remoteAddress?: string } } }
  return incoming?.socket?.remoteAddress ?? ''
}

const upTo = (maxSize: number) => bodyLimit({ maxSize, onError: (c) => refusal(c, 413, 'oversized', `at most ${maxSize} bytes are read`) })

export function status(node: LedgerNode) {
  const { chain, head } = node
  const money = node.get(keyOf.money)!
  const rules = node.get(keyOf.rules)!
  return toJson({
    chain: node.name,
    chainId: node.genesis.chainId,
    height: head?.header.height ?? 0,
    timeMs: chain.timeMs,
    root: chain.state.root(),
    records: chain.state.size,
    operator: rules.operator,
    supply: { genesis: rules.supplyGenesis, max: rules.supplyMax, ...money },
    parameters: rules.parameters,
    stopped: node.stopped?.message ?? null,
    waiting: node.waiting,
    head: head ? headerJson(head) : null,
  })
}

function idOf(c: Request): Uint8Array {
  const id = c.req.param('id') ?? ''
  if (!/^[0-9a-f]{64}$/.test(id)) throw new RangeError('an id has 64 hex digits')
  return fromHex(id)
}

function numberOf(c: Request, name: string, otherwise: number, max = Number.MAX_SAFE_INTEGER): number {
  const text = c.req.query(name)
  if (text === undefined) return otherwise
  if (!/^\d{1,15}$/.test(text)) throw new RangeError(`${name} must be a whole number`)
  return Math.min(Number(text), max)
}

function pageOf(c: Request): { before: number; limit: number } {
  return { before: numberOf(c, 'before', Number.MAX_SAFE_INTEGER), limit: Math.max(1, numberOf(c, 'limit', 50, pageMax)) }
}

function refusal(
  c: Request,
  statusCode: 400 | 403 | 404 | 413 | 422 | 429 | 500 | 503,
  code: string,
  message: string,
  headers: Record<string, string> = {},
): Response {
  return c.json({ error: { code, message } }, statusCode, headers)
}
