// A ledger as one file: `ledger export` writes genesis and every block with its transactions, `ledger replay` runs them through the state machine again, every
// signature checked, and compares every root with the signed headers. A snapshot is the state of one block, to begin from without the log.
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'
import { decodeSigned, encodeSigned, entropyOf, headerHash, type SignedHeader, transactionRoot, verifyHeader } from '../../ledger/block.ts'
import { Chain, genesisState } from '../../ledger/chain.ts'
import { decodeGenesis, encodeGenesis, type Genesis, genesisHash } from '../../ledger/genesis.ts'
import { checkAll } from '../../ledger/invariants.ts'
import { keyOf } from '../../ledger/records.ts'
import { State } from '../../ledger/state.ts'
import { decodeTransaction } from '../../ledger/transaction.ts'
import { equalBytes, hex, u32 } from '../../protocol/hash.ts'
import { verify } from '../../protocol/keys.ts'
import { RelayError } from '../errors.ts'
import '../mesh/native-keys.ts'
import type { LedgerStore } from './store.ts'

export interface ArchivedBlock {
  header: SignedHeader
  transactions: Uint8Array[]
}

/** "meadow-ledger 1\n", then pieces behind u32 lengths (little-endian): genesis; a block: signed header, u32 count, transactions. */
const logMagic = 'meadow-ledger 1\n'
/** The same for a state: genesis, signed header (empty before block 1), then key and value in turn, ordered by key. */
const snapshotMagic = 'meadow-state 1\n'

class PieceWriter {
  private readonly file: number
  bytes = 0
  constructor(path: string, magic: string) {
    this.file = openSync(path, 'w', 0o600)
    this.write(Buffer.from(magic))
  }
  private write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) at += writeSync(this.file, bytes, at)
    this.bytes += bytes.length
  }
  piece(bytes: Uint8Array): void {
    this.write(u32(bytes.length))
    this.write(bytes)
  }
  count(value: number): void {
    this.write(u32(value))
  }
  close(): void {
    closeSync(this.file)
  }
}

class PieceReader {
  private readonly bytes: Buffer
  private at: number
  private readonly path: string
  constructor(path: string, magic: string) {
    this.path = path
    this.bytes = readFileSync(path)
    this.at = magic.length
    if (this.bytes.subarray(0, magic.length).toString() !== magic) throw new RelayError(`${path} does not begin with "${magic.trim()}".`)
  }
  get done(): boolean {
    return this.at === this.bytes.length
  }
  count(): number {
    if (this.at + 4 > this.bytes.length) throw new RelayError(`${this.path} ends in the middle.`)
    this.at += 4
    return this.bytes.readUInt32LE(this.at - 4)
  }
  piece(): Uint8Array {
    const length = this.count()
    if (this.at + length > this.bytes.length) throw new RelayError(`${this.path} ends in the middle.`)
    this.at += length
    return new Uint8Array(this.bytes.subarray(this.at - length, this.at))
  }
}

const genesisOf = (store: LedgerStore): Genesis => {
  const bytes = store.meta('genesis')
  if (!bytes) throw new RelayError('The ledger is empty.')
  return decodeGenesis(bytes)
}

/** Finished blocks of a store, from 1. */
export function* blocksOf(store: LedgerStore): Iterable<ArchivedBlock> {
  for (let height = 1; ; height++) {
    const block = store.block(height)
    if (!block?.header) return
    yield { header: decodeSigned(block.header), transactions: store.transactionsOf(height).map((one) => one.bytes) }
  }
}

export function exportLog(store: LedgerStore, path: string): { blocks: number; bytes: number } {
  const out = new PieceWriter(path, logMagic)
  let blocks = 0
  try {
    out.piece(encodeGenesis(genesisOf(store)))
    for (const { header, transactions } of blocksOf(store)) {
      out.piece(encodeSigned(header))
      out.count(transactions.length)
      for (const bytes of transactions) out.piece(bytes)
      blocks++
    }
  } finally {
    out.close()
  }
  return { blocks, bytes: out.bytes }
}

export function readLog(path: string): { genesis: Genesis; blocks: Iterable<ArchivedBlock> } {
  const input = new PieceReader(path, logMagic)
  const genesis = decodeGenesis(input.piece())
  function* blocks(): Iterable<ArchivedBlock> {
    while (!input.done) {
      const header = decodeSigned(input.piece())
      yield { header, transactions: Array.from({ length: input.count() }, () => input.piece()) }
    }
  }
  return { genesis, blocks: blocks() }
}

export interface Replayed {
  blocks: number
  transactions: number
  root: string
  state: State
}

/** Runs all blocks again. Throws RelayError at the first that is not what its header says, LedgerError for a transaction that should not be there. */
export function replay(genesis: Genesis, blocks: Iterable<ArchivedBlock>): Replayed {
  const name = genesisHash(genesis)
  const chain = new Chain(name, genesisState(genesis), verify)
  let last: SignedHeader | null = null
  let transactions = 0
  for (const { header: one, transactions: list } of blocks) {
    const { header } = one
    const wrong = (what: string): RelayError => new RelayError(`Block ${header.height}: ${what}.`)
    if (header.height !== chain.height + 1) throw wrong(`expected block ${chain.height + 1}`)
    if (!verifyHeader(verify, name, one)) throw wrong('its header is not signed')
    if (!equalBytes(header.previous, last ? headerHash(last.header) : new Uint8Array(32))) throw wrong('it does not follow the block before')
    chain.begin({ timeMs: header.timeMs, producer: header.producer, entropy: last ? entropyOf(last) : name })
    const decoded = list.map(decodeTransaction)
    if (decoded.length !== header.transactions || !equalBytes(transactionRoot(decoded.map(({ id }) => id)), header.transactionRoot))
      throw wrong('its transactions are others')
    for (const transaction of decoded) chain.apply(transaction)
    const { root } = chain.end()
    if (!equalBytes(root, header.stateRoot)) throw wrong(`the state has root ${hex(root)}, the header says ${hex(header.stateRoot)}`)
    transactions += decoded.length
    last = one
  }
  checkAll(chain.state)
  return { blocks: chain.height, transactions, root: hex(chain.state.root()), state: chain.state }
}

export const replayStore = (store: LedgerStore): Replayed => replay(genesisOf(store), blocksOf(store))

export function exportSnapshot(store: LedgerStore, state: State, path: string): { records: number; bytes: number } {
  const out = new PieceWriter(path, snapshotMagic)
  let records = 0
  try {
    out.piece(encodeGenesis(genesisOf(store)))
    const height = state.must(keyOf.clock).height
    out.piece(store.block(height)?.header ?? new Uint8Array(0))
    for (const [key, value] of state.sealedEntries()) {
      out.piece(Buffer.from(key))
      out.piece(value)
      records++
    }
  } finally {
    out.close()
  }
  return { records, bytes: out.bytes }
}

/** A state whose root is that of its signed header. Throws RelayError. */
export function readSnapshot(path: string): { genesis: Genesis; header: SignedHeader | null; state: State } {
  const input = new PieceReader(path, snapshotMagic)
  const genesis = decodeGenesis(input.piece())
  const signed = input.piece()
  const header = signed.length > 0 ? decodeSigned(signed) : null
  const entries: [string, Uint8Array][] = []
  while (!input.done) entries.push([Buffer.from(input.piece()).toString(), input.piece()])
  const state = State.restore(entries)
  const root = header ? header.header.stateRoot : genesisState(genesis).root()
  if (header && !verifyHeader(verify, genesisHash(genesis), header)) throw new RelayError(`${path}: the header is not signed.`)
  if (!equalBytes(state.root(), root)) throw new RelayError(`${path}: the state has another root than its header says.`)
  return { genesis, header, state }
}
