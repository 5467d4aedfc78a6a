// Meadow in Deno, on its WebGPU.
import { readdir, readFile } from 'node:fs/promises'
import { createWebGpuEngine } from '../../../protocol/engine/webgpu/engine.ts'
import { answerCalls } from '../child.ts'
import { folderSource } from './folder-source.ts'
import { createStation } from './station.ts'

const ops = new URL('../../../protocol/engine/ops/', import.meta.url)
const shaders: Record<string, string> = {}
for (const name of await readdir(ops)) if (name.endsWith('.wgsl')) shaders[name.slice(0, -5)] = await readFile(new URL(name, ops), 'utf8')

async function openDevice() {
  const adapter = await navigator.gpu?.requestAdapter()
  if (!adapter) throw new Error('Deno found no WebGPU adapter')
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits
  const requiredFeatures = (['subgroups', 'timestamp-query'] as GPUFeatureName[]).filter((feature) => adapter.features.has(feature))
  const device = await adapter.requestDevice({ requiredFeatures, requiredLimits: { maxBufferSize, maxStorageBufferBindingSize } })
  return { device, adapterInfo: adapter.info, languageFeatures: navigator.gpu.wgslLanguageFeatures }
}

// One for all engines: Deno 2.9 panics in its queue when a device that nobody holds is collected.
let opened: ReturnType<typeof openDevice> | null = null

const station = createStation(
  async (_, __, source, options) => {
    opened ??= openDevice()
    const { device, ...host } = await opened
    // Deno's mapAsync answers on a timer of its own, about 11 ms (measured): the loop of submits wakes it.
    return createWebGpuEngine(device, source, { ...options, ...host, shaders, slowReadback: true })
  },
  (folder) => folderSource((name) => readFile(`${folder}/${name}`)),
)
await answerCalls({ ...station })
