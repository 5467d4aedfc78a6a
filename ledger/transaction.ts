// Every transaction there is, as bytes and back. A transaction is canonical dag-cbor of [version, kind, chain, from, nonce, fee, [body fields]] followed by 64
// bytes: the Ed25519 signature of `from` over H("transaction", genesis hash ‖ those bytes). Decoding checks form and ranges; what a transaction may do is apply.ts.
import { decode } from '@ipld/dag-cbor'
import { equalBytes, hashTagged, join } from '../protocol/hash.ts'
import { publicKeyOf, sign } from '../protocol/keys.ts'
import { coreBytesMax, layersMax } from '../protocol/limits.ts'
import { amount, bytes, bytesUpTo, type Codec, encodeAs, flag, hash, integer, list, type Of, optional, signature, struct, time, u8, u16, u32 } from './codec.ts'
import { LedgerError } from './errors.ts'
import { chainNumber, modelSplit, parameters, share } from './genesis.ts'

export const transactionVersion = 1
/** Largest transaction of any chain (parameters may say less): one dispute move with 64 KiB of evidence. */
export const transactionBytesMax = 66 * 1024
/** dispute.md 4. */
export const evidenceBytesMax = 65_536

/** Bits of `roles`. */
export const role = { host: 1, auditor: 2, validator: 4 } as const
export const privacyClasses = { open: 0, escrow: 1, sealed: 2 } as const
/** Stops of a claim: protocol/engine/answer.ts. */
const stopCode = integer(1, 3)
/** dispute.md 2.2. */
export const tokensMax = 16_384
export const positionsMax = 32_768
const hostsMax = 32
const layer = integer(0, layersMax)

const layerRange = struct({ from: layer, to: layer })

/** What a session is about; signed with every voucher, on the ledger once. */
export const sessionTerms = struct({
  model: hash,
  /** In ring order; together they must hold layers 0 to the model's last without gap. */
  hosts: list(struct({ account: hash, from: layer, to: layer }), hostsMax),
  /** Most that this session may cost; reserved in the channel when the ledger first sees the session. */
  limit: amount,
  /** Vouchers are worth nothing from then on. */
  untilMs: time,
})
export type SessionTerms = Of<typeof sessionTerms>

const bodies = {
  transfer: struct({ to: hash, amount, note: bytesUpTo(64) }),
  stake: struct({ amount, roles: integer(0, 7) }),
  unstake: struct({ amount }),
  'model.register': struct({
    core: bytesUpTo(coreBytesMax),
    tensorTableRoot: hash,
    constTablesRoot: hash,
    shardListHash: hash,
    /** µ for a token of a whole-model answer. */
    price: amount,
    split: modelSplit,
    /** Who trained the weights last and gets their share. */
    trainer: hash,
    /** Audits of this model's claims; never below the chain's rate. */
    auditRate: share,
  }),
  'model.transfer': struct({ model: hash, to: hash }),
  'model.setFee': struct({ model: hash, price: amount, split: modelSplit, trainer: hash, auditRate: share }),
  'job.create': struct({
    model: hash,
    programVersion: u16,
    promptRoot: hash,
    promptCount: integer(1, positionsMax),
    sampler: bytes(64),
    seed: hash,
    maxTokens: integer(1, tokensMax),
    stopIds: list(u32, 16),
    privacy: integer(0, 2),
    fee: amount,
    /** Extra stake that the requester asks of solvers, for answers worth more than their fee (dispute.md 7). */
    stakeMin: amount,
    deadlineMs: time,
    /** evaluate(model, from, to, x): layers of a segment job and the root of its input boundary; null for a whole answer. */
    segment: optional(struct({ layers: layerRange, boundary: hash })),
    /** A job whose output is this one's input. */
    input: optional(hash),
  }),
  'job.commit': struct({ job: hash, commitment: hash }),
  'job.reveal': struct({
    job: hash,
    m: integer(1, tokensMax),
    stop: stopCode,
    /** Root over the salted tokens; for a segment job over the boundary out. */
    outRoot: hash,
    logRoot: optional(hash),
    /** For comparison only (dispute.md 2.2): never judged. */
    answer: hash,
    nonce: hash,
  }),
  'job.claim': struct({ job: hash }),
  'job.cancel': struct({ job: hash }),
  'job.expire': struct({ job: hash }),
  'audit.commit': struct({ claim: hash, commitment: hash }),
  'audit.report': struct({ claim: hash, answer: hash, leaves: list(hash, 8), salt: hash }),
  'dispute.open': struct({ claim: hash, host: u8, opening: bytesUpTo(evidenceBytesMax) }),
  'dispute.move': struct({ dispute: hash, move: bytesUpTo(evidenceBytesMax) }),
  'dispute.judge': struct({ dispute: hash, evidence: bytesUpTo(evidenceBytesMax) }),
  'dispute.timeout': struct({ dispute: hash }),
  /** Two different records of one position signed by one host: dispute.md 5 and 6b. */
  'dispute.equivocation': struct({ host: hash, first: bytesUpTo(256), firstSignature: signature, second: bytesUpTo(256), secondSignature: signature }),
  'channel.open': struct({ number: u32, deposit: amount }),
  'channel.topUp': struct({ number: u32, amount }),
  'channel.settle': struct({
    owner: hash,
    channel: u32,
    session: u32,
    /** Null once the ledger knows the session. */
    terms: optional(sessionTerms),
    /** Cumulative: what the session has cost so far. */
    amount,
    /** The session ends; what is left of its reservation returns to the channel at once. */
    last: flag,
    /** Root over the hosts' receipts, signed by the requester with the voucher. */
    receipt: hash,
    voucher: signature,
  }),
  /** By the owner without a session: the channel ends after its grace time. By a host or the owner with one: that session ends. */
  'channel.close': struct({ owner: hash, number: u32, session: optional(u32) }),
  'channel.reclaim': struct({ number: u32 }),
  'faucet.grant': struct({ to: hash }),
  'parameters.set': struct({ parameters }),
  'validators.set': struct({ validators: list(struct({ key: hash, power: integer(0, 1_000_000_000) }), 256) }),
  /** A settlement by the last voucher that all hosts call the last one: the session ends at once. */
  'channel.end': struct({
    owner: hash,
    channel: u32,
    session: u32,
    /** Null once the ledger knows the session. */
    terms: optional(sessionTerms),
    amount,
    receipt: hash,
    /** Of the owner, `last` being true in it. */
    voucher: signature,
    /** Of othersOf(hosts, sender), in that order: signEnd over the same bytes. */
    ends: list(signature, hostsMax),
  }),
} as const

export type Kind = keyof typeof bodies
/** Kinds by their number on the wire; numbers never change meaning, new ones come at the end. */
export const kinds = Object.keys(bodies) as Kind[]
export type Body = { [K in Kind]: { kind: K } & Of<(typeof bodies)[K]> }[Kind]
export type BodyOf<K extends Kind> = Extract<Body, { kind: K }>

export interface Transaction {
  /** First four bytes of the genesis hash, little-endian. */
  chain: number
  from: Uint8Array
  /** How many transactions `from` has sent before. */
  nonce: number
  /** µ. */
  fee: bigint
  body: Body
  signature: Uint8Array
  /** The bytes that are signed. */
  unsigned: Uint8Array
  /** Bytes with the signature. */
  size: number
  /** H("tx", all bytes). */
  id: Uint8Array
}

const envelope = struct({ version: u8, kind: u8, chain: u32, from: hash, nonce: integer(0, Number.MAX_SAFE_INTEGER), fee: amount })
const codecOf = (kind: Kind): Codec<Body> => bodies[kind] as unknown as Codec<Body>

/** The whole unsigned part as one codec, once the kind is known. */
const wholes = kinds.map((kind, index) => {
  const body = codecOf(kind)
  const codec: Codec<Omit<Transaction, 'signature' | 'unsigned' | 'size' | 'id'>> = {
    write: (value) => [
      ...(envelope.write({ version: transactionVersion, kind: index, chain: value.chain, from: value.from, nonce: value.nonce, fee: value.fee }) as unknown[]),
      body.write(value.body),
    ],
    read: (data, name) => {
      const all = data as unknown[]
      const { chain, from, nonce, fee } = envelope.read(all.slice(0, 6), name)
      return { chain, from, nonce, fee, body: { ...body.read(all[6], kind), kind } as Body }
    },
  }
  return codec
})

/**
 * Reads a stranger's transaction. Throws LedgerError: oversized, encoding or range. Signature, nonce and chain are checked by apply.ts.
 */
export function decodeTransaction(data: Uint8Array): Transaction {
  if (data.length > transactionBytesMax)
    throw new LedgerError('oversized', `the transaction has ${data.length} bytes, at most ${transactionBytesMax} are allowed`)
  if (data.length < 65) throw new LedgerError('encoding', `${data.length} bytes are no transaction`)
  const unsigned = data.subarray(0, data.length - 64)
  let raw: unknown
  try {
    raw = decode(unsigned)
  } catch (error) {
    throw new LedgerError('encoding', `the transaction is not dag-cbor: ${error instanceof Error ? error.message.slice(0, 200) : 'unreadable'}`)
  }
  if (!Array.isArray(raw) || raw.length !== 7) throw new LedgerError('encoding', 'the transaction is not a list of 7 fields')
  if (raw[0] !== transactionVersion) throw new LedgerError('encoding', `the transaction is not of version ${transactionVersion}`)
  const whole = typeof raw[1] === 'number' ? wholes[raw[1]] : undefined
  if (!whole) throw new LedgerError('encoding', 'there is no such kind of transaction')
  const fields = whole.read(raw, 'transaction')
  if (!equalBytes(encodeAs(whole, fields), unsigned)) throw new LedgerError('encoding', 'the transaction is not in canonical form')
  return { ...fields, signature: data.subarray(data.length - 64), unsigned, size: data.length, id: hashTagged('tx', data) }
}

/** A new transaction, signed: its bytes. `chain` is the genesis hash. Throws LedgerError for fields out of range. */
export function signTransaction(secret: Uint8Array, chain: Uint8Array, nonce: number, fee: bigint, body: Body): Uint8Array {
  const codec = wholes[kinds.indexOf(body.kind)]
  const unsigned = encodeAs(codec, { chain: chainNumber(chain), from: publicKeyOf(secret), nonce, fee, body })
  return join([unsigned, sign(secret, 'transaction', join([chain, unsigned]))])
}

/** The bytes a transaction of this body would have, to quote its fee. */
export function sizeOf(body: Body, nonce: number, fee: bigint): number {
  return encodeAs(wholes[kinds.indexOf(body.kind)], { chain: 0xffffffff, from: new Uint8Array(32), nonce, fee, body }).length + 64
}

/** H("terms", dag-cbor of the terms). */
export const termsHash = (terms: SessionTerms): Uint8Array => hashTagged('terms', encodeAs(sessionTerms, terms))

const voucherCodec = struct({ owner: hash, channel: u32, session: u32, terms: hash, amount, last: flag, receipt: hash })
/** What a requester signs while tokens stream: cumulative, so only the last one counts. */
export type Voucher = Of<typeof voucherCodec>

/** Signed under domain "voucher": genesis hash ‖ dag-cbor of [owner, channel, session, terms hash, amount, last, receipt]. */
export const voucherBytes = (chain: Uint8Array, voucher: Voucher): Uint8Array => join([chain, encodeAs(voucherCodec, voucher)])

export const signVoucher = (secret: Uint8Array, chain: Uint8Array, voucher: Voucher): Uint8Array => sign(secret, 'voucher', voucherBytes(chain, voucher))

/** Accounts whose word an end needs when `from` sends it, in ring order: one may stand behind several hosts. */
export const othersOf = (hosts: readonly { account: Uint8Array }[], from: Uint8Array): Uint8Array[] =>
  hosts.flatMap(({ account }, i) => (equalBytes(account, from) || hosts.findIndex((one) => equalBytes(one.account, account)) < i ? [] : [account]))

/** A host's word that a session ends with this very voucher, which it holds: over the voucher's bytes, under domain "session-end". */
export const signEnd = (secret: Uint8Array, chain: Uint8Array, voucher: Voucher): Uint8Array => sign(secret, endDomain, voucherBytes(chain, voucher))
export const endDomain = 'session-end'

/** Solver's commitment: H("commit", genesis hash, claimant, out, nonce); dispute.md 2.2. */
export const commitmentOf = (chain: Uint8Array, claimant: Uint8Array, out: Uint8Array, nonce: Uint8Array): Uint8Array =>
  hashTagged('commit', chain, claimant, out, nonce)

/** Auditor's commitment: H("audit", genesis hash, claim, auditor, answer, leaf count u8, leaves, salt). */
export const auditCommitmentOf = (
  chain: Uint8Array,
  claim: Uint8Array,
  auditor: Uint8Array,
  report: { answer: Uint8Array; leaves: readonly Uint8Array[]; salt: Uint8Array },
): Uint8Array => hashTagged('audit', chain, claim, auditor, report.answer, Uint8Array.of(report.leaves.length), ...report.leaves, report.salt)
