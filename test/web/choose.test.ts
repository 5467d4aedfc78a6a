// The choice of a device, on real engines: the reference on a specimen, one of them made slower, late or absent.
import { expect, test, vi } from 'vitest'
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

/** These tests are not about time, however busy the machine. */
const patient = 600_000
const whole = { from: 0, to: 6 }

const having =
  (gpu: Device | null, missing = '') =>
  async () => ({ device: gpu, missing })

test('the faster device is taken, the reason names both speeds, and the measurement is remembered', async () => {
  const [wasm, gpu] = [device('WASM', { runMs: 20 }), device('WebGPU', {})]
  const choice = await chooseDevice('auto', wasm, having(gpu), source, modelId, null, whole, patient)
  expect(choice.device).toBe(gpu)
  expect(choice.reason).toMatch(/^WebGPU: measured about [\d.]+ tokens\/s on WebGPU and [\d.]+ tokens\/s on WASM, in \d+ ms\.$/)
  const again = await chooseDevice('auto', wasm, having(gpu), source, modelId, choice.measured, whole, patient)
  expect(again).toEqual({ device: gpu, reason: choice.reason, measured: choice.measured })
  expect(wasm.opened).toBe(1)
})

test('a slower graphics card is left alone and closed', async () => {
  const [wasm, gpu] = [device('WASM', {}), device('WebGPU', { runMs: 20 })]
  const choice = await chooseDevice('auto', wasm, having(gpu), source, modelId, null, whole, patient)
  expect(choice.device).toBe(wasm)
  expect(gpu.closed).toBe(true)
})

test('an adapter that is a program on the processor is closed without being measured, unless the person asks for it', async () => {
  const [wasm, gpu] = [device('WASM', {}), device('WebGPU', { software: true })]
  const choice = await chooseDevice('auto', wasm, having(gpu), source, modelId, null, whole, patient)
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
  const choice = await chooseDevice('auto', wasm, having(gpu), source, modelId, null, whole, patient)
  expect(choice.device).toBe(wasm)
  expect(choice.reason).toMatch(/^WASM, about [\d.]+ tokens\/s: WebGPU could not be measured\.$/)
})

test('a graphics card that is not ready in time loses, is measured anew next time, and is closed once it has finished', async () => {
  const [wasm, gpu] = [device('WASM', {}), device('WebGPU', {})]
  let failCompiling = (_: Error): void => {}
  gpu.open = () => new Promise((_, reject) => (failCompiling = reject))
  const choice = await chooseDevice('auto', wasm, having(gpu), source, modelId, null, whole, 1000)
  expect(choice).toMatchObject({ device: wasm, measured: null })
  expect(choice.reason).toMatch(/^WASM.*: WebGPU was not ready to be measured within \d+ ms\.$/)
  expect(gpu.closed).toBe(false)
  failCompiling(new Error('enough'))
  await vi.waitFor(() => expect(gpu.closed).toBe(true))
})

test('a browser that does not hand out its graphics card in time is not waited for, and the card is closed when it comes', async () => {
  const [wasm, gpu] = [device('WASM', {}), device('WebGPU', {})]
  let hand = (_: { device: Device; missing: string }): void => {}
  const choice = await chooseDevice('auto', wasm, () => new Promise((resolve) => (hand = resolve)), source, modelId, null, whole, 10)
  expect(choice).toEqual({ device: wasm, reason: 'WASM: the graphics card was not there within 10 ms.', measured: null })
  hand({ device: gpu, missing: '' })
  await vi.waitFor(() => expect(gpu.closed).toBe(true))
  expect(wasm.opened + gpu.opened).toBe(0)
})

test('a measurement of another model, of other threads or of long ago is made anew', async () => {
  const [wasm, gpu] = [device('WASM', {}), device('WebGPU', { runMs: 20 })]
  const { measured } = await chooseDevice('auto', wasm, having(gpu), source, modelId, null, whole, patient)
  for (const stale of [
    { ...measured!, key: `${measured!.key}x` },
    { ...measured!, at: Date.now() - 8 * 24 * 3600 * 1000 },
  ]) {
    const opened = gpu.opened
    await chooseDevice('auto', wasm, having(gpu), source, modelId, stale, whole, patient)
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
