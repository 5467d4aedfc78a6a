// The two devices of a browser, as things that open engines: the processor through WASM, the graphics card through WebGPU.

import sharedUrl from '../../build/engine.wasm?url'
import singleUrl from '../../build/engine-single.wasm?url'
import { EngineError, type EngineOptions, type SegmentEngine } from '../../protocol/engine/engine.ts'
import { createWasmEngine } from '../../protocol/engine/wasm/engine.ts'
import type { WasmThread } from '../../protocol/engine/wasm/host.ts'
import { createWebGpuEngine } from '../../protocol/engine/webgpu/engine.ts'
import { isSoftware } from '../../protocol/engine/webgpu/tuning.ts'
import type { ModelSource } from '../../protocol/model/manifest.ts'

export interface Device {
  readonly name: string
  /** A program on the processor, however it calls itself. */
  readonly software: boolean
  /** Several engines may be opened at once: WebGPU's error scopes are one stack per device, so its engines come one after the other. */
  readonly parallel: boolean
  /** What a measurement of it depends on. */
  readonly key: string
  /** Plain statements about what is missing here. */
  readonly notes: string[]
  /** Throws EngineError (`memory`, `lost`, `unsupported`) and what the source throws. */
  open(source: ModelSource, options: EngineOptions): Promise<SegmentEngine>
  close(): void
}

/** More helpers than this gain nothing: memory bandwidth is shared. */
const threadsMaxDefault = 8

function spawn(): WasmThread {
  const worker = new Worker(new URL('./wasm-thread.ts', import.meta.url), { type: 'module', name: 'meadow-thread' })
  const ready = new Promise<void>((resolve, reject) => {
    worker.onmessage = () => resolve()
    worker.onerror = (event) => reject(new Error(event.message || 'a thread could not be started'))
  })
  ready.catch(() => {}) // the engine reports it
  return { postMessage: (message) => worker.postMessage(message), ready, terminate: () => worker.terminate() }
}

/** The processor. `threadsMax` 0 takes what the device has. Throws EngineError `unsupported` when the browser cannot run the module (no SIMD, say). */
export async function openWasm(threadsMax: number): Promise<Device> {
  const cores = navigator.hardwareConcurrency || 1
  const shared = globalThis.crossOriginIsolated === true && typeof SharedArrayBuffer !== 'undefined'
  const wanted = threadsMax > 0 ? threadsMax : Math.min(cores, threadsMaxDefault)
  const threads = shared ? wanted : 1
  const notes = shared ? [] : ['This page is not cross-origin isolated, so SharedArrayBuffer is missing and WASM runs on one thread.']
  let module: WebAssembly.Module
  try {
    module = await WebAssembly.compileStreaming(fetch(threads > 1 ? sharedUrl : singleUrl))
  } catch (error) {
    throw new EngineError(`This browser cannot run the WASM engine (${(error as Error).message}).`, 'unsupported')
  }
  return {
    name: 'WASM',
    software: true,
    parallel: true,
    key: `wasm ${threads}`,
    notes,
    open: (source, options) => createWasmEngine(source, { ...options, host: { module, shared: threads > 1, threads, spawn, now: () => performance.now() } }),
    close() {},
  }
}

const shaders = Object.fromEntries(
  Object.entries(import.meta.glob<string>('../../protocol/engine/ops/*.wgsl', { query: '?raw', import: 'default', eager: true })).map(([path, text]) => [
    path.replace(/^.*\/|\.wgsl$/g, ''),
    text,
  ]),
)

/** Firefox resolves mapAsync on a 100 ms timer unless the queue is poked (findings.md). */
const lateMaps = navigator.userAgent.includes('Firefox/')
const tick = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0))

/** A GPU process that is stuck answers neither yes nor no; the processor should not wait for it. */
const gpuMsMax = 3000

function within<T>(ms: number, work: Promise<T>): Promise<T> {
  const late = new Promise<never>((_, reject) => setTimeout(() => reject(new Error(`no answer in ${ms / 1000} s`)), ms))
  return Promise.race([work, late])
}

export const noWebGpu = 'This browser has no WebGPU.'
const noAdapter = 'WebGPU found no graphics card it may use here.'

/** The graphics card, or a sentence saying why there is none. */
export async function openGpu(): Promise<{ device: Device | null; missing: string }> {
  if (!('gpu' in navigator) || !navigator.gpu) return { device: null, missing: noWebGpu }
  const adapter = await within(gpuMsMax, navigator.gpu.requestAdapter({ powerPreference: 'high-performance' })).catch((error: Error) => error)
  if (adapter instanceof Error) return { device: null, missing: `WebGPU did not start (${adapter.message}).` }
  if (!adapter) return { device: null, missing: noAdapter }
  const { info } = adapter
  let device: GPUDevice
  try {
    device = await within(
      gpuMsMax,
      adapter.requestDevice({ requiredFeatures: (['subgroups', 'timestamp-query'] as GPUFeatureName[]).filter((feature) => adapter.features.has(feature)) }),
    )
  } catch (error) {
    return { device: null, missing: `WebGPU refused a device (${(error as Error).message}).` }
  }
  return {
    missing: '',
    device: {
      name: 'WebGPU',
      software: isSoftware(info),
      parallel: false,
      key: `webgpu ${info.vendor} ${info.architecture} ${info.device}`,
      notes: [],
      open: (source, options) =>
        createWebGpuEngine(device, source, {
          ...options,
          shaders,
          languageFeatures: navigator.gpu.wgslLanguageFeatures,
          adapterInfo: info,
          ...(lateMaps ? { tick } : {}),
        }),
      close: () => device.destroy(),
    },
  }
}
