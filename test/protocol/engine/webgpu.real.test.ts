// The WebGPU engine against the reference, step by step, on every WebGPU implementation at hand: naga and lavapipe in Deno, Tint and SwiftShader in Chromium, naga in Firefox.
// What is checked: test/browser/webgpu/checks.ts. Deno needs a Vulkan driver (mesa-vulkan-drivers), as Firefox does.
import { describe, expect, it } from 'vitest'
import { checksOf, type Outcome } from '../../browser/webgpu/checks.ts'
import { check, type HostName } from '../../browser/webgpu/host.ts'

const hosts: Record<HostName, string> = { deno: 'in Deno', chromium: 'in Chromium', firefox: 'in Firefox' }
const names = checksOf({ gpu: undefined as never, shaders: {}, slowReadback: false, now: () => 0 }).map(([name]) => name)

for (const [host, where] of Object.entries(hosts) as [HostName, string][]) {
  describe(`WebGPU ${where}`, () => {
    let outcomes: Promise<Outcome[]> | null = null
    for (const name of names) {
      it(name, async () => {
        outcomes ??= check(host)
        const outcome = (await outcomes).find((o) => o.name === name)
        expect(outcome?.wrong ?? (outcome ? null : 'did not run')).toBeNull()
      })
    }
  })
}
