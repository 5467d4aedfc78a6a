// From a model id to an engine that may answer: open the store, choose the device, test it, load the shards. What can overlap does.
import { EngineError, type EngineOptions, type SegmentEngine } from '../../protocol/engine/engine.ts'
import { shardsOf } from '../../protocol/engine/segment.ts'
import { selfTest } from '../../protocol/engine/selftest.ts'
import type { ModelSource } from '../../protocol/model/manifest.ts'
import { openTokenizer, type Tokenizer } from '../../protocol/model/tokenizer.ts'
import { chooseDevice } from './choose.ts'
import { type Device, openGpu, openWasm } from './devices.ts'
import type { DeviceReport, EngineRequest } from './messages.ts'
import { openCatalogue } from './store/catalogue.ts'
import { openFiles } from './store/files.ts'
import { openSource } from './store/source.ts'

export interface LoadedModel {
  modelId: string
  name: string
  engine: SegmentEngine
  tokenizer: Tokenizer
  /** Rows of a prefill batch: large ones are faster, small ones let a stop through and show the watchdog a sign of life. */
  batchRows: number
  report: DeviceReport
  close(): Promise<void>
}

export interface LoadProgress {
  loaded: number
  total: number
  doing: string
}

async function tokenizerOf(source: ModelSource): Promise<Tokenizer> {
  const index = source.manifest.shards.findIndex((shard) => shard.name === 'tokenizer')
  const bytes = new Uint8Array(source.manifest.shards[index].bytes)
  await source.readShard(index, bytes)
  return openTokenizer(bytes)
}

/** Throws EngineError `unsupported` naming the first step at which the device's arithmetic is wrong. */
async function mustPass(device: Device, source: ModelSource): Promise<number> {
  const from = performance.now()
  const { passed, divergence } = await selfTest((specimen) => device.open(specimen, {}), source.manifest.core.architecture)
  if (!passed) {
    throw new EngineError(
      `${device.name} failed the self-test at step ${divergence?.label} (index ${divergence?.index}: ${divergence?.actual} instead of ${divergence?.expected}), so it may not answer.`,
      'unsupported',
    )
  }
  return performance.now() - from
}

export interface Tested {
  engine: SegmentEngine
  device: Device
  /** Why this device: a sentence. */
  reason: string
  selfTestMs: number
}

/** Opens an engine on the chosen device once the device has passed its test; one that fails it or has no room gives way to WASM. Throws EngineError. */
export async function openTested(choice: { device: Device; reason: string }, wasm: Device, source: ModelSource, options: EngineOptions): Promise<Tested> {
  const { device, reason } = choice
  const openOn = async (device: Device): Promise<{ engine: SegmentEngine; selfTestMs: number }> => {
    const testing = mustPass(device, source)
    if (!device.parallel) await testing
    const opening = device.open(source, options)
    const [tested, opened] = await Promise.allSettled([testing, opening])
    if (tested.status === 'fulfilled' && opened.status === 'fulfilled') return { engine: opened.value, selfTestMs: tested.value }
    if (opened.status === 'fulfilled') await opened.value.close()
    throw tested.status === 'rejected' ? tested.reason : (opened as PromiseRejectedResult).reason
  }
  try {
    return { ...(await openOn(device)), device, reason }
  } catch (error) {
    if (device === wasm || !(error instanceof EngineError) || error.kind === 'cancelled') throw error
    device.close()
    return { ...(await openOn(wasm)), device: wasm, reason: `WASM: ${error.message}` }
  }
}

/** Loads a stored model on the device that `request` asks for; a device that fails its test or has no room gives way to WASM, and the report says so. */
export async function loadModel(
  request: Extract<EngineRequest, { kind: 'load' }>,
  signal: AbortSignal,
  onProgress: (progress: LoadProgress) => void,
): Promise<LoadedModel> {
  const from = performance.now()
  const { modelId } = request
  onProgress({ loaded: 0, total: 1, doing: 'Opening the model' })
  const wasmOpening = openWasm(request.threadsMax)
  wasmOpening.catch(() => {}) // reported below
  const db = await openCatalogue()
  const source = await openSource(db, await openFiles(db), modelId)
  const { manifest } = source
  const total = shardsOf(manifest, { from: 0, to: manifest.core.layers }).reduce((sum, index) => sum + manifest.shards[index].bytes, 0)
  onProgress({ loaded: 0, total, doing: 'Choosing a device' })
  const wasm = await wasmOpening
  const choice = await chooseDevice(request.device, wasm, openGpu, source, modelId, request.measured)
  signal.throwIfAborted()

  const tokenizing = tokenizerOf(source)
  tokenizing.catch(() => {}) // reported below
  const options = { signal, onProgress: (loaded: number, of: number) => onProgress({ loaded, total: of, doing: 'Loading' }) }
  const { engine, selfTestMs, device, reason } = await openTested(choice, wasm, source, options)
  const tokenizer = await tokenizing
  const report: DeviceReport = {
    backend: engine.backend,
    threads: engine.threads,
    description: engine.description,
    reason,
    notes: wasm.notes,
    measured: choice.measured,
    context: manifest.core.context,
    loadMs: performance.now() - from,
    selfTestMs,
  }
  return {
    modelId,
    name: manifest.core.name,
    engine,
    tokenizer,
    batchRows: device === wasm ? 64 : device.software ? 16 : 256,
    report,
    async close() {
      await engine.close()
      device.close()
    },
  }
}
