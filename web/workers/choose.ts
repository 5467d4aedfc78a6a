// Which device answers: what the person chose if it can be had, else the faster of WebGPU and WASM, measured on real layers of the model at hand.

import type { Segment, SegmentEngine } from '../../protocol/engine/engine.ts'
import type { ModelSource } from '../../protocol/model/manifest.ts'
import type { Device } from './devices.ts'
import type { DeviceChoice, Measured } from './messages.ts'

/** `auto` decides within 300 ms of being asked, the browser's wait for a graphics card included: whoever asked a question is waiting. What has begun when the clock is looked at must end: 20 ms for that. */
const decideMsMax = 280
/** With less time than this left a card's engine is not even begun: the first part of opening one does not look at the clock (40 to 70 ms on a busy machine). */
const openMsMin = 70
/** A graphics card whose shaders were not compiled by then may go on so long beside the answer: the browser keeps what it compiled, and the next visit measures in time. */
const compileMsMax = 3000
/** Timed runs of one engine stop after this long. */
const timedMs = 25
/** Layers of the longer of the two segments timed: their difference is what a layer costs, the rest is what a token costs. */
const layersTimed = 4

/** Milliseconds one row takes through an engine, the best of several runs: other work on the machine only ever adds. The first run counts only when `deadline` leaves no time for another. */
async function rowMs(engine: SegmentEngine, deadline: number): Promise<number> {
  const { hidden } = engine.manifest.core
  const boundary = Int32Array.from({ length: hidden }, (_, i) => ((i * 2654435761) % 8191) - 4095)
  const run = async (position: number): Promise<number> => {
    const from = performance.now()
    await engine.run([{ sequence: 0, position, token: 0 }], ['nothing'], boundary)
    return performance.now() - from
  }
  const first = await run(0)
  let best = Number.POSITIVE_INFINITY
  const end = performance.now() + timedMs
  for (let position = 1; position < 64; position++) {
    // WASM blocks its thread while it runs, so no timer would tell.
    const now = performance.now()
    if (now > deadline || (now > end && position > 2)) break
    best = Math.min(best, await run(position))
  }
  return Number.isFinite(best) ? best : first
}

/** Estimated milliseconds a token takes on a device, through the whole model; null when too few layers are `held` here to be timed. Stops early where it can when `deadline` has come. */
async function tokenMs(device: Device, source: ModelSource, held: Segment, deadline: number): Promise<number | null> {
  const { core, shards } = source.manifest
  const { layers } = core
  const bytesOf = (pattern: RegExp): number => shards.reduce((sum, shard) => sum + (pattern.test(shard.name) ? shard.bytes : 0), 0)
  // Decoding is bound by reading weights, so the head costs what its bytes say.
  const withHead = 1 + bytesOf(core.tied ? /^(head|embed)$/ : /^head$/) / bytesOf(/^layer-/)
  // The last layer would bring the head along: the largest tensor, and the same work on both sides.
  const from = Math.max(1, held.from)
  const to = Math.min(layers - 1, held.to, from + layersTimed)
  if (to < from + 2) return null
  const times: number[] = []
  // A call costs the processor next to nothing beyond its layers, so one segment tells all; a GPU also pays for the submission and the way back.
  for (const end of device.parallel ? [to] : [from + 1, to]) {
    const engine = await device.open(source, { segment: { from, to: end }, kvTokensMax: 64 })
    try {
      times.push(await rowMs(engine, deadline))
    } finally {
      await engine.close()
    }
  }
  if (times.length === 1) return ((times[0] * layers) / (to - from)) * withHead
  const layerMs = Math.max(0, (times[1] - times[0]) / (to - from - 1))
  return times[0] + layerMs * (layers * withHead - 1)
}

/** What the work gives by the deadline (of performance.now()), or `late`. */
function by<T, L>(deadline: number, late: L, work: Promise<T>): Promise<T | L> {
  const timer = new Promise<L>((resolve) => setTimeout(() => resolve(late), Math.max(0, deadline - performance.now())))
  return Promise.race([work, timer])
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

/**
 * Opens the graphics card only when it may be used; the one that is not chosen is closed. `openGpu` says in a sentence why there is none.
 * `auto` answers within `decideMs` unless a remembered measurement names the card: what is not ready by then loses, is not remembered, and WASM, which is always ready, is taken.
 */
export async function chooseDevice(
  choice: DeviceChoice,
  wasm: Device,
  openGpu: () => Promise<{ device: Device | null; missing: string }>,
  source: ModelSource,
  modelId: string,
  measured: Measured | null,
  held: Segment = { from: 0, to: source.manifest.core.layers },
  decideMs = decideMsMax,
): Promise<Choice> {
  const from = performance.now()
  const deadline = from + decideMs
  if (choice === 'wasm') return { device: wasm, reason: 'You chose WASM.', measured }
  const known = choice === 'auto' && holds(measured, wasm, modelId)
  if (known && measured?.backend === 'wasm') return { device: wasm, reason: measured.reason, measured }
  const opening = openGpu()
  const opened = choice === 'auto' && !known ? await by(deadline, null, opening) : await opening
  if (!opened) {
    void opening.then(({ device }) => device?.close())
    return { device: wasm, reason: `WASM: the graphics card was not there within ${decideMs} ms.`, measured }
  }
  const { device: gpu, missing } = opened
  if (!gpu) return { device: wasm, reason: `WASM: ${missing}`, measured }
  if (choice === 'webgpu') return { device: gpu, reason: 'You chose WebGPU.', measured }
  if (known) return { device: gpu, reason: measured!.reason, measured }
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

  // Half of the time is the card's, even where shards come slowly.
  const wasmDeadline = (performance.now() + deadline) / 2
  const wasmMs = await by(wasmDeadline, null, tokenMs(wasm, source, held, wasmDeadline))
  const measuring = deadline - performance.now() < openMsMin ? null : tokenMs(gpu, source, held, deadline).catch(() => null)
  const gpuMs = measuring ? await by(deadline, 'late' as const, measuring) : 'late'
  const ms = Math.round(performance.now() - from)
  if (gpuMs === 'late') {
    void by(performance.now() + compileMsMax, null, measuring ?? Promise.resolve(null)).then(() => gpu.close())
    return { device: wasm, reason: `WASM${wasmMs === null ? '' : `, about ${speed(wasmMs)}`}: WebGPU was not ready to be measured within ${ms} ms.`, measured }
  }
  const backend = gpuMs !== null && (wasmMs === null || gpuMs < wasmMs) ? 'webgpu' : 'wasm'
  const reason =
    gpuMs === null
      ? `WASM${wasmMs === null ? '' : `, about ${speed(wasmMs)}`}: WebGPU could not be measured.`
      : wasmMs === null
        ? `WebGPU, about ${speed(gpuMs)}: WASM was not ready to be measured within ${ms} ms.`
        : `${backend === 'webgpu' ? 'WebGPU' : 'WASM'}: measured about ${speed(gpuMs)} on WebGPU and ${speed(wasmMs)} on WASM, in ${ms} ms.`
  if (backend === 'wasm') gpu.close()
  return { device: backend === 'webgpu' ? gpu : wasm, reason, measured: { key: keyOf(wasm, modelId), backend, reason, at: Date.now() } }
}
