// The seam between what a peer decides and what the world does: events in, actions out. A machine has no clock, no network and no randomness but its seed;
// the shell (mesh/shell.ts), the page and the simulator turn actions into effects and effects into events. One `Peer` (peer.ts) holds a host and a requester.
import type { Row, Segment } from '../engine/engine.ts'
import type { Stop } from '../engine/generate.ts'
import type { NoiseKey, Sampler } from '../engine/sampler.ts'
import type { PaidLeg, Payee, Payer, Retained } from './payment.ts'
import type { AnswerReceipt } from './receipt.ts'

/** Public key of a peer, 64 hexadecimal digits. The network's name for it is made from the same key. */
export type PeerKey = string

/** What placement and routing need to know of a model; `factsOf(manifest)` in facts.ts makes it. */
export interface ModelFacts {
  modelId: string
  name: string
  layers: number
  hidden: number
  vocab: number
  context: number
  /** The head is the embedding: whoever holds the tail holds that shard too. */
  tied: boolean
  embedBytes: number
  /** Of each layer, in order. */
  layerBytes: number[]
  headBytes: number
  /** Bytes of keys and values that one position takes in one layer. */
  positionBytes: number
}

/** What a person lends. Everything here may change at any time by another `lend`. */
export interface Lending {
  models: ModelFacts[]
  /** Weights and caches together. */
  memoryBytes: number
  /** Holds exactly this, placement decides nothing; absent models are left alone. */
  fixed?: { modelId: string; segment: Segment }[]
  /** Models this device has (partly) in its cache: ties are broken in their favour. */
  cached?: string[]
  /** 1..100: the part of the time it computes. */
  share?: number
  /** Sessions at once; default 16. */
  sessionsMax?: number
  /** Their requests go first, and they are served while others are refused for lack of room. Own key included by itself. */
  friends?: PeerKey[]
  /** Serves only friends and its own. */
  friendsOnly?: boolean
  /** Serves friends, and strangers that pay. Otherwise who pays nothing is served after those who do. */
  paidOnly?: boolean
}

/** One row's wish: nothing, or the token that follows it. `recent`: the tokens the penalty looks at, in order, the row's own last; empty when the sampler has no penalty. */
export type RowWant = null | { sampler: Sampler; key: NoiseKey; recent: number[] }

export interface Question {
  modelId: string
  prompt: number[]
  sampler: Sampler
  /** 0 <= seed < 2^53. */
  seed: number
  maxTokens: number
  stopIds: number[]
}

export interface ChainLink extends Segment {
  peer: PeerKey
}

/** Hop times of one round, host by host: how long rows waited, how long they were computed. Milliseconds, rounded. */
export interface HopTime {
  waitMs: number
  computeMs: number
}

export type PeerEvent =
  // The network.
  /** `direct` false: only through a relay, nothing is sent over it; say it again with true when a direct way is found. */
  | { kind: 'connected'; peer: PeerKey; direct: boolean }
  /** The last direct connection to that peer is gone. */
  | { kind: 'disconnected'; peer: PeerKey }
  | { kind: 'connectFailed'; peer: PeerKey; reason: string }
  /** One frame of /meadow/ring/1; the network has authenticated the peer. */
  | { kind: 'frame'; peer: PeerKey; bytes: Uint8Array }
  /** One message of the presence topic. Its signature is inside. */
  | { kind: 'gossip'; bytes: Uint8Array }
  /** Where this peer can be reached, as others dial it; published in its presence. */
  | { kind: 'addresses'; addresses: string[] }
  // The engines.
  | { kind: 'loading'; modelId: string; loaded: number; total: number }
  /** `stepMs`: one row through the whole segment, measured after the self-test (null: not measured). */
  | { kind: 'loaded'; modelId: string; segment: Segment; rowsMax: number; positionsMax: number; stepMs: number | null }
  | { kind: 'loadFailed'; modelId: string; message: string }
  /** `boundary`: rows · hidden unless the segment has the tail. `tokens[i]`: the token after row i where it was wanted, else null. */
  | { kind: 'computed'; job: number; boundary: Int32Array | null; tokens: (number | null)[] }
  /** `lost`: the engine is gone and must be loaded anew. */
  | { kind: 'computeFailed'; job: number; message: string; lost: boolean }
  /** Answer to `keep` with the same mark: a crash cannot reach it any more. */
  | { kind: 'kept'; leg: string; mark: number }
  // Time.
  | { kind: 'timer' }
  // Commands of the person or program that owns this peer.
  | { kind: 'lend'; lending: Lending }
  /** Stops computing at once (rows in the engine finish), keeps what is loaded; `resume` undoes it. */
  | { kind: 'pause' }
  | { kind: 'resume' }
  /** Takes no new sessions, finishes what runs (at most drainMsMax), then leaves lending. */
  | { kind: 'drain' }
  /** Tells everyone goodbye now; the next action list is the last that must be sent. */
  | { kind: 'leave' }
  /** The tab is hidden or the device throttled: fewer sessions, said in the presence. */
  | { kind: 'throttled'; throttled: boolean }
  /** `ask` is the caller's number for this question. `draft` false: no speculation. `local`: never leave this device's own host. */
  | { kind: 'ask'; ask: number; question: Question; facts: ModelFacts; draft?: boolean; payer?: Payer }
  | { kind: 'cancel'; ask: number }

/** How a host is paid. */
export interface Earns {
  payee: Payee | null
  /** Rows that enter paid sessions are kept in memory until the claim, so many bytes of all together (`retain`); none by default. */
  rowsBytesMax?: number
}

export type PeerAction =
  | { kind: 'connect'; peer: PeerKey; addresses: string[] }
  | { kind: 'disconnect'; peer: PeerKey }
  | { kind: 'send'; peer: PeerKey; bytes: Uint8Array }
  | { kind: 'publish'; bytes: Uint8Array }
  /** Runs rows on the engine of the model, then `computed` or `computeFailed`. One job per model is under way at a time. See compute.ts for the code that does it. */
  | { kind: 'compute'; job: number; modelId: string; rows: Row[]; wants: RowWant[]; boundary: Int32Array | null }
  /** Never sent while a job of that model is under way. */
  | { kind: 'truncate'; modelId: string; sequence: number; length: number }
  /** Puts what this host needs to be paid where a crash cannot reach it, in place of what was there under that name, then `kept`. */
  | { kind: 'keep'; leg: string; mark: number; record: Uint8Array }
  /** Nothing more will come for that paid session: bring its last voucher to the ledger. */
  | { kind: 'settle'; leg: string }
  /** Keeps what this host would need to defend what it has signed; before the signature leaves. */
  | { kind: 'retain'; leg: string; retained: Retained }
  | { kind: 'load'; modelId: string; segment: Segment }
  | { kind: 'unload'; modelId: string }
  /** Call step({ kind: 'timer' }) no later than at that time. Replaces earlier wakes. */
  | { kind: 'wake'; at: number }
  | { kind: 'notice'; notice: Notice }

/** Why an ask ended without an answer. `busy`: room may come; `nobody`: no hosts cover the model; `differs`: two hosts gave different values for one position. */
export type FailReason = 'nobody' | 'busy' | 'differs' | 'lost' | 'cancelled' | 'input'

/** Facts for people. */
export type Notice =
  // Of the requester.
  | { of: 'ask'; what: 'queued'; ask: number; place: number; waitMs: number }
  | { of: 'ask'; what: 'route'; ask: number; epoch: number; chain: ChainLink[]; tokenMs: number }
  | { of: 'ask'; what: 'prefill'; ask: number; done: number; total: number }
  | { of: 'ask'; what: 'token'; ask: number; token: number; position: number }
  /** One round of the ring: tokens accepted of rows sent, and what each hop took. */
  | { of: 'ask'; what: 'round'; ask: number; rows: number; accepted: number; roundMs: number; hops: HopTime[] }
  /** A host was replaced or woken; `lost` lists those that are no longer used. */
  | { of: 'ask'; what: 'repaired'; ask: number; lost: PeerKey[]; reason: string; stallMs: number }
  | { of: 'ask'; what: 'stop'; ask: number; stop: Stop; tokens: number[] }
  /** What an answer has cost, µ, once its hosts have the last voucher: before `receipt`, which comes after it. `limit`: what it might have cost. */
  | { of: 'ask'; what: 'paid'; ask: number; paid: number; limit: number; tokens: number; legs: PaidLeg[] }
  /** Who asks wanted to pay, and cannot from here on: hosts serve for nothing, or not. */
  | { of: 'ask'; what: 'unpaid'; ask: number; message: string }
  /** After `stop`: signed by every host, or by those that still answered. */
  | { of: 'ask'; what: 'receipt'; ask: number; receipt: AnswerReceipt }
  | { of: 'ask'; what: 'failed'; ask: number; reason: FailReason; message: string }
  // Of the host.
  | { of: 'host'; what: 'state'; state: HostState; held: { modelId: string; segment: Segment }[] }
  | { of: 'host'; what: 'loading'; modelId: string; segment: Segment; loaded: number; total: number; why: string }
  | { of: 'host'; what: 'loadFailed'; modelId: string; message: string }
  | { of: 'host'; what: 'opened'; session: string; peer: PeerKey; modelId: string }
  | { of: 'host'; what: 'closed'; session: string; peer: PeerKey; modelId: string; rows: number; why: string }
  | { of: 'host'; what: 'refused'; peer: PeerKey; why: string }
  /** Rows computed in a batch and for how many sessions, after each one. */
  | { of: 'host'; what: 'computed'; modelId: string; rows: number; sessions: number; ms: number }
  /** A voucher is kept: tokens of that paid session that are paid now. */
  | { of: 'host'; what: 'vouched'; session: string; leg: string; modelId: string; tokens: number }
  // Of the mesh.
  | { of: 'mesh'; what: 'peers'; known: number; connected: number }
  /** A peer broke the protocol, or a limit; what it sent was dropped. */
  | { of: 'mesh'; what: 'misbehaved'; peer: PeerKey; why: string }

/** `idle`: lends nothing; `waiting`: lends, but no range fits or none is needed; `paused` keeps what it holds. */
export type HostState = 'idle' | 'waiting' | 'loading' | 'serving' | 'paused' | 'draining' | 'left'

export interface PeerMachine {
  step(event: PeerEvent, now: number): PeerAction[]
}

export interface PeerOptions {
  /** Ed25519 secret, 32 bytes; the network's peer id must be of the same key. */
  secret: Uint8Array
  /** 32 random bytes: session names and jitter come from it. */
  seed: Uint8Array
  /** Starts of this peer under this key, or any number that grows with each (seconds since 1970 do): a newer one replaces what an older one announced. */
  boot: number
  /** Secret of a private group, null for the open network: members prove that they know it at hello. */
  invitation?: Uint8Array | null
  /** Answers others who ask for the presence table (relays do). */
  tellsPresence?: boolean
  /** Direct connections it keeps, relays aside; no bound by default. Those of running sessions stay, of the others the one that has been silent longest goes. */
  linksMax?: number
  /** Into what it is paid as a host; may be set later, and changed. */
  earnings?: Earns
}
