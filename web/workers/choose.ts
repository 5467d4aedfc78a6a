// Which device answers: what the person chose if it can be had, else the faster of WebGPU and WASM, measured on real layers of the model at hand.

import type { SegmentEngine } from '../../protocol/engine/engine.ts'
import type { ModelSource } from '../../protocol/model/manifest.ts'
import type { Device } from './devices.ts'
import type { DeviceChoice, Measured } from './messages.ts'

/** Most time `auto` may cost, in all. Software adapters must also compile their shaders in it; hardware gets `hardwareMsMax`, since its engine needs that compilation anyway. */
const measureMsMax = 300
const hardwareMsMax = 3000
/** Timed runs of one engine stop after this long. */
const timedMs = 50
/** Layers of the longer of the two segments timed: their difference is what a layer costs, the rest is what a token costs. */
const layersTimed = 4

/** Milliseconds one row takes through an engine, the best of several runs: other work on the machine only ever adds. */
async function rowMs(engine: SegmentEngine): Promise<number> {
  const { hidden } = engine.manifest.core
  const boundary = Int32Array.from({ length: hidden }, (_, i) => ((i * 2654435761) % 8191) - 4095)
  let best = Number.POSITIVE_INFINITY
  const end = performance.now() + timedMs
  for (let position = 0; position < 3 || (performance.now() < end && position < 64); position++) {
    const from = performance.now()
    await engine.run([{ sequence: 0, position, token: 0 }], ['nothing'], boundary)
    if (position > 0) best = Math.min(best, performance.now() - from)
  }
  return best
}

/** Estimated milliseconds a token takes on a device, its layers only; null when the deadline came first. */
async function tokenMs(device: Device, source: ModelSource, msMax: number): Promise<number | null> {
  const { layers } = source.manifest.core
  // The last layer would bring the head along: the largest tensor, and the same work on both sides.
  const to = Math.min(layers - 1, 1 + layersTimed)
  if (to < 3) return null
  const measure = async (): Promise<number> => {
    const times: number[] = []
    for (const end of [2, to]) {
      const engine = await device.open(source, { segment: { from: 1, to: end }, kvTokensMax: 64 })
      try {
        times.push(await rowMs(engine))
      } finally {
        await engine.close()
      }
    }
    const layerMs = Math.max(0, (times[1] - times[0]) / (to - 2))
    return times[0] + layerMs * (layers - 1)
  }
  const deadline = new Promise<null>((resolve) => setTimeout(() => resolve(null), msMax))
  return Promise.race([measure(), deadline])
}

export interface Choice {
  device: Device
  reason: string
  measured: Measured | null
}

const speed = (ms: number): string => `${ms < 100 ? (1000 / ms).toFixed(0) : (1000 / ms).toFixed(1)} tokens/s`

/**
 * `gpu` is null when there is no adapter, `gpuMissing` then says why. A measurement from an earlier visit holds while browser, adapter, threads and model are the same.
 */
export async function chooseDevice(
  choice: DeviceChoice,
  wasm: Device,
  gpu: Device | null,
  gpuMissing: string,
  source: ModelSource,
  modelId: string,
  measured: Measured | null,
): Promise<Choice> {
  if (choice === 'wasm') return { device: wasm, reason: 'You chose WASM.', measured }
  if (!gpu) return { device: wasm, reason: `WASM: ${gpuMissing}`, measured }
  if (choice === 'webgpu') return { device: gpu, reason: 'You chose WebGPU.', measured }
  const key = [navigator.userAgent, gpu.key, wasm.key, modelId].join('|')
  if (measured?.key === key) return { device: measured.backend === 'webgpu' ? gpu : wasm, reason: measured.reason, measured }
  if (source.manifest.core.layers < 4) return { device: wasm, reason: 'WASM: the model is too small for a GPU to matter.', measured }

  const wasmMs = await tokenMs(wasm, source, hardwareMsMax)
  const gpuMs = await tokenMs(gpu, source, gpu.software ? measureMsMax : hardwareMsMax).catch(() => null)
  const backend = gpuMs !== null && (wasmMs === null || gpuMs < wasmMs) ? 'webgpu' : 'wasm'
  const reason =
    gpuMs === null
      ? `WASM: WebGPU${gpu.software ? ', in software here,' : ''} was not ready in time to be measured.`
      : wasmMs === null
        ? 'WebGPU: WASM was not ready in time to be measured.'
        : `${backend === 'webgpu' ? 'WebGPU' : 'WASM'}: measured about ${speed(gpuMs)} on WebGPU and ${speed(wasmMs)} on WASM.`
  return { device: backend === 'webgpu' ? gpu : wasm, reason, measured: { key, backend, reason } }
}
