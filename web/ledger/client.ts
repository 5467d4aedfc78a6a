// A relay's ledger as a page asks it. Every record and transaction is checked in this tab (proof.ts) before it is handed on; what is only the relay's word is named so.
import { headerHash } from '../../ledger/block.ts'
import { leastFee, type Parameters } from '../../ledger/genesis.ts'
import { type Key, keyOf, type RecordKind, type RecordOf } from '../../ledger/records.ts'
import { type Body, signTransaction, sizeOf } from '../../ledger/transaction.ts'
import { hex } from '../../protocol/hash.ts'
import { publicKeyOf, verify } from '../../protocol/keys.ts'
import { Checker, NotProven, type Proven, type ProvenTransaction, trustOf } from './proof.ts'

/** The relay does not answer. */
export class RelayAway extends Error {
  override name = 'RelayAway'
}
/** It answers, and keeps no ledger. */
export class NoLedger extends Error {
  override name = 'NoLedger'
}
/** It refused, with a code of ledger/errors.ts or of its own. */
export class Refused extends Error {
  override name = 'Refused'
  readonly code: string
  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

/** On the relay's word: an account as of now, with what is pending. */
export interface AccountNow {
  balance: bigint
  nonce: number
  stake: bigint
  locked: bigint
  /** Earned and held until windows close. */
  held: bigint
  channels: number
  granted: boolean
}

/** On the relay's word: what happened to an account. */
export interface AccountEvent {
  seq: number
  height: number
  timeMs: number
  type: string
  amount: bigint
  subject: string | null
}

export interface Sent {
  id: string
  height: number
  fee: bigint
}

const rememberedChain = 'meadow-chain'
const json = (value: unknown): Record<string, unknown> => (typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {})
const bigintOf = (value: unknown): bigint => (typeof value === 'string' && /^\d{1,30}$/.test(value) ? BigInt(value) : 0n)
const countOf = (value: unknown): number => (Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : 0)

export class Ledger {
  /** Hash of the chain that this browser saw here before, when the relay now shows another. */
  chainBefore: string | null = null
  private checking: Promise<Checker> | null = null
  private readonly base: string

  constructor(base = '/ledger/') {
    this.base = base
  }

  private async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const response = await fetch(this.base + path, { cache: 'no-store', ...init }).catch(() => {
      throw new RelayAway('The relay cannot be reached.')
    })
    if (response.ok) return response
    const { error } = json(await response.json().catch(() => null)) as { error?: { code?: unknown; message?: unknown } }
    if (typeof error?.message === 'string') throw new Refused(String(error.code), error.message)
    if (response.status === 404) throw new NoLedger('This relay keeps no ledger.')
    throw new RelayAway(`The relay answered with status ${response.status}.`)
  }

  private async json(path: string): Promise<unknown> {
    const response = await this.fetch(path)
    return response.json().catch(() => {
      throw new RelayAway('The relay’s answer cannot be read.')
    })
  }

  /** Genesis, and what is checked against it. The chain is remembered: a relay that shows another one later is told apart (`chainBefore`). */
  checker(): Promise<Checker> {
    this.checking ??= this.fetch('genesis')
      .then(async (response) => {
        const bytes = new Uint8Array(await response.arrayBuffer())
        let trust: ReturnType<typeof trustOf>
        try {
          trust = trustOf(bytes)
        } catch (error) {
          throw new NotProven(`The relay’s genesis is none: ${(error as Error).message}`)
        }
        this.chainBefore = chainSeen(trust.chainName)
        return new Checker(trust, verify)
      })
      .catch((error) => {
        this.checking = null
        throw error
      })
    return this.checking
  }

  /** Believes the chain that the relay shows from now on. */
  async acceptChain(): Promise<void> {
    const { trust } = await this.checker()
    this.chainBefore = null
    try {
      localStorage.setItem(rememberedChain, trust.chainName)
    } catch {
      // Storage is forbidden: for this page only.
    }
  }

  async record<K extends RecordKind>(key: Key<K>): Promise<Proven<RecordOf<K>>> {
    const checker = await this.checker()
    const { heightSeen } = checker
    return checker.record(key, await this.json(`state/${key}`), heightSeen)
  }

  /** A page of proven records; that the list is complete is the relay's word. `stake`: accounts that have one. */
  async records<K extends RecordKind>(kind: K | 'stake', after: string, limit = 25): Promise<{ list: Proven<RecordOf<K>>[]; next: string | null }> {
    const checker = await this.checker()
    const { heightSeen } = checker
    const answer = await this.json(`proofs/${kind}?limit=${limit}&after=${encodeURIComponent(after)}`)
    return checker.records((kind === 'stake' ? 'account' : kind) as K, answer, heightSeen)
  }

  async transaction(id: string): Promise<ProvenTransaction> {
    return (await this.checker()).transaction(await this.json(`transactions/${id}`), id)
  }

  /** Newest first; `about`: of one account, model, job, claim, session or dispute. */
  async transactions({ about, before, limit = 25 }: { about?: string; before?: number; limit?: number } = {}) {
    const query = new URLSearchParams({ limit: String(limit), ...(about ? { about } : {}), ...(before === undefined ? {} : { before: String(before) }) })
    return (await this.checker()).transactions(await this.json(`transactions?${query}`))
  }

  /** Of a block, in order. */
  async transactionsOf(height: number, after = 0, limit = 25) {
    return (await this.checker()).transactions(await this.json(`blocks/${height}/transactions?after=${after}&limit=${limit}`))
  }

  /** Of a dispute, oldest first, all of them. */
  async rounds(dispute: string): Promise<ProvenTransaction[]> {
    const checker = await this.checker()
    const all: ProvenTransaction[] = []
    for (let after: number | null = 0; after !== null; ) {
      const page = checker.transactions(await this.json(`disputes/${dispute}/rounds?limit=200&after=${after}`))
      all.push(...page.list)
      after = page.next
    }
    return all
  }

  async block(height: number) {
    const checker = await this.checker()
    const { signed } = json(await this.json(`blocks/${height}`))
    return checker.block(signed, height)
  }

  /** Newest first; each is checked to be the one before its neighbour. */
  async blocks(before?: number, limit = 25) {
    const checker = await this.checker()
    const { blocks, next } = json(await this.json(`blocks?limit=${limit}${before === undefined ? '' : `&before=${before}`}`))
    if (!Array.isArray(blocks)) throw new NotProven('the relay’s answer has no blocks')
    const list = blocks.map((one) => checker.block(json(one).signed))
    list.slice(1).forEach(({ block }, i) => {
      const above = list[i].block.header
      if (above.height !== block.header.height + 1 || hex(above.previous) !== hex(headerHash(block.header)))
        throw new NotProven(`block ${above.height} does not follow block ${block.header.height}`)
    })
    return { list, next: typeof next === 'number' ? next : null }
  }

  /** Where an id or its beginning is known, on the relay's word. */
  async find(text: string): Promise<{ kind: string; id: string }[]> {
    const { found } = json(await this.json(`find/${text}`))
    return (Array.isArray(found) ? found : []).flatMap((one) => {
      const { kind, id } = json(one)
      return typeof kind === 'string' && /^[a-z]{1,20}$/.test(kind) && typeof id === 'string' && /^[0-9a-f]{64}$/.test(id) ? [{ kind, id }] : []
    })
  }

  /** Sums over every record, on the relay's word. */
  async sums(): Promise<Record<string, bigint>> {
    return Object.fromEntries(Object.entries(json(await this.json('invariants'))).map(([name, value]) => [name, bigintOf(value)]))
  }

  async account(id: string): Promise<AccountNow> {
    const { balance, nonce, stake, locked, held, channels, granted } = json(await this.json(`accounts/${id}`))
    return {
      balance: bigintOf(balance),
      nonce: countOf(nonce),
      stake: bigintOf(stake),
      locked: bigintOf(locked),
      held: bigintOf(held),
      channels: Array.isArray(channels) ? channels.length : countOf(channels),
      granted: granted === true,
    }
  }

  async events(id: string, before?: number, limit = 20): Promise<{ list: AccountEvent[]; next: number | null }> {
    const { events, next } = json(await this.json(`accounts/${id}/events?limit=${limit}${before === undefined ? '' : `&before=${before}`}`))
    const list = (Array.isArray(events) ? events : []).map((one) => {
      const { seq, height, timeMs, type, amount, subject } = json(one)
      return {
        seq: countOf(seq),
        height: countOf(height),
        timeMs: countOf(timeMs),
        type: typeof type === 'string' ? type.slice(0, 20) : '',
        amount: bigintOf(amount),
        subject: typeof subject === 'string' && /^[0-9a-f]{64}$/.test(subject) ? subject : null,
      }
    })
    return { list, next: typeof next === 'number' ? next : null }
  }

  /** Rules in force: proven, or those of genesis before the first block. */
  async parameters(): Promise<Parameters> {
    const { trust } = await this.checker()
    const rules = await this.record(keyOf.rules).catch((error) => {
      if (error instanceof RelayAway) throw error
      return null
    })
    return rules?.record?.parameters ?? trust.genesis.parameters
  }

  /** Least fee of a transaction with this body. */
  async feeOf(body: Body, nonce = 2 ** 32): Promise<bigint> {
    return leastFee(await this.parameters(), sizeOf(body, nonce, 1n << 40n))
  }

  /**
   * Signs here with the account's next nonce and the least fee, sends, and resolves when it is on the relay's disk. Tabs of one browser take turns, so that no two use the same nonce;
   * when another device was faster, it is tried once more. Throws Refused, RelayAway, NoLedger.
   */
  async submit(secret: Uint8Array, body: Body): Promise<Sent> {
    const { trust } = await this.checker()
    const id = hex(publicKeyOf(secret))
    const attempt = async (): Promise<Sent> => {
      const { nonce } = await this.account(id)
      const fee = await this.feeOf(body, nonce)
      const answer = await this.fetch('transactions', {
        method: 'POST',
        body: signTransaction(secret, trust.chain, nonce, fee, body) as Uint8Array<ArrayBuffer>,
        headers: { 'Content-Type': 'application/octet-stream' },
      })
      const { id: name, height } = json(await answer.json())
      return { id: String(name), height: countOf(height), fee }
    }
    return alone(`meadow-nonce ${id}`, () =>
      attempt().catch((error) => {
        if (error instanceof Refused && error.code === 'nonce') return attempt()
        throw error
      }),
    )
  }

  /** The newcomer's grant; how much. Throws Refused. */
  async grant(account: string): Promise<bigint> {
    const answer = await this.fetch('faucet', { method: 'POST', body: JSON.stringify({ account }), headers: { 'Content-Type': 'application/json' } })
    return bigintOf(json(await answer.json()).amount)
  }
}

/** One at a time in all tabs; without locks (plain http from another machine) in this one only. */
async function alone<T>(name: string, work: () => Promise<T>): Promise<T> {
  if (navigator.locks) return navigator.locks.request(name, work) as Promise<T>
  const turn = (queues.get(name) ?? Promise.resolve()).then(work, work)
  queues.set(name, turn)
  return turn
}
const queues = new Map<string, Promise<unknown>>()

/** The chain seen here before if it is another one; remembers the first. */
function chainSeen(name: string): string | null {
  try {
    const before = localStorage.getItem(rememberedChain)
    if (before === null) localStorage.setItem(rememberedChain, name)
    return before !== null && before !== name ? before : null
  } catch {
    return null
  }
}
