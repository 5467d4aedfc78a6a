// A ledger at the other end of HTTP, believed no further than its proofs: records come with a signed header and a Merkle proof. How bytes travel is the caller's business
// (Node's fetch, a page's), so that commands and pages share this. Trust begins at the genesis that the relay shows; its hash names the chain.
import { fromHex, hex } from '../protocol/hash.ts'
import { publicKeyOf, verify as verifyKey } from '../protocol/keys.ts'
import type { Verify } from './context.ts'
import { LedgerError, type Refusal, refusals } from './errors.ts'
import { decodeGenesis, type Genesis, genesisHash, leastFee, type Parameters } from './genesis.ts'
import { checkHeader, checkRecord, decodeRecordAt } from './light.ts'
import { type Key, keyOf, type RecordKind, type RecordOf } from './records.ts'
import { type Body, signTransaction, sizeOf } from './transaction.ts'

/** Rejects when the relay cannot be reached. `path` is relative to the ledger's address. */
export type Http = (path: string, init?: HttpInit) => Promise<{ status: number; body: Uint8Array }>
export interface HttpInit {
  method: 'POST' | 'PUT'
  body: Uint8Array | string
  type: string
}

/** An account as of now, on the relay's word. */
export interface AccountNow {
  nonce: number
  balance: bigint
  stake: bigint
  locked: bigint
  channels: number
  granted: boolean
  /** Part of sessions that is earned and held until their windows close. */
  held: bigint
}

export interface Proven {
  /** encodeSigned of block.ts; checked. */
  header: Uint8Array
  height: number
  timeMs: number
  entries: { key: string; value: Uint8Array | null; proof: Uint8Array }[]
}

const words = new TextDecoder()

export class RemoteLedger {
  private readonly http: Http
  private readonly verify: Verify
  private known: Promise<{ genesis: Genesis; chain: Uint8Array }> | null = null
  /** The newest height seen: older headers are refused from then on. */
  private height = 0

  constructor(http: Http, verify: Verify = verifyKey) {
    this.http = http
    this.verify = verify
  }

  private async ask(path: string, init?: HttpInit): Promise<Uint8Array> {
    const { status, body } = await this.http(path, init)
    if (status >= 200 && status < 300) return body
    let said: { error?: { code?: unknown; message?: unknown } } = {}
    try {
      said = JSON.parse(words.decode(body)) as typeof said
    } catch {
      // Not from a ledger.
    }
    const { code, message } = said.error ?? {}
    const known = refusals.find((one) => one === code) as Refusal | undefined
    throw new LedgerError(known ?? 'missing', typeof message === 'string' ? message.slice(0, 300) : `the ledger answered with status ${status}`)
  }

  /** Throws LedgerError for what is no JSON, or a refusal. */
  async json(path: string, init?: HttpInit): Promise<Record<string, unknown>> {
    const bytes = await this.ask(path, init)
    try {
      return JSON.parse(words.decode(bytes)) as Record<string, unknown>
    } catch {
      throw new LedgerError('encoding', 'the ledger answered with something that is no JSON')
    }
  }

  /** Genesis and its hash. */
  chain(): Promise<{ genesis: Genesis; chain: Uint8Array }> {
    this.known ??= this.ask('genesis').then(
      (bytes) => {
        const genesis = decodeGenesis(bytes)
        return { genesis, chain: genesisHash(genesis) }
      },
      (error) => {
        this.known = null
        throw error
      },
    )
    return this.known
  }

  /** Records of the last block under one header, each checked; null where its absence is proven. Throws LedgerError. */
  async prove(keys: readonly string[]): Promise<Proven> {
    const { genesis, chain } = await this.chain()
    const answer = await this.json(`prove?keys=${keys.map(encodeURIComponent).join(',')}`)
    if (typeof answer.header !== 'string') throw new LedgerError('missing', 'the ledger has no block yet')
    const header = bytesOf(answer.header)
    const signed = checkHeader({ chain, producers: [genesis.operator], heightMin: this.height }, header, this.verify)
    this.height = signed.header.height
    const list = Array.isArray(answer.entries) ? (answer.entries as Record<string, unknown>[]) : []
    const entries = keys.map((key, i) => {
      const one = list[i]
      const value = one?.value === null ? null : bytesOf(one?.value)
      const proof = bytesOf(one?.proof)
      checkRecord(signed, key as Key<RecordKind>, value, proof)
      return { key, value, proof }
    })
    const { height, timeMs } = signed.header
    return { header, height, timeMs, entries }
  }

  /** A record of the last block, checked; null when it is proven absent. Throws LedgerError. */
  async record<K extends RecordKind>(key: Key<K>): Promise<RecordOf<K> | null> {
    return decodeRecordAt(await this.prove([key]), key)
  }

  async account(id: Uint8Array): Promise<AccountNow> {
    const { nonce, balance, stake, locked, channels, granted, held } = await this.json(`accounts/${hex(id)}`)
    return {
      nonce: countOf(nonce),
      balance: amountOf(balance),
      stake: amountOf(stake),
      locked: amountOf(locked),
      channels: countOf(channels),
      granted: granted === true,
      held: amountOf(held ?? '0'),
    }
  }

  /** The rules in force, proven; those of genesis before the first block. */
  async parameters(): Promise<Parameters> {
    const { genesis } = await this.chain()
    const rules = await this.record(keyOf.rules).catch((error) => {
      if (error instanceof LedgerError && error.code === 'missing') return null
      throw error
    })
    return rules?.parameters ?? genesis.parameters
  }

  /** Signs with the next nonce and the least fee. Resolves when the transaction is durable; throws LedgerError when it is refused. */
  async submit(secret: Uint8Array, body: Body): Promise<{ id: string; height: number; fee: bigint; bytes: number }> {
    const [{ chain }, { nonce }, parameters] = await Promise.all([this.chain(), this.account(publicKeyOf(secret)), this.parameters()])
    const fee = leastFee(parameters, sizeOf(body, nonce, 1n << 40n))
    const bytes = signTransaction(secret, chain, nonce, fee, body)
    const { id, height } = await this.json('transactions', { method: 'POST', body: bytes, type: 'application/octet-stream' })
    return { id: String(id), height: countOf(height), fee, bytes: bytes.length }
  }

  /** The newcomer's grant. Throws LedgerError. */
  async grant(account: Uint8Array): Promise<bigint> {
    const { amount } = await this.json('faucet', { method: 'POST', body: JSON.stringify({ account: hex(account) }), type: 'application/json' })
    return amountOf(amount)
  }
}

function bytesOf(value: unknown): Uint8Array {
  if (typeof value !== 'string' || !/^([0-9a-f]{2})*$/.test(value)) throw new LedgerError('encoding', 'the ledger answered without bytes where some belong')
  return fromHex(value)
}

function amountOf(value: unknown): bigint {
  if (typeof value !== 'string' || !/^\d{1,19}$/.test(value)) throw new LedgerError('encoding', 'the ledger answered without an amount where one belongs')
  return BigInt(value)
}

function countOf(value: unknown): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0)
    throw new LedgerError('encoding', 'the ledger answered without a number where one belongs')
  return value
}
