// Feeds the decoders of the mesh mutated messages: each must be refused with one MessageError sentence, or read as a value whose encoding is the very same bytes; quickly.
//   node test/fuzz/messages.ts --count 1000000 --seed 1        (that many for each decoder: frames of the ring, presences, receipts)
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { encode } from '@ipld/dag-cbor'
import { MessageError } from '../../protocol/codec.ts'
import { greedy } from '../../protocol/engine/sampler.ts'
import { random } from '../../protocol/engine/specimen.ts'
import { equalBytes, hex, join, u32 } from '../../protocol/hash.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { parseReceipt } from '../../protocol/peer/blame.ts'
import { decodeMessage, encodeMessage, type Message, messageKinds, signOpen } from '../../protocol/peer/messages.ts'
import { decodePresence, encodePresence, type Presence, PresenceTable } from '../../protocol/peer/presence.ts'
import { useNative } from '../sim/native.ts'

type Next = () => number

export interface FuzzResult {
  decoder: string
  count: number
  accepted: number
  refused: number
  /** How many different sentences, digits and quoted names aside. */
  sentences: number
  slowestMs: number
  failures: string[]
}

const session = '00112233445566778899aabbccddeeff'
const hash32 = 'ab'.repeat(32)
const hash64 = 'cd'.repeat(64)
const secret = new Uint8Array(32).fill(5)

/** One good message of every kind. */
export function goodMessages(): Message[] {
  const peer = hex(publicKeyOf(secret))
  const chain = [
    { peer, from: 0, to: 3, addresses: ['/ip4/127.0.0.1/tcp/9/ws'] },
    { peer: hash32, from: 3, to: 6, addresses: [] },
  ]
  const open = {
    session,
    epoch: 1,
    requester: peer,
    modelId: hash32,
    chain,
    input: hash32,
    sampler: greedy,
    seed: 2 ** 53 - 1,
    maxTokens: 64,
    stopIds: [1, 2],
    promptLength: 9,
    draft: true,
    terms: Uint8Array.of(1, 2, 3),
  }
  const good: Message[] = [
    { kind: 'hello', version: 1, group: null, tells: true },
    { kind: 'ping', nonce: 4294967295 },
    { kind: 'pong', nonce: 0 },
    { kind: 'askPresence' },
    { kind: 'presences', records: [{ ageMs: 5, bytes: Uint8Array.of(1, 2, 3) }] },
    signOpen(secret, open),
    { kind: 'opened', session, epoch: 1, kept: 9, logFrom: 0, credit: 32 },
    { kind: 'refused', session, epoch: 2, why: 'unreachable', peer, place: 3, waitMs: 500, message: 'no' },
    { kind: 'resume', session, epoch: 2, keep: 7, replayFrom: 3, committed: 12 },
    {
      kind: 'rows',
      session,
      epoch: 1,
      generation: 3,
      position: 9,
      layer: 3,
      tokens: [5, 6],
      boundary: Int32Array.of(1, -2, 3, 2 ** 31 - 1),
      chain: hash32,
      times: [{ waitMs: 1, computeMs: 20 }],
    },
    { kind: 'tokens', session, epoch: 1, generation: 3, position: 11, tokens: [1, 2, 3], stop: 'eos', rows: 5, times: [] },
    { kind: 'nack', session, epoch: 1, generation: 0, position: 4 },
    { kind: 'taken', session, epoch: 1, position: 4 },
    { kind: 'progress', session, epoch: 1, position: 4, waitMs: 20 },
    { kind: 'trouble', session, epoch: 1, why: 'differs', peer: null, message: 'é' },
    { kind: 'alive', session, epoch: 65535 },
    { kind: 'close', session, epoch: 1, committed: 73, receipt: true, ending: { token: 5, stop: 'eos' } },
    { kind: 'statement', session, epoch: 1, from: 0, to: 3, count: 72, inChain: hash32, outChain: hash32, signature: hash64 },
    {
      kind: 'receipt',
      session,
      from: 0,
      to: 3,
      count: 72,
      inChain: hash32,
      outChain: hash32,
      link: { peer, from: 0, to: 3, count: 72, inChain: hash32, outChain: hash32, signature: hash64 },
      signature: hash64,
    },
    { kind: 'voucher', session, leg: hash32, voucher: new Uint8Array(100).fill(7) },
    { kind: 'vouched', session, leg: hash32, tokens: 16 },
    { kind: 'bye', why: 'no room' },
    { kind: 'probe', session, epoch: 3 },
    { kind: 'probed', session, epoch: 3, position: 17 },
    { kind: 'feed', session, epoch: 3, to: hash32, addresses: ['/ip4/127.0.0.1/tcp/9/ws'], standby: 4, upto: 16 },
    { kind: 'claim', session, leg: hash32, claim: new Uint8Array(300).fill(1), signature: new Uint8Array(64), records: new Uint8Array(640) },
    { kind: 'end', session, leg: hash32, end: new Uint8Array(64).fill(3) },
    { kind: 'ended', session, leg: hash32, ends: [new Uint8Array(64).fill(3), new Uint8Array(64)] },
  ]
  const missing = messageKinds.filter((kind) => !good.some((message) => message.kind === kind))
  if (missing.length > 0) throw new Error(`no example of ${missing.join(', ')}`)
  return good
}

export function goodPresence(): Presence {
  const held = {
    modelId: hash32,
    layers: 30,
    from: 10,
    to: 20,
    ready: true,
    stepUs: 9000,
    rowUs: 800,
    freePositions: 4096,
    sessions: 1,
    sessionsMax: 16,
    load: 120,
  }
  return {
    version: 1,
    network: 'main',
    peer: hex(publicKeyOf(secret)),
    boot: 7,
    sequence: 3,
    state: 'serving',
    throttled: false,
    ttlMs: 90_000,
    addresses: ['/dns4/a/tcp/1/ws'],
    held: [held],
    near: [{ peer: '0011223344556677', ms: 12 }],
    pay: { chain: 0xfedcba98, account: hash32, only: true },
  }
}

const goodReceipt = {
  version: 1,
  session,
  requester: hash32,
  question: { modelId: hash32, prompt: [1, 2, 3], sampler: greedy, seed: 4, maxTokens: 5, stopIds: [0] },
  inputHash: hash32,
  tokens: [4, 5],
  stop: 'length',
  outputHash: hash32,
  hosts: [{ peer: hash32, from: 0, to: 6, count: 4, inChain: hash32, outChain: hash32, link: null, signature: hash64 }],
  payments: [
    {
      chain: hash32,
      owner: hash32,
      channel: 0,
      number: 3,
      session: hash32,
      terms: '8301',
      tokens: 2,
      amount: 2552,
      limit: 9000,
      last: true,
      receipt: hash32,
      tokenKey: hash32,
      claims: [{ account: hash32, from: 0, to: 6, claim: '80', signature: hash64, records: '' }],
    },
  ],
}

/** One change of bytes. */
function change(bytes: Uint8Array, next: Next): Uint8Array {
  const below = (n: number): number => (n <= 0 ? 0 : next() % n)
  const at = below(bytes.length)
  const out = bytes.slice()
  switch (below(9)) {
    case 0:
      out[at] ^= 1 << below(8)
      return out
    case 1:
      out[at] = next()
      return out
    case 2:
      return bytes.slice(0, at)
    case 3:
      return join([bytes, Uint8Array.from({ length: 1 + below(40) }, () => next())])
    case 4:
      return join([bytes.subarray(0, at), bytes.subarray(at + 1 + below(12))])
    case 5:
      return join([bytes.subarray(0, at), Uint8Array.from({ length: 1 + below(9) }, () => next()), bytes.subarray(at)])
    case 6:
      // Heads of cbor: lengths and numbers of every width, lists and maps that promise too much, indefinite ones, tags, floats.
      out[at] = [0x1b, 0x3b, 0x5b, 0x7b, 0x9b, 0xbb, 0x9f, 0xbf, 0xff, 0xd8, 0xf7, 0xf9, 0xfb, 0x81, 0xa1, 0x40][below(16)]
      return out
    case 7:
      // Nesting as deep as it goes.
      return join([bytes.subarray(0, at), new Uint8Array(1 + below(5000)).fill(0x81)])
    default:
      out.copyWithin(at, below(bytes.length), below(bytes.length))
      return out
  }
}

/** A change of what a message says, written out properly otherwise: it gets past the parser. */
function restate(value: unknown, next: Next): unknown {
  const wild = [
    0,
    1,
    -1,
    2 ** 31,
    2 ** 53 - 1,
    -(2 ** 53) + 1,
    '',
    'x'.repeat(next() % 400),
    'serving',
    true,
    null,
    [],
    {},
    new Uint8Array(next() % 80),
    [[[]]],
    0.5,
  ]
  if (Array.isArray(value)) {
    const copy = value.slice()
    if (next() % 4 === 0) return wild[next() % wild.length]
    if (copy.length === 0 || next() % 4 === 0) copy.push(wild[next() % wild.length])
    else copy[next() % copy.length] = restate(copy[next() % copy.length], next)
    return copy
  }
  if (typeof value === 'object' && value !== null && !(value instanceof Uint8Array)) {
    const copy = { ...value } as Record<string, unknown>
    const keys = Object.keys(copy)
    const key = keys[next() % Math.max(1, keys.length)]
    if (next() % 12 === 0) delete copy[key]
    else if (next() % 13 === 0) copy[`x${next() % 9}`] = 1
    else if (key !== undefined) copy[key] = restate(copy[key], next)
    return copy
  }
  return wild[next() % wild.length]
}

interface Decoder {
  name: string
  make(next: Next): unknown
  /** Decodes; returns what makes the same bytes again, to compare. */
  read(input: never): void
}

function decoders(): Decoder[] {
  const frames = goodMessages().map(encodeMessage)
  const presence = encodePresence(secret, goodPresence())
  const mutated = (bases: Uint8Array[], next: Next): Uint8Array => {
    let bytes = bases[next() % bases.length]
    for (let changes = 1 + (next() % 3); changes > 0; changes--) bytes = change(bytes, next)
    return bytes
  }
  const table = new PresenceTable('main')
  return [
    {
      name: 'frame',
      make(next) {
        if (next() % 3 > 0) return mutated(frames, next)
        const message = goodMessageValues[next() % goodMessageValues.length]
        const map = encodeSafely(restate(message.fields, next))
        return join([Uint8Array.of(message.number), ...(message.rows ? [u32(map.length), map, new Uint8Array(16)] : [map])])
      },
      read(bytes: Uint8Array) {
        if (!equalBytes(encodeMessage(decodeMessage(bytes)), bytes)) throw new Error('reads other bytes as the same message')
      },
    },
    {
      name: 'presence',
      make: (next) => (next() % 3 > 0 ? mutated([presence], next) : encodeSafely(restate(presenceFields, next))),
      read(bytes: Uint8Array) {
        decodePresence(bytes, 'main')
        table.offer(bytes, 0)
      },
    },
    {
      name: 'receipt',
      make(next) {
        let value: unknown = goodReceipt
        for (let changes = 1 + (next() % 2); changes > 0; changes--) value = restate(value, next)
        return value
      },
      read(json: unknown) {
        parseReceipt(json)
      },
    },
  ] as Decoder[]
}

/** Wire forms: hexadecimal digits as bytes, samplers as lists. */
const wire = (value: unknown): unknown => {
  if (typeof value === 'string' && /^([0-9a-f]{2}){8,}$/.test(value)) return Buffer.from(value, 'hex')
  if (value instanceof Int32Array) return new Uint8Array(value.buffer)
  if (Array.isArray(value)) return value.map(wire)
  if (typeof value === 'object' && value !== null && !(value instanceof Uint8Array))
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, key === 'sampler' ? Object.values(one as object) : wire(one)]))
  return value
}
let goodMessageValues: { number: number; fields: unknown; rows: boolean }[] = []
let presenceFields: unknown

const encodeSafely = (value: unknown): Uint8Array => {
  try {
    return encode(value as object)
  } catch {
    return Uint8Array.of(0xa0)
  }
}

function timed(work: () => void): number {
  const start = performance.now()
  try {
    work()
  } catch {}
  return performance.now() - start
}

export function fuzzMessages(count: number, seed: number, only?: string): FuzzResult[] {
  useNative()
  goodMessageValues = goodMessages().map((message) => {
    const { kind, boundary: _, ...fields } = message as Message & { boundary?: unknown }
    return { number: messageKinds.indexOf(kind), fields: wire(fields), rows: kind === 'rows' }
  })
  presenceFields = wire({ ...goodPresence(), signature: hash64 })
  return decoders()
    .filter((decoder) => only === undefined || decoder.name === only)
    .map((decoder) => {
      const result: FuzzResult = { decoder: decoder.name, count: 0, accepted: 0, refused: 0, sentences: 0, slowestMs: 0, failures: [] }
      const sentences = new Set<string>()
      const next = random(seed)
      for (let i = 0; i < count; i++) {
        const input = decoder.make(next)
        const start = performance.now()
        try {
          decoder.read(input as never)
          result.accepted++
        } catch (error) {
          result.refused++
          const said = error instanceof Error ? error.message : String(error)
          if (!(error instanceof MessageError)) result.failures.push(`input ${i}: ${error instanceof Error ? error.stack : said}`)
          else if (said.length > 500 || /\p{Cc}/u.test(said)) result.failures.push(`input ${i} says ${JSON.stringify(said.slice(0, 500))}`)
          else if (sentences.size < 5000) sentences.add(said.replace(/"(?:[^"\\]|\\.)*"/g, '""').replace(/\d+/g, '0'))
        }
        let ms = performance.now() - start
        // A busy machine may have stopped this process: what is slow is tried again.
        for (let again = 0; ms > 500 && again < 3; again++)
          ms = Math.min(
            ms,
            timed(() => decoder.read(input as never)),
          )
        result.slowestMs = Math.max(result.slowestMs, ms)
        if (ms > 500) result.failures.push(`input ${i} took ${ms.toFixed(0)} ms`)
        result.count++
      }
      result.sentences = sentences.size
      return result
    })
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { values } = parseArgs({ options: { count: { type: 'string', default: '1000000' }, seed: { type: 'string', default: '1' }, only: { type: 'string' } } })
  const start = performance.now()
  const results = fuzzMessages(Number(values.count), Number(values.seed), values.only)
  for (const result of results) console.log(JSON.stringify({ ...result, failures: result.failures.slice(0, 10) }))
  console.log(`${Math.round((performance.now() - start) / 1000)} s`)
  if (results.some((result) => result.failures.length > 0)) process.exitCode = 1
}
