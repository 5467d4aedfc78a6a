// The chain as an agent reads it: records of the last block, each proven under a header that the operator signed; lists of them; what is pinned; what happens.
import { setTimeout } from 'node:timers/promises'
import { z } from 'zod'
import { checkRecord } from '../../ledger/light.ts'
import { type Key, keyOf, type RecordKind, type RecordOf } from '../../ledger/records.ts'
import { decodeTransaction, type Transaction } from '../../ledger/transaction.ts'
import { fromHex, hex } from '../../protocol/hash.ts'
import { messageOf } from '../errors.ts'
import { type LedgerClient, RefusedError } from '../ledger/client.ts'
import type { PinContext } from '../ledger/pins.ts'

const listJson = z.object({
  header: z.string().nullable(),
  records: z.array(z.object({ key: z.string(), value: z.string(), proof: z.string() })),
  next: z.string().nullable(),
})
const roundsJson = z.object({
  transactions: z.array(z.looseObject({ seq: z.number(), height: z.number(), timeMs: z.number(), bytes: z.string() })),
  next: z.number().nullable(),
})
const eventJson = z.looseObject({ type: z.string(), account: z.string(), amount: z.string(), subject: z.string().nullable() })
const noticeJson = z.looseObject({ kind: z.string().optional(), height: z.number(), events: z.array(eventJson) })

export type ChainEvent = z.infer<typeof eventJson>
/** A transaction as soon as it is durable, or a finished block. */
export interface ChainNotice {
  type: 'transaction' | 'block'
  height: number
  /** Kind and fields of a transaction, bytes in hex. */
  fields: Record<string, unknown>
  events: ChainEvent[]
}

export interface Round {
  height: number
  timeMs: number
  transaction: Transaction
}

/** Pinned bytes that are kept: they never change. */
const pinsKept = 64

export class ChainView {
  readonly client: LedgerClient
  /** Records that this round has read. */
  private readonly known = new Map<string, Promise<unknown>>()
  private remembers = false
  private readonly pins = new Map<string, Uint8Array>()

  constructor(client: LedgerClient) {
    this.client = client
  }

  /** From now on what is read once is not asked for again, until the next call: an agent's round looks at one block. */
  fresh(): void {
    this.known.clear()
    this.remembers = true
  }

  /** A record as of the last block, proven; null when it is proven absent. Throws LedgerError (proof), RelayError. */
  record<K extends RecordKind>(key: Key<K>): Promise<RecordOf<K> | null> {
    const before = this.known.get(key) as Promise<RecordOf<K> | null> | undefined
    if (before) return before
    const asked = this.client.record(key, '?now=0')
    if (this.remembers) {
      this.known.set(key, asked)
      asked.catch(() => this.known.delete(key))
    }
    return asked
  }

  async must<K extends RecordKind>(key: Key<K>): Promise<RecordOf<K>> {
    const found = await this.record(key)
    if (found === null) throw new RefusedError('missing', `The ledger has no ${key}.`)
    return found
  }

  /** Every record of a kind, proven. */
  async *list<K extends RecordKind>(kind: K): AsyncGenerator<[id: string, record: RecordOf<K>]> {
    for (let after: string | null = ''; after !== null; ) {
      const page = listJson.parse(await this.client.json(`proofs/${kind}?limit=200&after=${encodeURIComponent(after)}`))
      if (!page.header) return
      const header = await this.client.header(page.header)
      for (const { key, value, proof } of page.records) {
        const record = checkRecord(header, key as Key<K>, fromHex(value), fromHex(proof))
        if (record) yield [key.slice(kind.length + 1), record]
      }
      after = page.next
    }
  }

  /** The transactions of a dispute, oldest first. Their signatures were checked by the relay; what is made of them is checked against roots. */
  async rounds(dispute: Uint8Array): Promise<Round[]> {
    const found: Round[] = []
    for (let after: number | null = 0; after !== null; ) {
      const page: z.infer<typeof roundsJson> = roundsJson.parse(await this.client.json(`disputes/${hex(dispute)}/rounds?limit=200&after=${after}`))
      for (const { height, timeMs, bytes } of page.transactions) found.push({ height, timeMs, transaction: decodeTransaction(fromHex(bytes)) })
      after = page.next
    }
    return found
  }

  /** Bytes pinned at the relay, or null. They are the relay's word until compared with a root. */
  async pinned(name: string): Promise<Uint8Array | null> {
    const known = this.pins.get(name)
    if (known) return known
    try {
      const bytes = new Uint8Array(await (await this.client.fetch(`pins/${name}`)).arrayBuffer())
      if (this.pins.size >= pinsKept) this.pins.delete(this.pins.keys().next().value!)
      this.pins.set(name, bytes)
      return bytes
    } catch (error) {
      if (error instanceof RefusedError && error.code === 'missing') return null
      throw error
    }
  }

  async pin(name: string, bytes: Uint8Array, context?: PinContext): Promise<void> {
    const query = context ? `?${new URLSearchParams(context as Record<string, string>)}` : ''
    await this.client.fetch(`pins/${name}${query}`, { method: 'PUT', body: bytes as Uint8Array<ArrayBuffer> })
  }

  clock(): Promise<RecordOf<'clock'>> {
    return this.must(keyOf.clock)
  }

  /** Tells what happens until `signal` is aborted; comes back when the relay does. `onOpen` after each (re)connection: something may have been missed. */
  async follow(signal: AbortSignal, onOpen: () => void, onNotice: (notice: ChainNotice) => void, onGap: (reason: string) => void): Promise<void> {
    for (let waitMs = 250; !signal.aborted; waitMs = Math.min(10_000, waitMs * 2)) {
      try {
        const response = await this.client.fetch('follow', { signal })
        const events = eventsOf(response.body!)
        for await (const { event, data } of events) {
          waitMs = 250
          if (event === 'status') onOpen()
          else if (event === 'transaction' || event === 'block') {
            const { height, events: list, ...fields } = noticeJson.parse(JSON.parse(data))
            onNotice({ type: event, height, fields, events: list })
          }
        }
        if (!signal.aborted) onGap('the relay ended the stream')
      } catch (error) {
        if (signal.aborted) return
        onGap(messageOf(error))
      }
      await setTimeout(waitMs, undefined, { signal }).catch(() => {})
    }
  }
}

/** Server-sent events of a body. */
async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<{ event: string; data: string }> {
  let text = ''
  for await (const chunk of body.pipeThrough(new TextDecoderStream() as unknown as ReadableWritablePair<string, Uint8Array>)) {
    text += chunk
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const lines = text.slice(0, end).split('\n')
      text = text.slice(end + 2)
      const field = (name: string): string =>
        lines
          .filter((line) => line.startsWith(`${name}:`))
          .map((line) => line.slice(name.length + 1).trimStart())
          .join('\n')
      yield { event: field('event'), data: field('data') }
    }
  }
}
