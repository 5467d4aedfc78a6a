// The embedded ledger: one process orders transactions. A transaction is acknowledged when it has been applied and is on the disk; blocks are made on demand, at
// least blockIntervalMs apart, and signed. After a crash the state of the last block is read and the log after it applied again.

import { signedBytes } from '../../ledger/apply.ts'
import { decodeSigned, encodeSigned, entropyOf, headerHash, type SignedHeader, signHeader, transactionRoot } from '../../ledger/block.ts'
import { Chain, genesisState } from '../../ledger/chain.ts'
import type { LedgerEvent } from '../../ledger/context.ts'
import { LedgerError } from '../../ledger/errors.ts'
import { chainNumber, decodeGenesis, encodeGenesis, type Genesis, genesisHash } from '../../ledger/genesis.ts'
import { sessionIdOf } from '../../ledger/names.ts'
import { type Key, keyOf, type RecordKind, type RecordOf } from '../../ledger/records.ts'
import { State } from '../../ledger/state.ts'
import { subjectsOf } from '../../ledger/subjects.ts'
import { decodeTransaction, endDomain, othersOf, type Transaction, termsHash, voucherBytes } from '../../ledger/transaction.ts'
import { equalBytes } from '../../protocol/hash.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { RelayError } from '../errors.ts'
import { SignatureCheck } from './signatures.ts'
import { type About, LedgerStore } from './store.ts'

/** What whoever submitted gets back: it is on the disk. */
export interface Acknowledgement {
  id: Uint8Array
  /** Block it is part of. */
  height: number
  /** Place in the log. */
  seq: number
}

export type Notice =
  | { type: 'transaction'; height: number; seq: number; transaction: Transaction; events: LedgerEvent[] }
  | { type: 'block'; block: SignedHeader; events: LedgerEvent[] }

export interface NodeOptions {
  /** Folder of the database, or ':memory:'. */
  folder: string
  /** Signs blocks; must be the operator's when the chain is new or this relay orders it. */
  secret: Uint8Array
  /** For a new chain; an existing one must have the same when given. */
  genesis?: Genesis
  /** ms since 1970. */
  now?: () => number
  /** Transactions waiting for the disk before new ones are refused. */
  queueMax?: number
}

interface Waiting {
  transaction: Transaction
  bytes: Uint8Array
  /** Whether the signature is good; null while it is being checked. */
  ok: boolean | null
  resolve(acknowledgement: Acknowledgement): void
  reject(error: unknown): void
}

/** An empty block at least this often while a dispute is open: active time advances by no more a block (ledger/chain.ts), and an idle chain must not stop its clocks. */
const beatMsMax = 10_000

/** Transactions in one commit: bounds how long the loop is busy, about 20 ms. */
const batchMax = 256

export class LedgerNode {
  readonly chain: Chain
  readonly genesis: Genesis
  /** Genesis hash. */
  readonly name: Uint8Array
  readonly store: LedgerStore
  private readonly secret: Uint8Array
  private readonly producer: Uint8Array
  private readonly now: () => number
  private readonly signatures = new SignatureCheck()
  private readonly queueMax: number
  private readonly queue: Waiting[] = []
  private flushing = false
  private lastHeader: SignedHeader | null
  private pending: { height: number; timeMs: number; ids: Uint8Array[]; events: LedgerEvent[]; about: About[]; logged: boolean } | null = null
  private timer: ReturnType<typeof setTimeout> | null = null
  private readonly listeners = new Set<(notice: Notice) => void>()
  private seq: number
  private failure: Error | null = null
  private closed = false
  /** The block being built has turned something away: what waits is tried again after it, or when more comes. */
  private full = false
  private lastClockMs = 0
  private clockAheadMs = 0

  /** Opens or begins a ledger; a pending block is rebuilt. Throws RelayError. */
  constructor({ folder, secret, genesis, now = () => Date.now(), queueMax = 20_000 }: NodeOptions) {
    this.store = new LedgerStore(folder)
    this.secret = secret
    this.producer = publicKeyOf(secret)
    this.now = now
    this.queueMax = queueMax
    try {
      const stored = this.store.meta('genesis')
      if (!stored && !genesis) throw new RelayError('The ledger is new: it needs a genesis.')
      if (stored && genesis && !equalBytes(stored, encodeGenesis(genesis))) throw new RelayError('The ledger began with another genesis.')
      this.genesis = stored ? decodeGenesis(stored) : genesis!
      this.name = genesisHash(this.genesis)
      let state: State
      if (stored) state = State.restore(this.store.state())
      else {
        state = genesisState(this.genesis)
        this.store.begin(encodeGenesis(this.genesis), state.sealedEntries())
      }
      this.chain = new Chain(this.name, state, this.signatures.verify)
      this.seq = this.store.lastSeq()
      this.store.indexOnce((bytes) => subjectsOf(this.name, decodeTransaction(bytes)).map((one) => one.id))
      this.lastHeader = this.recover()
    } catch (error) {
      this.store.close()
      throw error
    }
    this.schedule()
  }

  private recover(): SignedHeader | null {
    const height = this.chain.height
    const sealed = this.store.block(height)
    const header = sealed?.header ? decodeSigned(sealed.header) : null
    if (height > 0 && !header) throw new RelayError(`The ledger's state is that of block ${height}, whose header is missing.`)
    if (header && !equalBytes(header.header.stateRoot, this.chain.state.root())) throw new RelayError('The ledger is damaged: its state has another root.')
    this.lastHeader = header
    const last = this.store.lastBlock()
    if (last && last.header === null) {
      this.open(last.timeMs)
      this.pending!.logged = true
      for (const { seq, bytes } of this.store.transactionsOf(last.height)) {
        const transaction = decodeTransaction(bytes)
        this.pending!.events.push(...this.chain.apply(transaction))
        this.pending!.ids.push(transaction.id)
        this.pending!.about.push(...this.aboutOf(transaction, seq))
      }
    }
    return header
  }

  private aboutOf(transaction: Transaction, seq: number): About[] {
    return subjectsOf(this.name, transaction).map(({ id }) => ({ id, seq }))
  }

  /** The header of the last finished block; null before block 1. */
  get head(): SignedHeader | null {
    return this.lastHeader
  }
  /** Why the ledger has stopped, if it has: the disk is full or broken, or an invariant does not hold. */
  get stopped(): Error | null {
    return this.failure
  }
  get waiting(): number {
    return this.queue.length
  }

  /** A record as of now, with what is pending. */
  get<K extends RecordKind>(key: Key<K>): RecordOf<K> | undefined {
    return this.chain.state.get(key)
  }

  /** A record as of the last block, with its proof under that block's state root; before block 1 under the root of genesis. */
  prove(key: string): { value: Uint8Array | null; proof: Uint8Array; header: SignedHeader | null } {
    return { ...this.chain.state.prove(key), header: this.lastHeader }
  }

  subscribe(listener: (notice: Notice) => void): () => void {
    this.listeners.add(listener)
    return () => void this.listeners.delete(listener)
  }

  /** Resolves when the transaction is applied and durable. Rejects with LedgerError when it is refused, RelayError when the ledger is stopped or too busy. */
  async submit(bytes: Uint8Array): Promise<Acknowledgement> {
    this.checkRunning()
    if (this.waiting >= this.queueMax) throw new RelayError('The ledger has too many transactions waiting; try again later.')
    const transaction = decodeTransaction(bytes)
    this.chain.check(transaction)
    const { nonce } = this.chain.state.account(transaction.from)
    // Later ones may be on their way; earlier ones never come back.
    if (transaction.nonce < nonce) throw new LedgerError('nonce', `the nonce is ${transaction.nonce}, the next of this account is ${nonce}: sent already`)
    return new Promise((resolve, reject) => {
      // In the order of submission, whichever signature is checked first: an account may send several at once.
      const one: Waiting = { transaction, bytes, ok: null, resolve, reject }
      this.queue.push(one)
      void this.checkAhead(transaction).then((ok) => {
        one.ok = ok
        this.wakeFlush()
      })
    })
  }

  private async checkAhead(transaction: Transaction): Promise<boolean> {
    const ok = this.signatures.ahead(transaction.from, 'transaction', signedBytes(this.name, transaction), transaction.signature)
    await this.checkVoucher(transaction)
    return ok
  }

  private async checkVoucher({ from, body }: Transaction): Promise<void> {
    if (body.kind !== 'channel.settle' && body.kind !== 'channel.end') return
    const { owner, channel, session, amount, receipt } = body
    const known = this.get(keyOf.session(sessionIdOf(this.name, owner, channel, session)))
    const terms = body.terms ? termsHash(body.terms) : known?.terms
    if (!terms) return
    const last = body.kind === 'channel.end' || body.last
    const voucher = voucherBytes(this.name, { owner, channel, session, terms, amount, last, receipt })
    const checks = [this.signatures.ahead(owner, 'voucher', voucher, body.voucher)]
    if (body.kind === 'channel.end') {
      const others = othersOf(body.terms?.hosts ?? known!.hosts, from).slice(0, body.ends.length)
      checks.push(...others.map((account, i) => this.signatures.ahead(account, endDomain, voucher, body.ends[i])))
    }
    await Promise.all(checks)
  }

  private checkRunning(): void {
    if (this.failure) throw new RelayError(`The ledger has stopped: ${this.failure.message}`)
    if (this.closed) throw new RelayError('The ledger is closed.')
  }

  private wakeFlush(): void {
    if (this.flushing) return
    this.flushing = true
    setImmediate(() => {
      this.flushing = false
      if (this.closed || this.failure) return
      this.flush()
      if (this.queue[0] && this.queue[0].ok !== null && !this.full) this.wakeFlush()
    })
  }

  /** Applies what waits, makes it durable with one commit, then tells everybody. */
  private flush(): void {
    let ready = 0
    while (ready < Math.min(this.queue.length, batchMax) && this.queue[ready].ok !== null) ready++
    const batch: Waiting[] = []
    for (const one of this.queue.splice(0, ready)) {
      if (one.ok) batch.push(one)
      else one.reject(new LedgerError('signature', 'the transaction is not signed by its sender'))
    }
    if (batch.length === 0) return
    const accepted: (Waiting & { seq: number; events: LedgerEvent[] })[] = []
    try {
      if (!this.pending) this.open(this.clock())
      const pending = this.pending!
      const held: Waiting[] = []
      const senders = new Set<string>()
      for (const one of batch) {
        // What does not fit waits for the next block, and so does what the same account sent after it; dispute moves have room of their own.
        const sender = Buffer.from(one.transaction.from).toString('latin1')
        if (senders.has(sender) || !this.chain.hasRoom(one.transaction)) {
          senders.add(sender)
          held.push(one)
          continue
        }
        try {
          const events = this.chain.apply(one.transaction)
          accepted.push({ ...one, seq: ++this.seq, events })
        } catch (error) {
          if (!(error instanceof LedgerError)) throw error
          one.reject(error)
        }
      }
      this.full = held.length > 0
      this.queue.unshift(...held)
      if (accepted.length > 0) {
        const { height } = pending
        this.store.append(
          pending.logged ? null : { height, timeMs: pending.timeMs },
          accepted.map(({ seq, transaction, bytes }) => ({ seq, height, id: transaction.id, bytes })),
        )
        pending.logged = true
        for (const { transaction, seq, events, resolve } of accepted) {
          pending.ids.push(transaction.id)
          for (const event of events) pending.events.push(event)
          for (const about of this.aboutOf(transaction, seq)) pending.about.push(about)
          resolve({ id: transaction.id, height, seq })
          if (this.listeners.size > 0) this.tell({ type: 'transaction', height, seq, transaction, events })
        }
      }
    } catch (error) {
      this.stop(error, [...batch, ...this.queue])
    }
    this.schedule()
  }

  /** Never goes back: when the machine's clock was set back, or is behind the last block's, it goes on from there at its pace. */
  private clock(): number {
    const atLeast = Math.max(this.lastClockMs, this.chain.timeMs)
    const now = this.now()
    if (now + this.clockAheadMs < atLeast) this.clockAheadMs = atLeast - now
    this.lastClockMs = now + this.clockAheadMs
    return this.lastClockMs
  }

  private open(timeMs: number): void {
    const entropy = this.lastHeader ? entropyOf(this.lastHeader) : this.name
    const events = this.chain.begin({ timeMs, producer: this.producer, entropy })
    this.pending = { height: this.chain.height, timeMs, ids: [], events, about: [], logged: false }
  }

  /** Ends the block being built, or makes an empty one when something is due; returns the last header. */
  seal(): SignedHeader | null {
    this.checkRunning()
    if (!this.pending && !this.isDue(this.clock())) return this.lastHeader
    try {
      if (!this.pending) this.open(this.clock())
      const { height, timeMs, ids, events, about } = this.pending!
      const { root, changed, events: last } = this.chain.end()
      const previous = this.lastHeader ? headerHash(this.lastHeader.header) : new Uint8Array(32)
      const header = signHeader(this.secret, this.name, {
        version: 1,
        chain: chainNumber(this.name),
        height,
        timeMs,
        previous,
        stateRoot: root,
        transactionRoot: transactionRoot(ids),
        transactions: ids.length,
        producer: this.producer,
      })
      for (const event of last) events.push(event)
      this.store.seal(height, timeMs, encodeSigned(header), changed, events, about)
      this.lastHeader = header
      this.pending = null
      this.full = false
      if (this.queue.length > 0) this.wakeFlush()
      this.tell({ type: 'block', block: header, events })
    } catch (error) {
      this.stop(error, this.queue)
      throw this.failure
    } finally {
      this.schedule()
    }
    return this.lastHeader
  }

  private tell(notice: Notice): void {
    for (const listener of this.listeners) listener(notice)
  }

  /** Nothing more is accepted: memory may be ahead of the disk. Opening the ledger again starts from the disk. */
  private stop(error: unknown, waiting: readonly Waiting[]): void {
    this.failure = error instanceof Error ? error : new Error(String(error))
    for (const one of waiting) one.reject(new RelayError(`The ledger has stopped: ${this.failure.message}`))
    this.queue.length = 0
  }

  /** Whether an empty block would do something: a record is due, or somebody counts blocks. */
  private isDue(nowMs: number): boolean {
    return this.chain.isDue(nowMs) || nowMs >= this.beatMs()
  }

  /** When the next block must come for those who count blocks or active time, whether or not anybody sends anything. */
  private beatMs(): number {
    const { state, parameters, timeMs } = this.chain
    const { blockIntervalMs, disputes } = parameters
    if (state.waitsForHeight()) return timeMs + blockIntervalMs
    if (state.openDisputes === 0) return Number.POSITIVE_INFINITY
    // As often as the least time of an obligation has blocks: then neither of the two is what makes it long.
    const even = Math.floor(disputes.floorMs / Math.max(1, disputes.blocksMin))
    return timeMs + Math.max(blockIntervalMs, Math.min(beatMsMax, even))
  }

  /** The next block: at the end of the interval when one is being built, when something is due otherwise. */
  private schedule(): void {
    if (this.timer) clearTimeout(this.timer)
    this.timer = null
    if (this.closed || this.failure) return
    const now = this.clock()
    const interval = this.chain.parameters.blockIntervalMs
    const earliest = this.pending ? this.pending.timeMs + interval : Math.max(now, this.chain.timeMs + interval)
    let at: number
    if (this.pending) at = earliest
    else if (this.isDue(now)) at = earliest
    else {
      const next = Math.min(this.chain.state.nextDueMs() ?? Number.POSITIVE_INFINITY, this.beatMs())
      if (next === Number.POSITIVE_INFINITY) return
      at = Math.max(earliest, next)
    }
    // setTimeout takes 31 bits; a longer wait is simply scheduled again.
    this.timer = setTimeout(() => this.tick(), Math.min(Math.max(0, at - now), 2 ** 31 - 1))
    this.timer.unref()
  }

  private tick(): void {
    this.timer = null
    try {
      const interval = this.chain.parameters.blockIntervalMs
      if (this.pending ? this.clock() >= this.pending.timeMs + interval : this.isDue(this.clock())) this.seal()
      else this.schedule()
    } catch {
      // `stopped` says why; submit refuses from now on.
    }
  }

  /** Ends the pending block and frees the file. */
  close(): void {
    if (this.closed) return
    try {
      if (this.pending && !this.failure) this.seal()
    } finally {
      this.closed = true
      if (this.timer) clearTimeout(this.timer)
      for (const one of this.queue.splice(0)) one.reject(new RelayError('The ledger is closed.'))
      this.store.close()
    }
  }

  /** As a crash would: nothing is finished. For tests. */
  abandon(): void {
    this.closed = true
    if (this.timer) clearTimeout(this.timer)
    this.store.close()
  }
}
