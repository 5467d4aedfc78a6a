// The one driver of a peer: turns a machine's actions into effects on network, engines and clock, and their effects into events. `meadow host`, `meadow ask
// --swarm`, the relay and the pages all run this; the simulator runs the same machines without it.
import { EngineError, type Row, type Segment } from '../protocol/engine/engine.ts'
import type { Notice, PeerAction, PeerEvent, PeerMachine, RowWant } from '../protocol/peer/machine.ts'
import type { Retained } from '../protocol/peer/payment.ts'
import type { Network } from './network.ts'

/** What an engine of one model tells once it stands. */
export interface LoadedEngine {
  segment: Segment
  rowsMax: number
  /** Positions of all sessions together that its cache may hold. */
  positionsMax: number
  /** One row through the whole segment, measured after the self-test; null when it was not measured. */
  stepMs: number | null
}

/** The engines of this device, one per model. In a tab a worker stands behind it. */
export interface Engines {
  /** Loads a segment, in place of what the model had loaded. Rejects with a sentence; `signal` means it is no longer wanted. */
  load(modelId: string, segment: Segment, onProgress: (loaded: number, total: number) => void, signal: AbortSignal): Promise<LoadedEngine>
  unload(modelId: string): Promise<void>
  /** Runs rows and samples where wanted. Rejects with EngineError; kind `lost` when the device is gone. */
  compute(modelId: string, rows: Row[], wants: RowWant[], boundary: Int32Array | null): Promise<{ boundary: Int32Array | null; tokens: (number | null)[] }>
  truncate(modelId: string, sequence: number, length: number): void
}

/** No engines: a peer that only asks. */
export const noEngines: Engines = {
  load: () => Promise.reject(new EngineError('this peer lends nothing', 'unsupported')),
  unload: () => Promise.resolve(),
  compute: () => Promise.reject(new EngineError('this peer lends nothing', 'unsupported')),
  truncate: () => {},
}

/** What a host of paid sessions must not lose. */
export interface Vault {
  /** Resolves when a crash cannot reach it any more. */
  keep(leg: string, record: Uint8Array): Promise<void>
  /** Nothing more will come: what was kept under that name is to be brought to the ledger. */
  settle(leg: string): void
  /** What the host needs to defend its claim; left out where claims are not defended (tabs). The end of the process cannot reach it any more when it returns. */
  retain?(leg: string, retained: Retained): void
}

/** A peer without an account: it is never offered anything to keep. */
const noVault: Vault = { keep: () => Promise.reject(new Error('this peer has nowhere to keep vouchers')), settle: () => {} }

export interface Clock {
  /** Monotonic milliseconds. */
  now(): number
  /** Calls `work` at that time or soon after; returns how to forget it. */
  at(time: number, work: () => void): () => void
}

/** The clock of tabs and Node. */
export const systemClock: Clock = {
  now: () => performance.now(),
  at(time, work) {
    const timer = setTimeout(work, Math.max(0, Math.ceil(time - performance.now())))
    return () => clearTimeout(timer)
  },
}

export interface ShellOptions {
  network: Network
  machine: PeerMachine
  engines?: Engines
  clock?: Clock
  onNotice?: (notice: Notice) => void
  /** Where a host keeps what it is to be paid. */
  vault?: Vault
  /** A mistake of ours inside the machine or an effect; the peer goes on. Default: thrown later, uncaught. */
  onError?: (error: unknown) => void
}

export interface Shell {
  readonly network: Network
  /** Gives the machine a command. */
  command(event: PeerEvent): void
  subscribe(listener: (notice: Notice) => void): () => void
  /** Says goodbye to everyone, waits until that is written (at most 500 ms), stops stepping. Does not close the network. */
  leave(): Promise<void>
}

const goodbyeMsMax = 500

export function createShell(options: ShellOptions): Shell {
  const { network, machine, engines = noEngines, clock = systemClock, vault = noVault } = options
  const listeners = new Set<(notice: Notice) => void>(options.onNotice ? [options.onNotice] : [])
  const loads = new Map<string, AbortController>()
  const events: PeerEvent[] = []
  let stepping = false
  let ended = false
  let forgetWake = (): void => {}
  const complain = options.onError ?? ((error: unknown) => queueMicrotask(() => Promise.reject(error)))

  /** One event after the other, never one inside the other: an effect may have its result at once. */
  const dispatch = (event: PeerEvent): void => {
    if (ended) return
    events.push(event)
    if (stepping) return
    stepping = true
    try {
      for (let next = events.shift(); next; next = events.shift()) {
        try {
          for (const action of machine.step(next, clock.now())) act(action)
        } catch (error) {
          complain(error)
        }
      }
    } finally {
      stepping = false
    }
  }

  const act = (action: PeerAction): void => {
    switch (action.kind) {
      case 'connect':
        return network.connect(action.peer, action.addresses)
      case 'disconnect':
        return network.disconnect(action.peer)
      case 'send':
        // Not connected: `disconnected` was told or will be.
        return void network.send(action.peer, action.bytes)
      case 'publish':
        return network.publish(action.bytes)
      case 'compute':
        return void compute(action)
      case 'truncate':
        return engines.truncate(action.modelId, action.sequence, action.length)
      case 'keep': {
        const { leg, mark } = action
        // Failed: the voucher does not count, and the host stops ahead of it.
        return void vault.keep(leg, action.record).then(() => dispatch({ kind: 'kept', leg, mark }), complain)
      }
      case 'settle':
        return vault.settle(action.leg)
      case 'retain':
        return vault.retain?.(action.leg, action.retained)
      case 'load':
        return void load(action.modelId, action.segment)
      case 'unload':
        loads.get(action.modelId)?.abort()
        return void engines.unload(action.modelId).catch(complain)
      case 'wake':
        forgetWake()
        forgetWake = clock.at(action.at, () => dispatch({ kind: 'timer' }))
        return
      case 'notice':
        for (const listener of listeners) listener(action.notice)
        return
    }
  }

  const compute = async ({ job, modelId, rows, wants, boundary }: Extract<PeerAction, { kind: 'compute' }>): Promise<void> => {
    try {
      dispatch({ kind: 'computed', job, ...(await engines.compute(modelId, rows, wants, boundary)) })
    } catch (error) {
      dispatch({ kind: 'computeFailed', job, message: sentenceOf(error), lost: error instanceof EngineError && error.kind === 'lost' })
    }
  }

  const load = async (modelId: string, segment: Segment): Promise<void> => {
    loads.get(modelId)?.abort()
    const wanted = new AbortController()
    loads.set(modelId, wanted)
    const tell = (event: PeerEvent): void => {
      if (!wanted.signal.aborted) dispatch(event)
    }
    try {
      const loaded = await engines.load(modelId, segment, (done, total) => tell({ kind: 'loading', modelId, loaded: done, total }), wanted.signal)
      tell({ kind: 'loaded', modelId, ...loaded })
    } catch (error) {
      tell({ kind: 'loadFailed', modelId, message: sentenceOf(error) })
    } finally {
      if (loads.get(modelId) === wanted) loads.delete(modelId)
    }
  }

  const unsubscribe = network.subscribe((event) => {
    // Which relays there are is the page's business; the machine sees peers.
    if (event.kind !== 'relay') dispatch(event)
  })
  dispatch({ kind: 'addresses', addresses: network.addresses() })
  for (const peer of network.peers()) dispatch({ kind: 'connected', peer, direct: true })
  dispatch({ kind: 'timer' })

  return {
    network,
    command: dispatch,
    subscribe(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    async leave() {
      if (ended) return
      dispatch({ kind: 'leave' })
      ended = true
      forgetWake()
      unsubscribe()
      for (const one of loads.values()) one.abort()
      await network.flush(goodbyeMsMax)
    },
  }
}

const sentenceOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
