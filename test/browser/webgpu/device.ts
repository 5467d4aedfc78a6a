// How fast the WebGPU engine is on this machine's adapter, and what limits it. Runs by itself in Deno on any GPU Deno finds (Vulkan, Metal, D3D12):
//   node_modules/.bin/deno run -A test/browser/webgpu/device.ts --package DIR [--bandwidth GB/s] [--options JSON] [--json]
// and drives a headless browser when started with Node:
//   node test/browser/webgpu/device.ts --host chromium|firefox|deno --package DIR [--bandwidth GB/s] [--options JSON] [--json]
// DIR holds `manifest` and the shards, as in ~/.meadow/models/<id>. --bandwidth is the adapter's memory bandwidth from its data sheet, for the share that is reached.
// Options: {"prompt": 128, "tokens": 24, "rounds": 6, "tuning": {"split": 8, ...}} (protocol/engine/webgpu/tuning.ts).
// Prints tokens/s, bytes of weights read per second, and each op's share of a token.
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { createWebGpuEngine } from '../../../protocol/engine/webgpu/engine.ts'
import { shaderNames } from '../../../protocol/engine/webgpu/pipelines.ts'
import { folderSource } from '../../bench/hosts/folder-source.ts'
import { type Measured, measure, report } from './measure.ts'

const { values: asked } = parseArgs({
  options: {
    host: { type: 'string' },
    package: { type: 'string' },
    bandwidth: { type: 'string' },
    options: { type: 'string', default: '{}' },
    json: { type: 'boolean', default: false },
  },
})
if (!asked.package) throw new Error('--package DIR is missing: a folder with `manifest` and the shards')
const folder = asked.package
const options = JSON.parse(asked.options)
const now = (): number => performance.now()

async function here(): Promise<Measured> {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: 'high-performance' })
  if (!adapter) throw new Error('no WebGPU adapter was found; in Node name a host with --host')
  const device = await adapter.requestDevice({ requiredFeatures: adapter.features.has('timestamp-query') ? ['timestamp-query'] : [] })
  const source = await folderSource((name) => readFile(`${folder}/${name}`))
  const shaders = Object.fromEntries(
    shaderNames.map((name) => [name, readFileSync(new URL(`../../../protocol/engine/ops/${name}.wgsl`, import.meta.url), 'utf8')]),
  )
  return measure(
    (tuning) =>
      createWebGpuEngine(device, source, {
        shaders,
        languageFeatures: navigator.gpu.wgslLanguageFeatures,
        adapterInfo: adapter.info,
        slowReadback: true,
        now,
        tuning,
      }),
    now,
    options,
  )
}

const measured = asked.host ? await (await import('./host.ts')).measureIn(asked.host as 'deno', folder, options) : await here()
console.log(asked.json ? JSON.stringify(measured) : report(measured, asked.bandwidth ? Number(asked.bandwidth) * 1e9 : null))
process.exit(0)
