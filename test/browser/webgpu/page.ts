// The page of the WebGPU checks: hands them to the harness that drives the browser.
import { createWebGpuEngine } from '../../../protocol/engine/webgpu/engine.ts'
import { folderSource, overHttp } from '../../bench/hosts/folder-source.ts'
import { runChecks } from './checks.ts'
import { measure } from './measure.ts'

const shaders = Object.fromEntries(
  Object.entries(import.meta.glob<string>('../../../protocol/engine/ops/*.wgsl', { query: '?raw', import: 'default', eager: true })).map(([path, text]) => [
    path.replace(/^.*\/|\.wgsl$/g, ''),
    text,
  ]),
)
const slowReadback = navigator.userAgent.includes('Firefox/')
const now = (): number => performance.now()

Object.assign(globalThis, {
  bench: {
    check: (only: string) => runChecks({ gpu: navigator.gpu, shaders, slowReadback, now }, only),
    measure: async ({ place, options }: { place: string; options: object }) => {
      const adapter = await navigator.gpu.requestAdapter()
      if (!adapter) throw new Error('no WebGPU adapter')
      const device = await adapter.requestDevice({ requiredFeatures: adapter.features.has('timestamp-query') ? ['timestamp-query'] : [] })
      const source = await folderSource(overHttp(place))
      return measure(
        (tuning) =>
          createWebGpuEngine(device, source, {
            shaders,
            languageFeatures: navigator.gpu.wgslLanguageFeatures,
            adapterInfo: adapter.info,
            slowReadback,
            now,
            tuning,
          }),
        now,
        options,
      )
    },
  },
})
