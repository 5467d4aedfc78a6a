// Where a chain begins: every number that its rules use, in canonical bytes. The hash of these bytes names the chain and is part of every signature, so a
// transaction means something on one chain only. Changing a parameter later is a transaction (apply/parameters.ts); adding one is a new version.
import { hashTagged } from '../protocol/hash.ts'
import { credit, wholeShare } from './amount.ts'
import { amount, amountMax, bytesUpTo, decodeAs, encodeAs, flag, hash, integer, list, type Of, struct, text, time, u8, u16, u32 } from './codec.ts'
import { LedgerError } from './errors.ts'

/** Parts of 10,000. */
export const share = integer(0, wholeShare)
const span = integer(0, 100 * 365 * 86_400_000)

/** Who gets what of a fee, in parts of 10,000; hosts get the rest. Burn, treasury and producer are the chain's, owner and trainer the model's to set. */
export const chainSplit = struct({ burn: share, treasury: share, producer: share })
export const modelSplit = struct({ owner: share, trainer: share })
export type ModelSplit = Of<typeof modelSplit>

export const parameters = struct({
  /** Rules in force; 1 is the only one so far. */
  version: u16,
  /** A transaction pays at least feeBase + feePerByte · size, µ. */
  feeBase: amount,
  feePerByte: amount,
  transactionBytesMax: u32,
  blockIntervalMs: integer(1, 3_600_000),
  /** Bytes of a block's transactions; disputes.lane of it is for moves of disputes alone, so that nobody can keep them out by filling blocks. */
  blockBytesMax: u32,
  split: chainSplit,
  /** What owner and trainer together may take at most. */
  modelShareMax: share,
  /** Wc: how long a claim can be challenged. */
  claimWindowMs: span,
  /** From a job's commit to its reveal. */
  revealWindowMs: span,
  jobDeadlineMsMax: span,
  /** Longer than any window, so that no stake leaves before its claims are final. */
  unbondMs: span,
  /** From channel.close to channel.reclaim: time for hosts to settle. */
  channelGraceMs: span,
  sessionMsMax: span,
  /** From the first sign that a session of several hosts is over to its end: time for each of them to show a better voucher. */
  sessionGraceMs: span,
  /** Stake locked by a claim over F: max(stakeFactor · F, stakeMoves · x), x = fee of the largest move. dispute.md 7. */
  stakeFactor: u32,
  stakeMoves: u32,
  /** Least stake with which an account can be drawn as an auditor. */
  auditorStakeMin: amount,
  auditRate: share,
  /** For hosts with fewer than auditNewClaims final claims. */
  auditRateNew: share,
  auditNewClaims: u32,
  /** Auditors drawn for one claim. */
  auditors: integer(0, 8),
  /** What one auditor gets, parts of 10,000 of F. */
  auditPay: share,
  /** Half of it for commits, half for reports. */
  auditWindowMs: span,
  /** Burned from the stake of a drawn auditor who stays silent. */
  auditMissPenalty: amount,
  emission: struct({
    epochMs: integer(1, Number.MAX_SAFE_INTEGER),
    /** Budget of an epoch before the first halving, µ. */
    initial: amount,
    halvingEpochs: integer(1, 4294967295),
    treasuryShare: share,
  }),
  faucet: struct({ open: flag, grant: amount }),
  disputes: struct({
    /** Windows in active time (dispute.md 3): Wda, We, Wd, Wr; T is added by the game. */
    dataMs: span,
    expandMs: span,
    defendMs: span,
    refuteMs: span,
    /** Budget of each side of a path, and least time for any obligation. */
    budgetMs: span,
    floorMs: span,
    /** Deadlines are at least this many blocks away. */
    blocksMin: u32,
    /** Bonds: challenge and defence are bondFees · F + bondMoves · x; path and expansion F / 2 + bondMoves · x. */
    bondFees: u32,
    bondMoves: u32,
    /** Share of a block's bytes that only dispute moves may use. */
    lane: share,
    stateBytesMax: u32,
  }),
})
export type Parameters = Of<typeof parameters>

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour

export const defaultParameters: Parameters = {
  version: 1,
  feeBase: 100n,
  feePerByte: 1n,
  // Evidence is at most 64 KiB (dispute.md 4); the rest is the envelope.
  transactionBytesMax: 66 * 1024,
  blockIntervalMs: 1000,
  // 20,000 transfers, three times what a relay orders in an interval (measured).
  blockBytesMax: 4 << 20,
  split: { burn: 500, treasury: 200, producer: 100 },
  modelShareMax: 2000,
  claimWindowMs: day,
  revealWindowMs: hour,
  jobDeadlineMsMax: 30 * day,
  unbondMs: 14 * day,
  channelGraceMs: day,
  sessionMsMax: 7 * day,
  sessionGraceMs: 10 * minute,
  stakeFactor: 32,
  stakeMoves: 200,
  auditorStakeMin: 20n * credit,
  auditRate: 500,
  auditRateNew: 2000,
  auditNewClaims: 100,
  auditors: 2,
  auditPay: 5000,
  auditWindowMs: 4 * hour,
  auditMissPenalty: 10_000n,
  // 200 credits an hour, halved every four years: 14,016,000 in all; with 7 million at genesis below the cap of 21 and 21,016,000: the cap cuts the tail.
  emission: { epochMs: hour, initial: 200n * credit, halvingEpochs: 35_040, treasuryShare: 1000 },
  faucet: { open: true, grant: 20n * credit },
  disputes: {
    dataMs: 2 * hour,
    expandMs: 2 * hour,
    defendMs: 6 * hour,
    refuteMs: 12 * hour,
    budgetMs: 3 * hour,
    floorMs: 15 * minute,
    blocksMin: 100,
    bondFees: 2,
    bondMoves: 20,
    lane: 2500,
    // What a game may hold in the tree: paths of a few hundred revealed nodes of 2 KiB.
    stateBytesMax: 4 << 20,
  },
}

/** The same rules with every window `times` shorter: for tests and demonstrations. Emission and faucet stay. */
export function hurried(from: Parameters, times: number): Parameters {
  const shorter = (ms: number): number => Math.max(1, Math.floor(ms / times))
  const { disputes: d } = from
  return {
    ...from,
    blockIntervalMs: shorter(from.blockIntervalMs),
    claimWindowMs: shorter(from.claimWindowMs),
    revealWindowMs: shorter(from.revealWindowMs),
    unbondMs: shorter(from.unbondMs),
    channelGraceMs: shorter(from.channelGraceMs),
    sessionGraceMs: shorter(from.sessionGraceMs),
    auditWindowMs: shorter(from.auditWindowMs),
    disputes: {
      ...d,
      dataMs: shorter(d.dataMs),
      expandMs: shorter(d.expandMs),
      defendMs: shorter(d.defendMs),
      refuteMs: shorter(d.refuteMs),
      budgetMs: shorter(d.budgetMs),
      floorMs: shorter(d.floorMs),
      blocksMin: Math.max(2, shorter(d.blocksMin)),
    },
  }
}

/** Bytes of a block that transactions other than dispute moves may take. */
export const ordinaryBytesMax = (p: Parameters): number => p.blockBytesMax - Math.floor((p.blockBytesMax * p.disputes.lane) / wholeShare)

/** x: what the largest dispute move costs in fees. */
export const largestMoveFee = (p: Parameters): bigint => p.feeBase + p.feePerByte * 65_536n

/** Least fee of a transaction of `size` bytes. */
export const leastFee = (p: Parameters, size: number): bigint => p.feeBase + p.feePerByte * BigInt(size)

const allocation = struct({ account: hash, amount })

const genesisCodec = struct({
  version: u8,
  /** For people: "meadow-local". The hash names the chain. */
  chainId: text(64),
  timeMs: time,
  /** May change parameters and validators, grants from the faucet, and signs blocks in embedded mode. */
  operator: hash,
  /** µ that may ever exist, genesis included. */
  supplyMax: amount,
  treasury: amount,
  faucet: amount,
  /** Pays auditors until levies come in. */
  auditPool: amount,
  allocations: list(allocation, 100_000),
  parameters,
  /** Anything people agree on besides: a text, a hash. Part of the name of the chain. */
  note: bytesUpTo(1024),
})
export type Genesis = Of<typeof genesisCodec>

export const encodeGenesis = (genesis: Genesis): Uint8Array => encodeAs(genesisCodec, genesis)

/** Throws LedgerError. */
export function decodeGenesis(data: Uint8Array): Genesis {
  const genesis = decodeAs(genesisCodec, data, 'genesis')
  if (genesis.version !== 1) throw new LedgerError('encoding', `genesis has version ${genesis.version}, this program knows 1`)
  checkParameters(genesis.parameters)
  if (genesisSupply(genesis) > genesis.supplyMax) throw new LedgerError('range', 'genesis hands out more than may ever exist')
  return genesis
}

/** H("genesis", bytes): the chain's name; its first four bytes, little-endian, are the chain number in transactions. */
export const genesisHash = (genesis: Genesis): Uint8Array => hashTagged('genesis', encodeGenesis(genesis))
export const chainNumber = (name: Uint8Array): number => new DataView(name.buffer, name.byteOffset).getUint32(0, true)

export const genesisSupply = (genesis: Genesis): bigint =>
  genesis.allocations.reduce((sum, one) => sum + one.amount, genesis.treasury + genesis.faucet + genesis.auditPool)

export const defaultGenesis = (operator: Uint8Array, timeMs: number, chainId = 'meadow-local'): Genesis => ({
  version: 1,
  chainId,
  timeMs,
  operator,
  supplyMax: 21_000_000n * credit,
  treasury: 5_000_000n * credit,
  faucet: 1_000_000n * credit,
  auditPool: 100_000n * credit,
  allocations: [{ account: operator, amount: 900_000n * credit }],
  parameters: defaultParameters,
  note: new Uint8Array(0),
})

/** What parameters must satisfy together. Throws LedgerError (range). */
export function checkParameters(p: Parameters): void {
  const bad = (message: string): LedgerError => new LedgerError('range', message)
  if (p.version !== 1) throw bad(`rules version ${p.version} is not known here`)
  // Audits are paid by a levy on the fee (split.ts); with it all shares must leave hosts something, or a fee could not be split.
  const levy = auditLevyShare(p, Math.max(p.auditRate, p.auditRateNew))
  const taken = p.split.burn + p.split.treasury + p.split.producer + p.modelShareMax + levy
  if (taken > wholeShare) throw bad(`shares add up to ${taken} of ${wholeShare}`)
  if (p.emission.treasuryShare > wholeShare) throw bad('the treasury cannot take more than all of the emission')
  const longest = Math.max(p.claimWindowMs, p.sessionMsMax > 7 * day ? p.sessionMsMax : 0, p.revealWindowMs, p.auditWindowMs, p.channelGraceMs)
  if (p.unbondMs < longest) throw bad(`unbonding takes ${p.unbondMs} ms, shorter than a window of ${longest} ms`)
  if (p.auditWindowMs > p.claimWindowMs) throw bad('audits must end before the claim window does')
  if (p.disputes.lane > wholeShare) throw bad('the lane of disputes cannot be more than the whole block')
  if (ordinaryBytesMax(p) < p.transactionBytesMax) throw bad('a block must have room for the largest transaction')
  if (p.transactionBytesMax < 1024) throw bad('transactions need at least 1,024 bytes')
  // Else nobody could sign a transaction any more, not even the one that mends it.
  if (leastFee(p, p.transactionBytesMax) > amountMax || largestMoveFee(p) > amountMax) throw bad('the fee of the largest transaction is no amount')
}

/** ⌈rate · auditors · pay⌉ in parts of 10,000: what an audited share of claims costs, levied on every claim, so that no one can expect to earn by auditing himself. */
export const auditLevyShare = (p: Parameters, rate: number): number => Math.ceil((rate * p.auditors * p.auditPay) / wholeShare)
