// Opens a stored model for the command line: engine and tokenizer.
import { availableParallelism } from 'node:os'
import { setImmediate } from 'node:timers/promises'
import type { Segment, SegmentEngine } from '../protocol/engine/engine.ts'
import type { ModelSource } from '../protocol/model/manifest.ts'
import { openTokenizer, type Tokenizer } from '../protocol/model/tokenizer.ts'
import { interrupted, say } from './cli.ts'
import { RelayError } from './errors.ts'
import { createProgress } from './progress.ts'
import type { Store, StoredModel } from './store.ts'

export type Backend = 'wasm' | 'reference'

export interface OpenModel {
  engine: SegmentEngine
  tokenizer: Tokenizer
}

/** More threads than this brought nothing on any machine tried so far; to be measured again on larger ones. */
const threadsMaxDefault = 8

/** Opens engine and tokenizer. Throws RelayError, EngineError (memory, threads) or ModelError. */
export async function openModel(store: Store, model: StoredModel, backend: Backend, threads?: number): Promise<OpenModel> {
  const source = store.source(model.id)
  const tokenizer = openTokenizer(await readShardNamed(source, 'tokenizer'))
  const progress = createProgress(`Loading ${model.manifest.core.name}`)
  // Loading from a warm disk takes a blink; only a terminal is told.
  const onProgress = process.stderr.isTTY ? progress.update : undefined
  try {
    const engine = await openEngine(source, backend, threads ?? Math.min(availableParallelism(), threadsMaxDefault), onProgress)
    if (process.stderr.isTTY) say(engine.description)
    return { engine: interruptible(engine), tokenizer }
  } finally {
    if (onProgress) progress.end()
  }
}

/** Opens one segment of a model, without its tokenizer. Throws RelayError or EngineError. */
export async function openSegment(source: ModelSource, segment: Segment, backend: Backend, threads?: number): Promise<SegmentEngine> {
  return interruptible(await openEngine(source, backend, threads ?? Math.min(availableParallelism(), threadsMaxDefault), undefined, segment))
}

/** An engine computes on this thread without a pause: give signals (Ctrl-C) a turn before each batch. */
function interruptible<T extends SegmentEngine>(engine: T): T {
  const run = engine.run.bind(engine)
  engine.run = async (...args) => {
    await setImmediate()
    return run(...args)
  }
  return engine
}

async function openEngine(
  source: ModelSource,
  backend: Backend,
  threads: number,
  onProgress?: (loaded: number, total: number) => void,
  segment?: Segment,
): Promise<SegmentEngine> {
  const options = { onProgress, segment, signal: interrupted }
  if (backend === 'reference') {
    const { createReferenceEngine } = await import('../protocol/engine/reference.ts')
    return createReferenceEngine(source, options)
  }
  const { createNodeWasmEngine } = await import('./wasm-thread.ts')
  return createNodeWasmEngine(source, { ...options, threads })
}

async function readShardNamed(source: ModelSource, name: string): Promise<Uint8Array> {
  const index = source.manifest.shards.findIndex((shard) => shard.name === name)
  if (index < 0) throw new RelayError(`${source.manifest.core.name} has no ${name}.`)
  const bytes = new Uint8Array(source.manifest.shards[index]!.bytes)
  await source.readShard(index, bytes, interrupted)
  return bytes
}
