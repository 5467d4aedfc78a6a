// The worker of one segment that this device lends: owns its engine, runs rows for whoever the peer's machine serves, samples where the segment has the tail.
// One model per worker, so that a lost device or a full memory ends nothing else.
import { EngineError, type Row, type SegmentEngine } from '../../protocol/engine/engine.ts'
import { segmentOf, shardsOf } from '../../protocol/engine/segment.ts'
import { computeRows } from '../../protocol/peer/compute.ts'
import { chooseDevice } from './choose.ts'
import { openGpu, openWasm } from './devices.ts'
import { openTested } from './load.ts'
import { type SegmentReply, type SegmentReport, type SegmentRequest, wireError } from './messages.ts'
import { openCatalogue } from './store/catalogue.ts'
import { openFiles } from './store/files.ts'
import { openSource } from './store/source.ts'

const scope = self as unknown as DedicatedWorkerGlobalScope
const reply = (message: SegmentReply, transfer: Transferable[] = []): void => scope.postMessage(message, transfer)

/** A run must end this soon, since a pause waits for it (500 ms is promised), and so do the other sessions. */
const runMs = 150
/** Rows of the batch that is timed to find how many may go in one run. */
const rowsTimed = 16
/** Time for timing single rows. */
const timedMs = 60

let engine: SegmentEngine | null = null
const running = new Map<number, AbortController>()

const bytesHeld = (): number => {
  if (!engine) return 0
  const { weights, other } = engine.memoryBytes()
  return weights + other
}

/** Milliseconds of one row, and how many rows fit into `runMs`, measured on a sequence that is forgotten afterwards. */
async function measure(engine: SegmentEngine): Promise<{ stepMs: number; rowsMax: number }> {
  const { hidden, layers } = engine.manifest.core
  const tail = engine.segment.to === layers
  const batch = async (from: number, count: number): Promise<number> => {
    const rows: Row[] = Array.from({ length: count }, (_, i) => ({ sequence: 0, position: from + i, token: 0 }))
    const boundary = engine.segment.from > 0 ? Int32Array.from({ length: count * hidden }, (_, i) => ((i * 2654435761) % 8191) - 4095) : undefined
    const start = performance.now()
    await engine.run(
      rows,
      rows.map((_, i) => (tail && i === count - 1 ? 'logits' : 'nothing')),
      boundary,
    )
    return performance.now() - start
  }
  let stepMs = Number.POSITIVE_INFINITY
  const end = performance.now() + timedMs
  for (let position = 0; position < 3 || (performance.now() < end && position < 32); position++) {
    const ms = await batch(position, 1)
    if (position > 0) stepMs = Math.min(stepMs, ms)
  }
  engine.truncate(0, 0)
  const count = Math.min(rowsTimed, engine.rowsMax, engine.manifest.core.context - 1)
  await batch(0, count)
  engine.truncate(0, 0)
  const rowMs = (await batch(0, count)) / count
  engine.truncate(0, 0)
  return { stepMs, rowsMax: Math.max(8, Math.min(engine.rowsMax, Math.floor(runMs / Math.max(rowMs, 0.01)))) }
}

async function load(request: Extract<SegmentRequest, { kind: 'load' }>, signal: AbortSignal): Promise<SegmentReport> {
  const { id, modelId, positionsMax } = request
  const from = performance.now()
  const say = (loaded: number, total: number, doing: string): void => reply({ id, kind: 'loading', loaded, total, doing })
  say(0, 1, 'Opening the model')
  const wasmOpening = openWasm(request.threadsMax)
  wasmOpening.catch(() => {}) // reported below
  const db = await openCatalogue()
  const files = await openFiles(db)
  const { manifest } = await openSource(db, files, modelId)
  const segment = segmentOf(manifest, request.segment)
  const shards = shardsOf(manifest, segment)
  const source = await openSource(db, files, modelId, shards)
  const total = shards.reduce((sum, index) => sum + manifest.shards[index].bytes, 0)
  say(0, total, 'Choosing a device')
  const wasm = await wasmOpening
  const choice = await chooseDevice(request.device, wasm, openGpu, source, modelId, request.measured, segment)
  signal.throwIfAborted()
  const opened = await openTested(choice, wasm, source, {
    segment,
    kvTokensMax: positionsMax,
    signal,
    onProgress: (loaded, of) => say(loaded, of, 'Loading'),
  })
  engine = opened.engine
  const { stepMs, rowsMax } = await measure(engine)
  return {
    backend: engine.backend,
    threads: engine.threads,
    description: engine.description,
    reason: opened.reason,
    notes: wasm.notes,
    measured: choice.measured,
    rowsMax,
    positionsMax,
    stepMs,
    memoryBytes: bytesHeld(),
    loadMs: performance.now() - from,
  }
}

async function run(request: Extract<SegmentRequest, { kind: 'run' }>): Promise<void> {
  if (!engine) throw new EngineError('no segment is loaded')
  const from = performance.now()
  const { boundary, tokens } = await computeRows(engine, request.rows, request.wants, request.boundary)
  const ms = performance.now() - from
  reply({ id: request.id, kind: 'computed', boundary, tokens, memoryBytes: bytesHeld(), ms }, boundary ? [boundary.buffer] : [])
}

async function handle(request: SegmentRequest): Promise<void> {
  if (request.kind === 'load') {
    const controller = new AbortController()
    running.set(request.id, controller)
    try {
      reply({ id: request.id, kind: 'loaded', report: await load(request, controller.signal) })
    } finally {
      running.delete(request.id)
    }
  }
  if (request.kind === 'run') await run(request)
}

scope.onmessage = async ({ data }: MessageEvent<SegmentRequest>) => {
  if (data.kind === 'stop') return running.get(data.target)?.abort()
  if (data.kind === 'truncate') return engine?.truncate(data.sequence, data.length)
  try {
    await handle(data)
  } catch (error) {
    reply({ id: data.id, kind: 'failed', error: wireError(error) })
  }
}
