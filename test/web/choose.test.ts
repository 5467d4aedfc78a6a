// The choice of a device, on real engines: the reference on a specimen, one of them made slower, late or absent.
import { expect, test } from 'vitest'
import type { SegmentEngine } from '../../protocol/engine/engine.ts'
import { createReferenceEngine } from '../../protocol/engine/reference.ts'
import { specimenCore, specimenPackage } from '../../protocol/engine/specimen.ts'
import { chooseDevice } from '../../web/workers/choose.ts'
import type { Device } from '../../web/workers/devices.ts'

const source = specimenPackage(specimenCore('llama', { layers: 6 }))
const modelId = 'ab'.repeat(32)
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

interface Spied extends Device {
  opened: number
  closed: boolean
}

function device(name: 'WASM' | 'WebGPU', { runMs = 0, openMs = 0, software = false }): Spied {
  return {
    name,
    software,
    parallel: name === 'WASM',
    key: name,
    notes: [],
    opened: 0,
    closed: false,
    async open(from, options) {
      this.opened++
      await pause(openMs)
      const engine = await createReferenceEngine(from, options)
      if (runMs > 0) engine.run = later(engine, runMs)
      return engine
    },
    close() {
      this.closed = true
    },
  }
}

/** The engine's own run, later. */
function later(engine: SegmentEngine, ms: number): SegmentEngine['run'] {
  const run = engine.run.bind(engine)
  return async (...parts) => {
    await pause(ms)
    return run(...parts)
  }
}

const having =
  (gpu: Device | null, missing = '') =>
  async () => ({ device: gpu, missing })

test('the faster device is taken, the reason names both speeds, and the measurement is remembered', async () => {
  const [wasm, gpu] = [device('WASM', { runMs: 20 }), device('WebGPU', {})]
  const choice = await chooseDevice('auto', wasm, having(gpu), source, modelId, null)
  expect(choice.device).toBe(gpu)
  expect(choice.reason).toMatch(/^WebGPU: measured about [\d.]+ tokens\/s on WebGPU and [\d.]+ tokens\/s on WASM, in \d+ ms\.$/)
  const again = await chooseDevice('auto', wasm, having(gpu), source, modelId, choice.measured)
  expect(again).toEqual({ device: gpu, reason: choice.reason, measured: choice.measured })
  expect(wasm.opened).toBe(1)
})

test('a slower graphics card is left alone and closed', async () => {
  const [wasm, gpu] = [device('WASM', {}), device('WebGPU', { runMs: 20 })]
  const choice = await chooseDevice('auto', wasm, having(gpu), source, modelId, null)
  expect(choice.device).toBe(wasm)
  expect(gpu.closed).toBe(true)
})

test('an adapter that is a program on the processor is closed without being measured, unless the person asks for it', async () => {
  const [wasm, gpu] = [device('WASM', {}), device('WebGPU', { software: true })]
  const choice = await chooseDevice('auto', wasm, having(gpu), source, modelId, null)
  expect(choice).toMatchObject({ device: wasm, reason: 'WASM: WebGPU runs in software here, on the processor that WASM uses directly.' })
  expect([wasm.opened, gpu.opened, gpu.closed]).toEqual([0, 0, true])
  // Remembered: the next visit does not even ask for the adapter.
  const again = await chooseDevice('auto', wasm, () => Promise.reject(new Error('asked for the adapter')), source, modelId, choice.measured)
  expect(again.device).toBe(wasm)
  expect((await chooseDevice('webgpu', wasm, having(device('WebGPU', { software: true })), source, modelId, null)).reason).toBe('You chose WebGPU.')
})

test('a graphics card that fails while it is measured leaves WASM, and the reason says so', async () => {
  const [wasm, gpu] = [device('WASM', {}), device('WebGPU', {})]
  gpu.open = () => Promise.reject(new Error('no room'))
  const choice = await chooseDevice('auto', wasm, having(gpu), source, modelId, null)
  expect(choice.device).toBe(wasm)
  expect(choice.reason).toMatch(/^WASM, about [\d.]+ tokens\/s: WebGPU was not ready to be measured within \d+ ms\.$/)
})

test('a measurement of another model, of other threads or of long ago is made anew', async () => {
  const [wasm, gpu] = [device('WASM', {}), device('WebGPU', { runMs: 20 })]
  const { measured } = await chooseDevice('auto', wasm, having(gpu), source, modelId, null)
  for (const stale of [
    { ...measured!, key: `${measured!.key}x` },
    { ...measured!, at: Date.now() - 8 * 24 * 3600 * 1000 },
  ]) {
    const opened = gpu.opened
    await chooseDevice('auto', wasm, having(gpu), source, modelId, stale)
    expect(gpu.opened).toBeGreaterThan(opened)
  }
})

test('what the person chose is taken, and a missing graphics card is said plainly', async () => {
  const [wasm, gpu] = [device('WASM', {}), device('WebGPU', {})]
  expect((await chooseDevice('wasm', wasm, having(gpu), source, modelId, null)).device).toBe(wasm)
  expect((await chooseDevice('webgpu', wasm, having(gpu), source, modelId, null)).device).toBe(gpu)
  expect(await chooseDevice('webgpu', wasm, having(null, 'This browser has no WebGPU.'), source, modelId, null)).toMatchObject({
    device: wasm,
    reason: 'WASM: This browser has no WebGPU.',
  })
  expect(wasm.opened + gpu.opened).toBe(0)
})
