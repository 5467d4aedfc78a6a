// The WASM engine in Node: its helper threads (this file is also their entry) and the compiled module. Build build/*.wasm with scripts/build-wasm.mjs.
import { readFile } from 'node:fs/promises'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { EngineError } from '../protocol/engine/engine.ts'
import { createWasmEngine, type WasmEngine, type WasmEngineOptions } from '../protocol/engine/wasm/engine.ts'
import { serveThread, type ThreadStart, type WasmHost, type WasmThread } from '../protocol/engine/wasm/host.ts'
import type { ModelSource } from '../protocol/model/manifest.ts'

function spawn(): WasmThread {
  const worker = new Worker(new URL(import.meta.url), { name: 'meadow-wasm', workerData: { meadowWasmThread: true } })
  const ready = new Promise<void>((resolve, reject) => {
    worker.once('message', () => {
      // An engine that was forgotten must not keep the process alive.
      worker.unref()
      resolve()
    })
    worker.once('error', reject)
    worker.once('exit', () => reject(new Error('the thread ended')))
  })
  ready.catch(() => {})
  return { postMessage: (message) => worker.postMessage(message), ready, terminate: () => worker.terminate() }
}

/** The module and threads of this process. `single` uses the build without shared memory, as a page that is not isolated would. Throws EngineError when it was not built. */
export async function nodeWasmHost(threads: number, single = false): Promise<WasmHost> {
  const shared = !single
  const file = new URL(`../build/${shared ? 'engine' : 'engine-single'}.wasm`, import.meta.url)
  let bytes: Uint8Array<ArrayBuffer>
  try {
    bytes = new Uint8Array(await readFile(file))
  } catch {
    throw new EngineError(`${file.pathname} is missing: run node scripts/build-wasm.mjs`, 'unsupported')
  }
  return { module: await WebAssembly.compile(bytes), shared, threads: shared ? threads : 1, spawn, now: () => performance.now() }
}

/** A WASM engine on `threads` threads of this process, the caller's included. */
export async function createNodeWasmEngine(source: ModelSource, options: WasmEngineOptions & { threads: number; single?: boolean }): Promise<WasmEngine> {
  return createWasmEngine(source, { ...options, host: await nodeWasmHost(options.threads, options.single) })
}

if (!isMainThread) {
  const { workerData } = await import('node:worker_threads')
  if (workerData?.meadowWasmThread) {
    parentPort!.once('message', (start: ThreadStart) => {
      serveThread(start, () => parentPort!.postMessage('ready')).catch((error) => {
        throw error
      })
    })
  }
}
