// Who is there and what they lend: signed records that expire, and the table everyone keeps. Age is measured by the receiver's own clock from when a record came
// (nobody's wall clock is trusted); a record that was told again is not younger for it.
import { boolean, type Codec, codec, hexBytes, integer, list, MessageError, map, type Of, oneOf, text } from '../codec.ts'
import { fromHex, hashTagged, hex } from '../hash.ts'
import { publicKeyOf, sign, verify } from '../keys.ts'
import { addressBytesMax, layersMax, presenceAddressesMax, presenceBytesMax, presenceCountMax, presenceModelsMax, presenceNearMax } from '../limits.ts'
import type { PeerKey } from './machine.ts'
import { key, layerAt } from './messages.ts'
import { payShape } from './payment.ts'

/** 'main', or for a private group a name that tells nothing of its secret. */
export const networkOf = (invitation: Uint8Array | null): string => (invitation ? hex(hashTagged('group', invitation)) : 'main')

/** What a member shows at hello: only who knows the secret can make it, and only `prover` can use it, since the network authenticates both ends. */
export const groupProof = (invitation: Uint8Array, prover: PeerKey, verifier: PeerKey): string =>
  hex(hashTagged('group-proof', hashTagged('group-secret', invitation), fromHex(prover), fromHex(verifier)))

const microseconds = integer(0, 60_000_000)

const heldShape = map({
  modelId: hexBytes(32),
  /** Of the whole model. */
  layers: integer(1, layersMax),
  from: layerAt,
  to: layerAt,
  /** False: claimed, being loaded. */
  ready: boolean,
  /** One row through the whole segment; each further row of a batch. */
  stepUs: microseconds,
  rowUs: microseconds,
  /** Positions of cache still free. */
  freePositions: integer(0, 2 ** 31),
  sessions: integer(0, 65535),
  sessionsMax: integer(0, 65535),
  /** Busy part of the last seconds, in thousandths. */
  load: integer(0, 1000),
})

const fields = {
  version: integer(1, 1),
  network: text(64),
  peer: key,
  /** Grows with every start of the peer, sequence with every record: the greater pair is the newer record. */
  boot: integer(0, Number.MAX_SAFE_INTEGER),
  sequence: integer(0, 2 ** 32 - 1),
  /** `joining`: claims its ranges, cannot serve them yet. `gone`: forget me. */
  state: oneOf(['idle', 'joining', 'serving', 'draining', 'gone']),
  throttled: boolean,
  ttlMs: integer(1000, 600_000),
  addresses: list(text(addressBytesMax), presenceAddressesMax),
  held: list(heldShape, presenceModelsMax),
  /** Round trips to peers it is connected to (first eight bytes of their keys): what routing knows of ways that are not its own. */
  near: list(map({ peer: hexBytes(8), ms: integer(0, 60_000) }), presenceNearMax),
  pay: payShape,
}
const unsigned = map(fields)
const signed = map({ ...fields, signature: hexBytes(64) })

export type Presence = Of<typeof unsigned>
export type Held = Of<typeof heldShape>

const unsignedCodec = codec('a presence', unsigned, presenceBytesMax)
const signedCodec: Codec<Of<typeof signed>> = codec('a presence', signed, presenceBytesMax)

/** Throws MessageError when the record would be refused by others. */
export function encodePresence(secret: Uint8Array, presence: Presence): Uint8Array {
  const signature = hex(sign(secret, 'presence', unsignedCodec.encode({ ...presence, peer: hex(publicKeyOf(secret)) })))
  const bytes = signedCodec.encode({ ...presence, signature })
  if (bytes.length > presenceBytesMax) throw new MessageError(`a presence has ${bytes.length} bytes, at most ${presenceBytesMax} are allowed`)
  return bytes
}

/** Reads a stranger's record for `network`, whole but for its signature: see isSignedPresence, which costs a thousand times more. Throws MessageError. */
export function decodePresence(bytes: Uint8Array, network: string): Presence & { signature: string } {
  const presence = signedCodec.decode(bytes)
  if (presence.network !== network) throw new MessageError('a presence of another network')
  const fault = presence.held.find((held) => held.from >= held.to || held.to > held.layers)
  if (fault) throw new MessageError(`a presence with the layers ${fault.from} to ${fault.to} of ${fault.layers}`)
  if (new Set(presence.held.map((held) => held.modelId)).size !== presence.held.length) throw new MessageError('a presence that names a model twice')
  return presence
}

/** Whose record it says it is; null when it is none. Nothing else of it is looked at. */
export function presencePeer(bytes: Uint8Array): PeerKey | null {
  try {
    return signedCodec.decode(bytes).peer
  } catch (error) {
    if (error instanceof MessageError) return null
    throw error
  }
}

export const isSignedPresence = (presence: Presence & { signature: string }): boolean =>
  verify(fromHex(presence.peer), 'presence', unsignedCodec.encode(presence), fromHex(presence.signature))

export interface Known {
  presence: Presence
  /** As it came, to tell others. */
  bytes: Uint8Array
  /** When it stops counting, by the own clock. */
  until: number
  /** Records that this peer may still send now. */
  credit: number
  at: number
}

/** Honest peers publish at most one record a second, usually one in thirty; a burst may pile up on the way. Beyond that they are not even checked. */
const recordsBurst = 10
const recordMs = 1000

/** The table of one network. `offer` is the only way in. */
export class PresenceTable {
  readonly network: string
  private readonly countMax: number
  private readonly known = new Map<PeerKey, Known>()
  /** Newest (boot, sequence) of peers that said goodbye or ran out, so that nothing old brings them back. */
  private readonly passed = new Map<PeerKey, Presence>()
  /** Grows with every change. */
  version = 0

  /** `countMax`: peers kept; the table of a small device may be shorter. */
  constructor(network: string, countMax = presenceCountMax) {
    this.network = network
    this.countMax = countMax
  }

  get size(): number {
    return this.known.size
  }

  get(peer: PeerKey): Presence | undefined {
    return this.known.get(peer)?.presence
  }

  /** Of one that said goodbye or ran out; 0: nothing is known. */
  passedBoot(peer: PeerKey): number {
    return this.passed.get(peer)?.boot ?? 0
  }

  all(): Presence[] {
    return Array.from(this.known.values(), (one) => one.presence)
  }

  records(): Known[] {
    return [...this.known.values()]
  }

  /**
   * Takes a record. 'new': the table changed, tell it on; 'old': known already or outdated; throws MessageError for what no honest peer sends.
   * `ageMs`: how old it is, as the teller says. Order: shape, newness, signature last.
   */
  offer(bytes: Uint8Array, now: number, ageMs = 0): 'new' | 'old' {
    const presence = decodePresence(bytes, this.network)
    const before = this.known.get(presence.peer)?.presence ?? this.passed.get(presence.peer)
    if (before && !isNewer(presence, before)) return 'old'
    const known = this.known.get(presence.peer)
    const credit = known ? Math.min(recordsBurst, known.credit + (now - known.at) / recordMs) - 1 : recordsBurst
    if (credit < 0 && presence.state !== 'gone') return 'old'
    if (!isSignedPresence(presence)) throw new MessageError('a presence whose signature is not of its peer')
    this.known.delete(presence.peer)
    if (presence.state === 'gone') this.pass(presence)
    else {
      this.passed.delete(presence.peer)
      this.known.set(presence.peer, { presence, bytes: bytes.slice(), until: now + Math.max(0, presence.ttlMs - ageMs), credit, at: now })
    }
    // The map keeps the order of the last record: the first is the one that was silent longest.
    if (this.known.size > this.countMax) this.known.delete(this.known.keys().next().value!)
    this.version++
    return 'new'
  }

  /** Forgets what has run out. Returns whether anything had. */
  expire(now: number): boolean {
    const before = this.known.size
    for (const [peer, one] of this.known) {
      if (one.until > now) continue
      this.known.delete(peer)
      this.pass(one.presence)
    }
    if (this.known.size === before) return false
    this.version++
    return true
  }

  /** The network saw it go: no need to wait for its record to run out. A newer record brings it back. */
  remove(peer: PeerKey): void {
    const one = this.known.get(peer)
    if (!one) return
    this.known.delete(peer)
    this.pass(one.presence)
    this.version++
  }

  private pass(presence: Presence): void {
    this.passed.set(presence.peer, presence)
    if (this.passed.size > this.countMax) this.passed.delete(this.passed.keys().next().value!)
  }
}

function isNewer(a: Presence, b: Presence): boolean {
  return a.boot > b.boot || (a.boot === b.boot && a.sequence > b.sequence)
}
