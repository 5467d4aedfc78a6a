// The WebGPU checks in Deno, which needs no browser: prints one line of JSON, the outcomes. `deno run -A test/browser/webgpu/deno.ts [part of a check's name]`
import { readFileSync } from 'node:fs'
import { shaderNames } from '../../../protocol/engine/webgpu/pipelines.ts'
import { runChecks } from './checks.ts'

const shaders = Object.fromEntries(
  shaderNames.map((name) => [name, readFileSync(new URL(`../../../protocol/engine/ops/${name}.wgsl`, import.meta.url), 'utf8')]),
)
const outcomes = await runChecks(
  { gpu: navigator.gpu, shaders, slowReadback: true, now: () => performance.now() },
  process.argv[2] ?? '',
  ({ name, wrong, ms }) => console.error(wrong === null ? 'ok ' : 'BAD', `${ms} ms`, name, wrong ?? ''),
)
console.log(JSON.stringify(outcomes))
process.exit(0)
