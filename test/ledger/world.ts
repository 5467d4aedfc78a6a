// A chain for tests: named people with keys, a clock that moves when told, blocks made on demand. Everything goes through ledger/chain.ts as on a relay.
import { createHash, hash as hashNow } from 'node:crypto'
import '../../relay/mesh/native-keys.ts'
import { modelIdFrom } from '../../ledger/apply/model.ts'
import { Chain, genesisState } from '../../ledger/chain.ts'
import type { LedgerEvent } from '../../ledger/context.ts'
import { LedgerError } from '../../ledger/errors.ts'
import { defaultGenesis, type Genesis, genesisHash, leastFee, type Parameters } from '../../ledger/genesis.ts'
import { checkAll } from '../../ledger/invariants.ts'
import type { RecordOf } from '../../ledger/records.ts'
import {
  type Body,
  type BodyOf,
  decodeTransaction,
  type Kind,
  othersOf,
  type SessionTerms,
  signEnd,
  signTransaction,
  signVoucher,
  sizeOf,
  termsHash,
} from '../../ledger/transaction.ts'
import { encodeSampler } from '../../protocol/engine/answer.ts'
import { greedy } from '../../protocol/engine/sampler.ts'
import { equalBytes, hashTagged, setSha256 } from '../../protocol/hash.ts'
import { publicKeyOf, sign } from '../../protocol/keys.ts'
import { encodeCore } from '../../protocol/model/identity.ts'

setSha256(
  (bytes) => hashNow('sha256', bytes, 'buffer'),
  () => createHash('sha256'),
)
export interface Person {
  name: string
  secret: Uint8Array
  id: Uint8Array
}
export const person = (name: string): Person => {
  const secret = hashTagged('test-person', new TextEncoder().encode(name))
  return { name, secret, id: publicKeyOf(secret) }
}
export const operator = person('operator')
export const credit = 1_000_000n
export const startMs = 1_800_000_000_000
export const day = 86_400_000
export const word = (text: string): Uint8Array => new Uint8Array(hashTagged('test-word', new TextEncoder().encode(text)))

/** A core that decodeCore accepts: 4 layers. */
export function testCore(name = 'test', layers = 4): Uint8Array {
  return encodeCore({
    version: 1,
    name,
    architecture: 'llama',
    licence: '',
    hidden: 64,
    ffn: 64,
    layers,
    heads: 2,
    kvHeads: 1,
    headDim: 32,
    vocab: 100,
    context: 128,
    epsBits: 0x3727c5ac,
    attentionScaleOf: 32,
    ropeGlobal: new Uint8Array(96).fill(1),
    ropeLocal: null,
    slidingWindow: 0,
    slidingPattern: 1,
    residualBits: 12,
    hiddenBits: 16,
    tied: false,
  })
}

export interface WorldOptions {
  people?: string[]
  parameters?: Partial<Parameters>
  balance?: bigint
}

export class World {
  readonly genesis: Genesis
  readonly name: Uint8Array
  chain: Chain
  readonly people = new Map<string, Person>()
  events: LedgerEvent[] = []
  timeMs = startMs
  /** Bytes of every accepted transaction. */
  bytes = 0
  private open = false
  private entropy: Uint8Array

  constructor({ people = ['ann', 'bob', 'cat', 'dan', 'eve'], parameters = {}, balance = 10_000n * credit }: WorldOptions = {}) {
    const genesis = defaultGenesis(operator.id, startMs, 'meadow-test')
    for (const name of people) this.people.set(name, person(name))
    const allocations = [...genesis.allocations, ...[...this.people.values()].map(({ id }) => ({ account: id, amount: balance }))]
    this.genesis = { ...genesis, allocations, parameters: { ...genesis.parameters, ...parameters } }
    this.people.set('operator', operator)
    this.name = genesisHash(this.genesis)
    this.entropy = this.name
    this.chain = new Chain(this.name, genesisState(this.genesis))
  }

  who(name: string): Person {
    return this.people.get(name) ?? person(name)
  }
  account(name: string): RecordOf<'account'> {
    return this.chain.state.account(this.who(name).id)
  }

  /** Goes on with another chain object: a restart. Between blocks only. */
  replaceChain(chain: Chain): void {
    this.chain = chain
  }

  /** Opens a block if none is open. */
  begin(): void {
    if (this.open) return
    this.open = true
    this.events.push(...this.chain.begin({ timeMs: this.timeMs, producer: operator.id, entropy: this.entropy }))
  }

  /** Ends the block and checks every invariant; the next one is `ms` later. */
  block(ms = 1000): Uint8Array {
    this.begin()
    const { root, events } = this.chain.end()
    this.events.push(...events)
    this.entropy = hashTagged('test-entropy', root, new TextEncoder().encode(String(this.chain.height)))
    this.open = false
    this.timeMs += ms
    checkAll(this.chain.state)
    return root
  }

  /** Blocks a second apart would be many: jumps, then makes blocks until nothing is due. */
  pass(ms: number): void {
    if (this.open) this.block(0)
    this.timeMs += ms
    do this.block()
    while (this.chain.isDue(this.timeMs))
  }

  sign(name: string, body: Body, change: { nonce?: number; fee?: bigint; chain?: Uint8Array; secret?: Uint8Array } = {}): Uint8Array {
    const { secret, id } = this.who(name)
    const nonce = change.nonce ?? this.chain.state.account(id).nonce
    // The fee's own bytes count too: 9 is the most they take.
    const fee = change.fee ?? leastFee(this.chain.parameters, sizeOf(body, nonce, 1n << 40n))
    return signTransaction(change.secret ?? secret, change.chain ?? this.name, nonce, fee, body)
  }

  submit(bytes: Uint8Array): LedgerEvent[] {
    const transaction = decodeTransaction(bytes)
    this.begin()
    const events = this.chain.apply(transaction)
    this.events.push(...events)
    this.bytes += bytes.length
    return events
  }

  send<K extends Kind>(name: string, kind: K, fields: Omit<BodyOf<K>, 'kind'>): LedgerEvent[] {
    return this.submit(this.sign(name, { kind, ...fields } as unknown as Body))
  }

  /** The code with which something is refused, having left the state as it was; 'accepted' when it is not refused. */
  refusal(bytes: Uint8Array): string {
    this.begin()
    const before = this.fingerprint()
    try {
      this.chain.apply(decodeTransaction(bytes))
    } catch (error) {
      if (!(error instanceof LedgerError)) throw error
      if (!equalBytes(before, this.fingerprint())) throw new Error(`refused with ${error.code}, but the state changed`)
      return error.code
    }
    return 'accepted'
  }

  /** Root that the block would have if it ended now, without ending it. */
  fingerprint(): Uint8Array {
    return this.chain.state.pendingRoot()
  }

  registerModel(name = 'operator', label = 'test', price = 1000n): Uint8Array {
    const body = {
      core: testCore(label),
      tensorTableRoot: word(`tensors ${label}`),
      constTablesRoot: word('tables'),
      shardListHash: word(`shards ${label}`),
      price,
      split: { owner: 300, trainer: 200 },
      trainer: this.who(name).id,
      auditRate: 500,
    }
    this.send(name, 'model.register', body)
    return modelIdFrom(body.core, body.tensorTableRoot, body.constTablesRoot, body.shardListHash)
  }

  /** Settlement fields for the voucher that `owner` signs. */
  voucher(
    owner: string,
    session: number,
    terms: SessionTerms,
    amount: bigint,
    last: boolean,
    withTerms = true,
    channel = 0,
  ): Omit<BodyOf<'channel.settle'>, 'kind'> {
    const { id, secret } = this.who(owner)
    const receipt = word(`receipt ${session} ${amount}`)
    const voucher = signVoucher(secret, this.name, { owner: id, channel, session, terms: termsHash(terms), amount, last, receipt })
    return { owner: id, channel, session, terms: withTerms ? terms : null, amount, last, receipt, voucher }
  }

  /** Fields that end a session when `by` sends them: `owner`'s last voucher, and the word of every other host, or of those said instead. */
  ending(
    owner: string,
    session: number,
    terms: SessionTerms,
    amount: bigint,
    by: string,
    withTerms = true,
    signers = othersOf(terms.hosts, this.who(by).id).map((id) => this.nameOf(id)),
  ): Omit<BodyOf<'channel.end'>, 'kind'> {
    const { last: _, ...shown } = this.voucher(owner, session, terms, amount, true, withTerms)
    const { channel, receipt } = shown
    const voucher = { owner: shown.owner, channel, session, terms: termsHash(terms), amount, last: true, receipt }
    return { ...shown, ends: signers.map((name) => signEnd(this.who(name).secret, this.name, voucher)) }
  }

  nameOf(id: Uint8Array): string {
    for (const one of this.people.values()) if (equalBytes(one.id, id)) return one.name
    throw new Error('nobody here has this account')
  }

  signTagged(name: string, domain: string, bytes: Uint8Array): Uint8Array {
    return sign(this.who(name).secret, domain, bytes)
  }

  jobBody(model: Uint8Array, change: Partial<BodyOf<'job.create'>> = {}): Omit<BodyOf<'job.create'>, 'kind'> {
    return {
      model,
      programVersion: 1,
      promptRoot: word('prompt'),
      promptCount: 10,
      sampler: encodeSampler(greedy),
      seed: word('seed'),
      maxTokens: 20,
      stopIds: [2],
      privacy: 0,
      fee: credit / 10n,
      stakeMin: 0n,
      deadlineMs: this.timeMs + day,
      segment: null,
      input: null,
      ...change,
    }
  }
}
