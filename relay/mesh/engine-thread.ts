// One engine on a thread of its own (this file is the thread's entry): the engine computes without a pause, and the thread that speaks with peers must never wait
// for it. One thread per model; messages are one typed union, answers carry the number of their question.
import { parentPort } from 'node:worker_threads'
import { EngineError, type EngineErrorKind, type Row, type Segment, type SegmentEngine } from '../../protocol/engine/engine.ts'
import { selfTest } from '../../protocol/engine/selftest.ts'
import { computeRows } from '../../protocol/peer/compute.ts'
import type { RowWant } from '../../protocol/peer/machine.ts'
import { createNodeWasmEngine } from '../wasm-thread.ts'
import { openShards } from './shards.ts'

export type ToEngine =
  | { kind: 'load'; id: number; home: string; modelId: string; segment: Segment; threads: number; positionsMax: number }
  | { kind: 'compute'; id: number; rows: Row[]; wants: RowWant[]; boundary: Int32Array | null }
  | { kind: 'truncate'; sequence: number; length: number }
  | { kind: 'close'; id: number }

export type FromEngine =
  | { kind: 'progress'; id: number; loaded: number; total: number }
  | { kind: 'loaded'; id: number; rowsMax: number; stepMs: number; description: string }
  | { kind: 'computed'; id: number; boundary: Int32Array | null; tokens: (number | null)[] }
  | { kind: 'closed'; id: number }
  | { kind: 'failed'; id: number; message: string; errorKind: EngineErrorKind | null }

let engine: SegmentEngine | undefined
let work: Promise<unknown> = Promise.resolve()

/** Rounds of the measurement; the fastest counts, since other programs only ever make one slower. */
const measureRounds = 5

/** Milliseconds of one row through the segment. */
async function measureStep(one: SegmentEngine): Promise<number> {
  const { hidden, layers } = one.manifest.core
  const boundary = one.segment.from === 0 ? undefined : new Int32Array(hidden)
  const want = one.segment.to === layers ? 'logits' : 'nothing'
  let fastest = Number.POSITIVE_INFINITY
  for (let position = 0; position < measureRounds; position++) {
    const startMs = performance.now()
    await one.run([{ sequence: 0, position, token: 0 }], [want], boundary)
    fastest = Math.min(fastest, performance.now() - startMs)
  }
  one.truncate(0, 0)
  return fastest
}

async function load(message: Extract<ToEngine, { kind: 'load' }>): Promise<void> {
  const { id, home, modelId, segment, threads, positionsMax } = message
  await engine?.close()
  engine = undefined
  const source = await openShards(home, modelId)
  const { architecture } = source.manifest.core
  const test = await selfTest((specimen) => createNodeWasmEngine(specimen, { threads }), architecture)
  if (!test.passed) {
    throw new EngineError(
      `this device's arithmetic is wrong at step ${test.divergence?.label} (index ${test.divergence?.index}), so it may not host`,
      'unsupported',
    )
  }
  engine = await createNodeWasmEngine(source, {
    threads,
    segment,
    kvTokensMax: positionsMax,
    onProgress: (loaded, total) => post({ kind: 'progress', id, loaded, total }),
  })
  post({ kind: 'loaded', id, rowsMax: engine.rowsMax, stepMs: await measureStep(engine), description: engine.description })
}

async function compute({ id, rows, wants, boundary }: Extract<ToEngine, { kind: 'compute' }>): Promise<void> {
  if (!engine) throw new EngineError('nothing is loaded')
  const result = await computeRows(engine, rows, wants, boundary)
  // A copy: the engine's own buffer is overwritten by its next run.
  const out = result.boundary ? result.boundary.slice() : null
  post({ kind: 'computed', id, boundary: out, tokens: result.tokens }, out ? [out.buffer as ArrayBuffer] : [])
}

function post(message: FromEngine, transfer: ArrayBuffer[] = []): void {
  parentPort!.postMessage(message, transfer)
}

async function handle(message: ToEngine): Promise<void> {
  try {
    if (message.kind === 'load') await load(message)
    else if (message.kind === 'compute') await compute(message)
    else if (message.kind === 'truncate') engine?.truncate(message.sequence, message.length)
    else {
      await engine?.close()
      engine = undefined
      post({ kind: 'closed', id: message.id })
    }
  } catch (error) {
    if (!('id' in message)) throw error
    post({
      kind: 'failed',
      id: message.id,
      message: error instanceof Error ? error.message : String(error),
      errorKind: error instanceof EngineError ? error.kind : null,
    })
  }
}

parentPort!.on('message', (message: ToEngine) => {
  // In order: a truncate must not overtake the run before it.
  work = work.then(() => handle(message))
})
