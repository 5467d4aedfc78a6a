// Which device answers: what the person chose if it can be had, else the faster of WebGPU and WASM, measured on real layers of the model at hand.

import type { Segment, SegmentEngine } from '../../protocol/engine/engine.ts'
import type { ModelSource } from '../../protocol/model/manifest.ts'
import type { Device } from './devices.ts'
import type { DeviceChoice, Measured } from './messages.ts'

/** Longest wait for one measurement. A graphics card compiles its shaders in it, which its engine needs anyway. */
const measureMsMax = 3000
/** Timed runs of one engine stop after this long. */
const timedMs = 25
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

/** Estimated milliseconds a token takes on a device, through the whole model; null when the deadline came first, or too few layers are `held` here to be timed. */
async function tokenMs(device: Device, source: ModelSource, held: Segment, msMax: number): Promise<number | null> {
  const { core, shards } = source.manifest
  const { layers } = core
  const bytesOf = (pattern: RegExp): number => shards.reduce((sum, shard) => sum + (pattern.test(shard.name) ? shard.bytes : 0), 0)
  // Decoding is bound by reading weights, so the head costs what its bytes say.
  const withHead = 1 + bytesOf(core.tied ? /^(head|embed)$/ : /^head$/) / bytesOf(/^layer-/)
  // The last layer would bring the head along: the largest tensor, and the same work on both sides.
  const from = Math.max(1, held.from)
  const to = Math.min(layers - 1, held.to, from + layersTimed)
  if (to < from + 2) return null
  const measure = async (): Promise<number> => {
    const times: number[] = []
    // A call costs the processor next to nothing beyond its layers, so one segment tells all; a GPU also pays for the submission and the way back.
    for (const end of device.parallel ? [to] : [from + 1, to]) {
      const engine = await device.open(source, { segment: { from, to: end }, kvTokensMax: 64 })
      try {
        times.push(await rowMs(engine))
      } finally {
        await engine.close()
      }
    }
    if (times.length === 1) return ((times[0] * layers) / (to - from)) * withHead
    const layerMs = Math.max(0, (times[1] - times[0]) / (to - from - 1))
    return times[0] + layerMs * (layers * withHead - 1)
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

/** A measurement holds for a week on the same browser, threads and model: adapters and drivers change seldom, and asking for one costs time. */
const measuredMsMax = 7 * 24 * 3600 * 1000
const keyOf = (wasm: Device, modelId: string): string => [navigator.userAgent, wasm.key, modelId].join('|')
const holds = (measured: Measured | null, wasm: Device, modelId: string): boolean =>
  measured?.key === keyOf(wasm, modelId) && Date.now() - measured.at < measuredMsMax

/** Opens the graphics card only when it may be used; the one that is not chosen is closed. `openGpu` says in a sentence why there is none. */
export async function chooseDevice(
  choice: DeviceChoice,
  wasm: Device,
  openGpu: () => Promise<{ device: Device | null; missing: string }>,
  source: ModelSource,
  modelId: string,
  measured: Measured | null,
  held: Segment = { from: 0, to: source.manifest.core.layers },
): Promise<Choice> {
  if (choice === 'wasm') return { device: wasm, reason: 'You chose WASM.', measured }
  if (choice === 'auto' && holds(measured, wasm, modelId) && measured?.backend === 'wasm') return { device: wasm, reason: measured.reason, measured }
  const { device: gpu, missing } = await openGpu()
  if (!gpu) return { device: wasm, reason: `WASM: ${missing}`, measured }
  if (choice === 'webgpu') return { device: gpu, reason: 'You chose WebGPU.', measured }
  if (holds(measured, wasm, modelId)) return { device: gpu, reason: measured!.reason, measured }
  if (held.to - held.from < 4) {
    gpu.close()
    return { device: wasm, reason: 'WASM: too few layers for a GPU to matter.', measured }
  }

  if (gpu.software) {
    // The same processor, through one more translation: 4 to 20 tokens/s where WASM made 130 (SmolLM2-135M, SwiftShader and lavapipe). Measuring it cost 300 to 550 ms.
    gpu.close()
    const reason = 'WASM: WebGPU runs in software here, on the processor that WASM uses directly.'
    return { device: wasm, reason, measured: { key: keyOf(wasm, modelId), backend: 'wasm', reason, at: Date.now() } }
  }

  const from = performance.now()
  const wasmMs = await tokenMs(wasm, source, held, measureMsMax)
  const gpuMs = await tokenMs(gpu, source, held, measureMsMax).catch(() => null)
  const ms = Math.round(performance.now() - from)
  const backend = gpuMs !== null && (wasmMs === null || gpuMs < wasmMs) ? 'webgpu' : 'wasm'
  const reason =
    gpuMs === null
      ? `WASM${wasmMs === null ? '' : `, about ${speed(wasmMs)}`}: WebGPU was not ready to be measured within ${ms} ms.`
      : wasmMs === null
        ? `WebGPU, about ${speed(gpuMs)}: WASM was not ready to be measured within ${ms} ms.`
        : `${backend === 'webgpu' ? 'WebGPU' : 'WASM'}: measured about ${speed(gpuMs)} on WebGPU and ${speed(wasmMs)} on WASM, in ${ms} ms.`
  // Also ends what a slow adapter still compiles.
  if (backend === 'wasm') gpu.close()
  return { device: backend === 'webgpu' ? gpu : wasm, reason, measured: { key: keyOf(wasm, modelId), backend, reason, at: Date.now() } }
}
