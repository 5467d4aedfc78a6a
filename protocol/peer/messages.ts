// The frames of /meadow/ring/1: what peers say to each other beside gossip. Specification: protocol/README.md, section 12.
// Every message of a session carries session and epoch; rows and tokens also generation, position, count and layer: a receiver can tell late, doubled and lost ones apart.
import {
  boolean,
  bytes,
  type Codec,
  codec,
  hexBytes,
  integer,
  list,
  MessageError,
  map,
  nullable,
  type Of,
  oneOf,
  type Shape,
  type SomeShape,
  text,
} from '../codec.ts'
import type { Stop } from '../engine/generate.ts'
import { checkSampler, type Sampler } from '../engine/sampler.ts'
import { fromHex, join, u32 } from '../hash.ts'
import { sign, verify } from '../keys.ts'
import {
  addressBytesMax,
  boundaryBytesMax,
  chainMax,
  chunkRowsMax,
  claimBytesMax,
  contextMax,
  draftMax,
  frameBytesMax,
  layersMax,
  presenceAddressesMax,
  presenceBatchMax,
  presenceBytesMax,
  reasonBytesMax,
  recordBytes,
  stopIdsMax,
  termsBytesMax,
  vocabMax,
  voucherBytesMax,
} from '../limits.ts'
import type { PeerKey } from './machine.ts'

/** Peers of other versions are told so and left alone. */
export const ringVersion = 1

export const key = hexBytes(32)
export const layerAt = integer(0, layersMax)
const position = integer(0, contextMax)
const token = integer(0, vocabMax - 1)
const session = hexBytes(16)
/** The ledger's name of a paid session. */
const leg = hexBytes(32)
/** A session of 65,535 repairs is not one that anyone waits for. */
const epoch = integer(1, 65535)
/** Grows with every rejected draft: at most once a position. */
const generation = integer(0, contextMax)
/** Durations: a day bounds them. */
const ms = integer(0, 86_400_000)
const reason = text(reasonBytesMax)
/** A sentence cut to what a message may carry; one letter takes at most three bytes. */
export const shortReason = (sentence: string): string =>
  new TextEncoder().encode(sentence).length <= reasonBytesMax ? sentence : sentence.slice(0, Math.floor(reasonBytesMax / 3))
export const stops = ['eos', 'length', 'context'] as const satisfies readonly Stop[]

/** The six fields in order; checked like any sampler. */
export const samplerShape: Shape<Sampler> = {
  read(value, name) {
    const [temperature, topK, topP, minP, repeatPenalty, repeatWindow] = list(integer(0, 2 ** 32 - 1), 6, 6).read(value, name)
    const sampler = { temperature, topK, topP, minP, repeatPenalty, repeatWindow }
    try {
      checkSampler(sampler)
    } catch (error) {
      throw new MessageError(`${name}: ${(error as Error).message}`)
    }
    return sampler
  },
  write: (s) => [s.temperature, s.topK, s.topP, s.minP, s.repeatPenalty, s.repeatWindow],
}

const link = map({ peer: key, from: layerAt, to: layerAt, addresses: list(text(addressBytesMax), presenceAddressesMax) })
const hopTimes = list(map({ waitMs: ms, computeMs: ms }), chainMax)

export const refusals = ['notHeld', 'full', 'draining', 'paused', 'friends', 'limit', 'unreachable', 'input', 'terms', 'unpaid'] as const
export type Refusal = (typeof refusals)[number]
/** `lost`: the engine or its cache is gone; `differs`: bytes do not hash to what their sender said; `gap`: rows to replay are no longer kept; `unpaid`: no voucher came. */
export const troubles = ['lost', 'differs', 'unreachable', 'gap', 'leaving', 'input', 'unpaid'] as const

/** What an open says before its signature. */
const openFields = {
  session,
  epoch,
  requester: key,
  modelId: hexBytes(32),
  chain: list(link, chainMax, 1),
  input: hexBytes(32),
  sampler: samplerShape,
  seed: integer(0, Number.MAX_SAFE_INTEGER),
  maxTokens: integer(1, contextMax),
  stopIds: list(token, stopIdsMax),
  promptLength: integer(1, contextMax),
  draft: boolean,
  /** What is paid for it, in the ledger's own bytes (payment.ts); null: nothing. */
  terms: nullable(bytes(1, termsBytesMax)),
}
const openSigned = map(openFields)

/** What a host signs for; the peer is who says it. */
const statement = { from: layerAt, to: layerAt, count: position, inChain: hexBytes(32), outChain: hexBytes(32), signature: hexBytes(64) }

const shapes = {
  /** First frame of a connection, both ways. `group`: proof of the invitation secret (see groupProof), null on the open network. `tells`: answers askPresence. */
  hello: map({ version: integer(0, 65535), group: nullable(hexBytes(32)), tells: boolean }),
  ping: map({ nonce: integer(0, 2 ** 32 - 1) }),
  pong: map({ nonce: integer(0, 2 ** 32 - 1) }),
  askPresence: map({}),
  presences: map({ records: list(map({ ageMs: ms, bytes: bytes(1, presenceBytesMax) }), presenceBatchMax) }),

  /** Requester to every host of the chain. With a known session and a newer epoch: everything older is void. */
  open: map({ ...openFields, signature: bytes(64, 64) }),
  /** Host: room is reserved, my successor is reachable; rows [0, kept) are cached, outputs of [logFrom, kept) can be replayed. `credit`: tokens computed ahead of the last voucher, 0 for who pays nothing. */
  opened: map({ session, epoch, kept: position, logFrom: position, credit: integer(0, 65535) }),
  /** Host: no, and why; `peer`: the successor that cannot be reached; `waitMs`: when to come again; `place`: in the line, 0 = none. */
  refused: map({ session, epoch, why: oneOf(refusals), peer: nullable(key), place: integer(0, 65535), waitMs: ms, message: reason }),
  /** Requester, when all have opened: forget rows from `keep` on, send your outputs again from `replayFrom` on; the tokens [0, committed) are settled. */
  resume: map({ session, epoch, keep: position, replayFrom: position, committed: position }),

  /** To the next host (from the requester to the first): rows [position, position + count) enter `layer`. Their residuals stand behind the map (see encodeMessage). `chain`: the sender's running hash after them. */
  rows: map({
    session,
    epoch,
    generation,
    position,
    layer: layerAt,
    tokens: list(token, chunkRowsMax, 1),
    chain: hexBytes(32),
    times: hopTimes,
  }),
  /** Last host to the requester and to the first host: what follows position − 1. `rows`: how many were tried for it. */
  tokens: map({
    session,
    epoch,
    generation,
    position,
    tokens: list(token, draftMax + 1, 1),
    stop: nullable(oneOf(stops)),
    rows: integer(1, chunkRowsMax),
    times: hopTimes,
  }),
  /** Receiver of rows: position `position` comes next, send from there. */
  nack: map({ session, epoch, generation, position }),
  /** Receiver of rows: those before `position` are computed; more may come (prompts: at most two chunks under way per hop). */
  taken: map({ session, epoch, position }),
  /** Host to requester while rows wait or are computed, at least once a second. */
  progress: map({ session, epoch, position, waitMs: ms }),
  /** Host to requester: this session cannot go on here. */
  trouble: map({ session, epoch, why: oneOf(troubles), peer: nullable(key), message: reason }),
  /** Requester to hosts, every two seconds: I am still here. */
  alive: map({ session, epoch }),
  /** Requester: the session is over. With `receipt`: sign for the tokens [0, committed) first; with `ending`, of a paid session, also a claim: the last token has been no row. */
  close: map({ session, epoch, committed: position, receipt: boolean, ending: nullable(map({ token, stop: oneOf(stops) })) }),
  /** Host to its successor at the end, see receipt.ts. */
  statement: map({ session, epoch, ...statement }),
  /** Host to requester at the end: the same, and what its predecessor said. */
  receipt: map({ session, ...statement, link: nullable(map({ peer: key, ...statement })) }),

  /** Requester to the hosts of a paid session of the ledger (`leg`): all that is owed up to now. Also after the close. */
  voucher: map({ session, leg, voucher: bytes(1, voucherBytesMax) }),
  /** Host: that is kept where a crash cannot reach it, and pays for the first `tokens` tokens of the leg. */
  vouched: map({ session, leg, tokens: position }),
  /** Host to requester at the end of a paid session: its claim and what its rows were, inRoot and outRoot of each. */
  claim: map({ session, leg, claim: bytes(1, claimBytesMax), signature: bytes(64, 64), records: bytes(0, contextMax * recordBytes) }),

  /** Before a connection is ended on purpose: why. */
  bye: map({ why: reason }),

  /** Requester to the hosts of a ring that is late: how far are you? And the answer: rows [0, position) are computed. */
  probe: map({ session, epoch }),
  probed: map({ session, epoch, position }),
  /** Requester to the host before the late one: send your outputs [0, upto) also to this second holder of the next layers, as rows of the epoch `standby`. */
  feed: map({ session, epoch, to: key, addresses: list(text(addressBytesMax), presenceAddressesMax), standby: epoch, upto: position }),

  /** Host to requester, when the last voucher of a paid session is kept: its word that the session ends with it. */
  end: map({ session, leg, end: bytes(64, 64) }),
  /** Requester to the hosts: everybody's word, in ring order. Whoever settles takes it along. */
  ended: map({ session, leg, ends: list(bytes(64, 64), chainMax, 1) }),
} satisfies Record<string, SomeShape>

type Shapes = typeof shapes
export type MessageKind = keyof Shapes
/** Residuals of `rows`, count · hidden, null at layer 0. */
type Bulk<K> = K extends 'rows' ? { boundary: Int32Array | null } : unknown
export type Message = { [K in MessageKind]: { kind: K } & Of<Shapes[K]> & Bulk<K> }[MessageKind]
export type MessageOf<K extends MessageKind> = Extract<Message, { kind: K }>

export const messageKinds = Object.keys(shapes) as MessageKind[]

/** Longest maps by kind: presences carry bulk, rows their tokens, an open its addresses, everything else is small. */
const bytesMax = (kind: MessageKind): number =>
  kind === 'presences' ? 1 << 20 : kind === 'claim' ? contextMax * recordBytes + 2048 : kind === 'open' || kind === 'rows' ? 32768 : 2048

const codecs = new Map<MessageKind, Codec<unknown>>(
  messageKinds.map((kind) => [kind, codec(`a message ${kind}`, shapes[kind] as Shape<unknown>, bytesMax(kind))]),
)

/**
 * A frame: the kind's number in one byte, then canonical dag-cbor. Of rows: the length of the map as u32, the map, then the residuals as i32 little-endian, as every
 * machine that runs an engine keeps them: half a megabyte inside the map would be copied and compared several times.
 */
export function encodeMessage(message: Message): Uint8Array {
  const map = codecs.get(message.kind)!.encode(message)
  const kind = Uint8Array.of(messageKinds.indexOf(message.kind))
  if (message.kind !== 'rows') return join([kind, map])
  const { boundary } = message
  return join([kind, u32(map.length), map, ...(boundary ? [new Uint8Array(boundary.buffer, boundary.byteOffset, boundary.byteLength)] : [])])
}

/** Reads a stranger's frame. Throws MessageError. Whether the sender may say that is for the receiver to judge. */
export function decodeMessage(frame: Uint8Array): Message {
  if (frame.length > frameBytesMax) throw new MessageError(`a frame of ${frame.length} bytes, at most ${frameBytesMax} are allowed`)
  const kind = messageKinds[frame[0]]
  if (kind === undefined) throw new MessageError(frame.length === 0 ? 'an empty frame' : `a frame of unknown kind ${frame[0]}`)
  if (kind !== 'rows') return { kind, ...(codecs.get(kind)!.decode(frame.subarray(1)) as object) } as Message
  const length = frame.length < 5 ? 0 : new DataView(frame.buffer, frame.byteOffset).getUint32(1, true)
  const bulk = frame.subarray(5 + length)
  if (length === 0 || 5 + length > frame.length || bulk.length % 4 !== 0 || bulk.length > boundaryBytesMax)
    throw new MessageError('a message rows that is not a map and residuals')
  const map = codecs.get(kind)!.decode(frame.subarray(5, 5 + length)) as object
  return { kind, ...map, boundary: bulk.length > 0 ? new Int32Array(bulk.slice().buffer) : null } as Message
}

export type Open = Omit<MessageOf<'open'>, 'kind' | 'signature'>

const openCodec = codec('an open', openSigned, 32768)

export const signOpen = (secret: Uint8Array, open: Open): MessageOf<'open'> => ({
  kind: 'open',
  ...open,
  signature: sign(secret, 'ring-open', openCodec.encode(open)),
})

export function isSignedOpen(message: MessageOf<'open'>): boolean {
  return verify(fromHex(message.requester), 'ring-open', openCodec.encode(message), message.signature)
}

/** What must hold of a chain beyond its shape: layers follow on from 0, no host twice, no empty segment. Null when all is well. */
export function chainFault(chain: readonly { peer: PeerKey; from: number; to: number }[], layers: number): string | null {
  if (new Set(chain.map((one) => one.peer)).size !== chain.length) return 'a host stands twice in the chain'
  let at = 0
  for (const { from, to } of chain) {
    if (from !== at || to <= from) return `the chain does not go on at layer ${at}`
    at = to
  }
  return at === layers ? null : `the chain ends at layer ${at} of ${layers}`
}
