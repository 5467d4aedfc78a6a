// What the state holds: one record a key. Keys are ASCII paths ("account/ab12…"), values canonical dag-cbor arrays. Every record knows how much money lies in it,
// which is how conservation is checked, and when the chain must look at it again by itself.
import { hex } from '../protocol/hash.ts'
import { coreBytesMax } from '../protocol/limits.ts'
import {
  amount,
  bytes,
  bytesUpTo,
  type Codec,
  decodeAs,
  decodeOwn,
  encodeAs,
  flag,
  hash,
  integer,
  list,
  type Of,
  oneOf,
  optional,
  struct,
  time,
  u8,
  u16,
  u32,
} from './codec.ts'
import { modelSplit, parameters, share } from './genesis.ts'

const account = struct({
  balance: amount,
  /** Transactions sent so far. */
  nonce: time,
  /** Bonded, locked part included. */
  stake: amount,
  /** Part of the stake that answers for open claims. */
  locked: amount,
  /** Bits: role in transaction.ts. */
  roles: u8,
  /** Channels opened so far: the next one's number. */
  channels: u32,
  unbondings: u32,
  granted: flag,
})
export type Account = Of<typeof account>
export const noAccount: Account = { balance: 0n, nonce: 0, stake: 0n, locked: 0n, roles: 0, channels: 0, unbondings: 0, granted: false }

const reputation = struct({
  /** Claims that became final, and how many of them were audited. */
  finalised: u32,
  audited: u32,
  challenged: u32,
  lost: u32,
  /** Audits done, and drawn but missed. */
  audits: u32,
  missed: u32,
  /** Block time of the first entry. */
  sinceMs: time,
})
export type Reputation = Of<typeof reputation>

const unbonding = struct({ account: hash, amount, releaseMs: time })

const model = struct({
  owner: hash,
  trainer: hash,
  price: amount,
  split: modelSplit,
  auditRate: share,
  layers: u8,
  core: bytesUpTo(coreBytesMax),
  tensorTableRoot: hash,
  constTablesRoot: hash,
  shardListHash: hash,
  /** Open disputes about its claims. */
  disputes: u32,
})
export type ModelRecord = Of<typeof model>

const job = struct({
  requester: hash,
  model: hash,
  programVersion: u16,
  promptRoot: hash,
  promptCount: u32,
  sampler: bytes(64),
  seed: hash,
  maxTokens: u32,
  stopIds: list(u32, 16),
  privacy: u8,
  fee: amount,
  stakeMin: amount,
  deadlineMs: time,
  segment: optional(struct({ from: u8, to: u8, boundary: hash })),
  input: optional(hash),
  /** Commits that have not run out. */
  commits: u32,
  claim: optional(hash),
})
export type Job = Of<typeof job>

const commit = struct({ job: hash, solver: hash, commitment: hash, height: time, stake: amount, untilMs: time })
export type Commit = Of<typeof commit>

const audit = struct({
  auditor: hash,
  commitment: optional(hash),
  answer: optional(hash),
  /** H("leaves", leaves): two honest auditors agree on it. */
  leaves: optional(hash),
})

/** Life of a claim's audit. */
const auditPhases = ['waiting', 'passed', 'drawn', 'agreed', 'differs', 'silent'] as const

const auditing = struct({
  phase: oneOf(auditPhases),
  /** Block that draws, and what it drew with: names the leaves that auditors must show. */
  drawHeight: time,
  drawn: hash,
  /** Rate of the draw, which is also what the levy is for. */
  rate: share,
  reportsFromMs: time,
  endsMs: time,
  audits: list(audit, 8),
})
export type Auditing = Of<typeof auditing>

const claim = struct({
  job: hash,
  solver: hash,
  m: u32,
  stop: u8,
  outRoot: hash,
  logRoot: optional(hash),
  answer: hash,
  stake: amount,
  revealedMs: time,
  finalMs: time,
  auditing,
  /** Disputes that are open now. */
  disputes: u32,
})
export type Claim = Of<typeof claim>

const channel = struct({
  /** Free part; what sessions have reserved lies in their records. */
  deposit: amount,
  /** Sessions that still hold a reservation. */
  sessions: u32,
  /** When the owner may reclaim; null while open. */
  closesMs: optional(time),
})
export type Channel = Of<typeof channel>

const session = struct({
  owner: hash,
  channel: u32,
  number: u32,
  model: hash,
  terms: hash,
  hosts: list(struct({ account: hash, from: u8, to: u8, locked: amount, fallen: flag }), 32),
  /** Vouchers are worth nothing from then on; the record stays until then, so that none counts twice. */
  untilMs: time,
  /** When it ends; untilMs unless a host has said that it is over. */
  closesMs: time,
  /** Reserved and not yet earned. */
  reserved: amount,
  /** Sum of what vouchers brought (the last one's amount). */
  settled: amount,
  /** Earned and held until the window closes: settled less fees of settlements. */
  held: amount,
  receipt: hash,
  open: flag,
  endedMs: time,
  finalMs: time,
  paid: flag,
  auditing,
  disputes: u32,
})
export type Session = Of<typeof session>

const dispute = struct({
  claim: hash,
  host: u8,
  claimant: hash,
  openedMs: time,
  openedHeight: time,
  /** Every bond in the order put up; `left` is what no payout has moved. */
  bonds: list(struct({ account: hash, left: amount }), 65_536),
  stakeLeft: amount,
  moves: u32,
  verdict: optional(oneOf(['upheld', 'fallen', 'void'])),
  game: bytesUpTo(4 << 20),
})
export type Dispute = Of<typeof dispute>

const money = struct({
  treasury: amount,
  faucet: amount,
  auditPool: amount,
  /** Fees of the block being built; the producer gets half at its end, the other half is burned. */
  fees: amount,
  /** Everything ever minted after genesis, and everything ever burned. */
  emitted: amount,
  burned: amount,
})
export type Money = Of<typeof money>

const clock = struct({ height: time, timeMs: time, activeMs: time, beacon: hash })
export type Clock = Of<typeof clock>

const rules = struct({ operator: hash, genesisMs: time, supplyMax: amount, supplyGenesis: amount, parameters })

const validators = struct({ validators: list(struct({ key: hash, power: integer(0, 1_000_000_000) }), 256) })

/** Work of an epoch: burned shares of audited final claims. */
const epoch = struct({ work: amount, endsMs: time, minted: amount, closed: flag })
const work = struct({ epoch: u32, account: hash, work: amount, endsMs: time })

/** Equivocations already punished. */
const offence = struct({ host: hash, timeMs: time })

const codecs = {
  account,
  claim,
  channel,
  clock,
  commit,
  dispute,
  epoch,
  job,
  model,
  money,
  offence,
  reputation,
  rules,
  session,
  unbonding,
  validators,
  work,
} as const
export type RecordKind = keyof typeof codecs
export type RecordOf<K extends RecordKind> = Of<(typeof codecs)[K]>
export type AnyRecord = { [K in RecordKind]: RecordOf<K> }[RecordKind]

/** A key of the state; its first word says what lies there. */
export type Key<K extends RecordKind> = string & { readonly kind?: K }

export const keyOf = {
  account: (id: Uint8Array): Key<'account'> => `account/${hex(id)}`,
  reputation: (id: Uint8Array): Key<'reputation'> => `reputation/${hex(id)}`,
  unbonding: (id: Uint8Array, number: number): Key<'unbonding'> => `unbonding/${hex(id)}/${number}`,
  model: (id: Uint8Array): Key<'model'> => `model/${hex(id)}`,
  job: (id: Uint8Array): Key<'job'> => `job/${hex(id)}`,
  commit: (jobId: Uint8Array, solver: Uint8Array): Key<'commit'> => `commit/${hex(jobId)}/${hex(solver)}`,
  claim: (id: Uint8Array): Key<'claim'> => `claim/${hex(id)}`,
  channel: (owner: Uint8Array, number: number): Key<'channel'> => `channel/${hex(owner)}/${number}`,
  session: (id: Uint8Array): Key<'session'> => `session/${hex(id)}`,
  dispute: (id: Uint8Array): Key<'dispute'> => `dispute/${hex(id)}`,
  epoch: (number: number): Key<'epoch'> => `epoch/${number}`,
  work: (number: number, id: Uint8Array): Key<'work'> => `work/${number}/${hex(id)}`,
  offence: (id: Uint8Array): Key<'offence'> => `offence/${hex(id)}`,
  money: 'money' as Key<'money'>,
  clock: 'clock' as Key<'clock'>,
  rules: 'rules' as Key<'rules'>,
  validators: 'validators' as Key<'validators'>,
}

export const kindOf = (key: string): RecordKind => {
  const slash = key.indexOf('/')
  return (slash < 0 ? key : key.slice(0, slash)) as RecordKind
}

export const encodeRecord = (key: string, record: AnyRecord): Uint8Array => encodeAs(codecs[kindOf(key)] as Codec<unknown>, record)

/** A record from a disk, whose root is compared afterwards. Throws LedgerError. */
export const restoreRecord = (key: string, data: Uint8Array): AnyRecord => decodeOwn(codecs[kindOf(key)] as unknown as Codec<AnyRecord>, data, key)

/** A stranger's record. Throws LedgerError. */
export const decodeRecord = <K extends RecordKind>(key: Key<K>, data: Uint8Array): RecordOf<K> =>
  decodeAs(codecs[kindOf(key)] as unknown as Codec<RecordOf<K>>, data, key)

/** µ that lie in a record. The sum over all records, and what was burned, is genesis and emission: invariants.ts. */
export function moneyIn(key: string, record: AnyRecord): bigint {
  switch (kindOf(key)) {
    case 'account': {
      const one = record as Account
      return one.balance + one.stake
    }
    case 'unbonding':
      return (record as RecordOf<'unbonding'>).amount
    case 'job':
      return (record as Job).fee
    case 'channel':
      return (record as Channel).deposit
    case 'session': {
      const one = record as Session
      return one.reserved + one.held
    }
    case 'dispute':
      return (record as Dispute).bonds.reduce((sum, bond) => sum + bond.left, 0n)
    case 'money': {
      const one = record as Money
      return one.treasury + one.faucet + one.auditPool + one.fees
    }
    default:
      return 0n
  }
}

/** When the chain must look at a record by itself: at a block time, or at a height; null for never. Handled by schedule.ts. */
export function wakeOf(key: string, record: AnyRecord): { atMs: number } | { atHeight: number } | null {
  switch (kindOf(key)) {
    case 'unbonding':
      return { atMs: (record as RecordOf<'unbonding'>).releaseMs }
    case 'commit':
      return { atMs: (record as Commit).untilMs }
    case 'claim': {
      return wakeOfAudit((record as Claim).auditing)
    }
    case 'session': {
      const one = record as Session
      if (one.open) return { atMs: one.closesMs }
      if (one.paid) return { atMs: Math.max(one.finalMs, one.untilMs) }
      return wakeOfAudit(one.auditing) ?? (one.disputes > 0 ? null : { atMs: one.finalMs })
    }
    case 'epoch': {
      const one = record as RecordOf<'epoch'>
      return one.closed ? null : { atMs: one.endsMs }
    }
    case 'work':
      return { atMs: (record as RecordOf<'work'>).endsMs }
    default:
      return null
  }
}

const wakeOfAudit = (one: Auditing): { atMs: number } | { atHeight: number } | null =>
  one.phase === 'waiting' ? { atHeight: one.drawHeight } : one.phase === 'drawn' ? { atMs: one.endsMs } : null
