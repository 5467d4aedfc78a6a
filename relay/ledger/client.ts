// What the commands ask a relay's ledger, and check: records come with a signed header and a Merkle proof. Trust begins at the genesis that the relay shows, whose
// hash is printed by `meadow ledger status`: compare it with a second relay's.
import { z } from 'zod'
import type { SignedHeader } from '../../ledger/block.ts'
import { decodeGenesis, type Genesis, genesisHash, leastFee } from '../../ledger/genesis.ts'
import { checkHeader, checkRecord } from '../../ledger/light.ts'
import { type Key, keyOf, type RecordKind, type RecordOf } from '../../ledger/records.ts'
import { type Body, signTransaction, sizeOf } from '../../ledger/transaction.ts'
import { fromHex, hex } from '../../protocol/hash.ts'
import { publicKeyOf, verify } from '../../protocol/keys.ts'
import { messageOf, RelayError, UsageError } from '../errors.ts'
import '../mesh/native-keys.ts'

const hexText = z.string().regex(/^([0-9a-f]{2})*$/)
const provenJson = z.object({ value: hexText.nullable(), proof: hexText, header: hexText.nullable() })
const accountJson = z.looseObject({ nonce: z.number(), balance: z.string(), stake: z.string(), locked: z.string(), channels: z.number(), score: z.number() })
const acknowledgedJson = z.object({ id: hexText, height: z.number(), seq: z.number() })
const refusedJson = z.object({ error: z.object({ code: z.string(), message: z.string() }) })

export type AccountNow = z.infer<typeof accountJson>
export type Acknowledged = z.infer<typeof acknowledgedJson>

/** The relay's ledger refused; `code` says why (ledger/errors.ts, or what the API says of itself). */
export class RefusedError extends RelayError {
  override name = 'RefusedError'
  readonly code: string
  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

export class LedgerClient {
  readonly relay: URL
  private known: Promise<{ genesis: Genesis; chain: Uint8Array }> | null = null
  /** The last header whose signature was checked. */
  private checked: { text: string; header: SignedHeader } | null = null

  /** `relay` is an address such as http://localhost:8787; default MEADOW_RELAY, else this machine. Throws UsageError. */
  constructor(relay?: string) {
    const text = relay ?? process.env.MEADOW_RELAY ?? 'http://localhost:8787'
    try {
      this.relay = new URL('/ledger/', text)
    } catch {
      throw new UsageError(`${text} is no address of a relay, such as http://localhost:8787.`)
    }
  }

  /** One request below /ledger/. Throws RefusedError for what the ledger refuses, RelayError when it cannot be reached. */
  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const url = new URL(path, this.relay)
    const response = await fetch(url, { signal: AbortSignal.timeout(30_000), ...init }).catch((error) => {
      throw new RelayError(`The relay at ${url.origin} cannot be reached: ${messageOf(error)}. Is it running (\`npm start\`), or elsewhere (--relay)?`)
    })
    if (response.ok) return response
    const refused = refusedJson.safeParse(await response.json().catch(() => null))
    if (!refused.success) throw new RelayError(`${url} answered ${response.status}.`)
    const { code, message } = refused.data.error
    throw new RefusedError(code, `Refused (${code}): ${message}.`)
  }

  async json(path: string): Promise<unknown> {
    return (await this.fetch(path)).json()
  }

  /** Genesis and its hash. */
  chain(): Promise<{ genesis: Genesis; chain: Uint8Array }> {
    this.known ??= this.fetch('genesis').then(async (response) => {
      const genesis = decodeGenesis(new Uint8Array(await response.arrayBuffer()))
      return { genesis, chain: genesisHash(genesis) }
    })
    return this.known
  }

  /** A signed header in hex, checked; every record of a block comes with the same one. Throws LedgerError. */
  async header(text: string): Promise<SignedHeader> {
    if (this.checked?.text !== text) {
      const { genesis, chain } = await this.chain()
      this.checked = { text, header: checkHeader({ chain, producers: [genesis.operator] }, fromHex(text), verify) }
    }
    return this.checked.header
  }

  /** A record of the last block, checked; null when it is proven absent. `query` as the API has it. Throws LedgerError (proof), RelayError. */
  async record<K extends RecordKind>(key: Key<K>, query = ''): Promise<RecordOf<K> | null> {
    const answer = provenJson.parse(await this.json(`state/${key}${query}`))
    if (!answer.header) throw new RelayError('The ledger has no block yet.')
    const header = await this.header(answer.header)
    return checkRecord(header, key, answer.value === null ? null : fromHex(answer.value), fromHex(answer.proof))
  }

  /** An account as of now, on the relay's word: what the next transaction needs. */
  async account(id: Uint8Array): Promise<AccountNow> {
    return accountJson.parse(await this.json(`accounts/${hex(id)}`))
  }

  /** Signs with the next nonce and the least fee, and submits. Resolves when it is durable. */
  async submit(secret: Uint8Array, body: Body): Promise<Acknowledged & { fee: bigint }> {
    const { genesis, chain } = await this.chain()
    const { nonce } = await this.account(publicKeyOf(secret))
    const rules = await this.record(keyOf.rules).catch(() => null)
    const fee = leastFee(rules?.parameters ?? genesis.parameters, sizeOf(body, nonce, 1n << 40n))
    return { ...(await this.send(signTransaction(secret, chain, nonce, fee, body))), fee }
  }

  /** A signed transaction. */
  async send(bytes: Uint8Array): Promise<Acknowledged> {
    const response = await this.fetch('transactions', {
      method: 'POST',
      body: bytes as Uint8Array<ArrayBuffer>,
      headers: { 'Content-Type': 'application/octet-stream' },
    })
    return acknowledgedJson.parse(await response.json())
  }

  /** The newcomer's grant. */
  async grant(account: Uint8Array): Promise<unknown> {
    const response = await this.fetch('faucet', {
      method: 'POST',
      body: JSON.stringify({ account: hex(account) }),
      headers: { 'Content-Type': 'application/json' },
    })
    return response.json()
  }
}
