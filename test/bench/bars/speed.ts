// Speeds against the peers of the same contest.
import type { Row } from '../contest.ts'
import { atLeast, atMost, type Bar } from './bar.ts'

/** A missing row gives a bar of value 0, which fails: what was not measured is not met. */
export function peerBars(rows: Row[]): Bar[] {
  const find = (engine: string, host: string): Row | undefined =>
    rows.find((r) => r.engine.startsWith(engine) && r.host === host && r.threads === 2 && r.backend !== 'webgpu')
  const ours = find('Meadow', 'Chromium')
  const ratio = (peer: Row | undefined, what: 'prefill' | 'decode'): number => (ours && peer ? ours[what] / peer[what] : 0)
  const wllama = find('wllama', 'Chromium')
  const native = find('node-llama-cpp', 'Node')
  return [
    atLeast('decode in a Chromium tab over wllama, 2 threads', ratio(wllama, 'decode'), 'ratio', 6),
    atLeast('decode in a Chromium tab over node-llama-cpp, 2 threads', ratio(native, 'decode'), 'ratio', 1.5),
    atLeast('prefill in a Chromium tab over wllama, 2 threads', ratio(wllama, 'prefill'), 'ratio', 12),
    atLeast('prefill in a Chromium tab over node-llama-cpp, 2 threads', ratio(native, 'prefill'), 'ratio', 1.2),
  ]
}

/** Software adapters only: a machine with a GPU passes these by far, and the row's description says which adapter it was. */
export function gpuBars(rows: Row[], otherShares: number[]): Bar[] {
  const decode = (host: string): number => rows.find((r) => r.backend === 'webgpu' && r.host === host)?.decode ?? 0
  return [
    atLeast('decode on WebGPU in Chromium', decode('Chromium'), 'tokens/s', 4),
    atLeast('decode on WebGPU in Firefox or Deno, the faster', Math.max(decode('Firefox'), decode('Deno')), 'tokens/s', 15),
    // Nothing measured is not met: 1 is the whole of the time.
    atMost(
      "share of a token's time outside the matrix kernels, WebGPU, the worst host",
      Math.max(...(otherShares.length > 0 ? otherShares : [1])),
      'share',
      0.25,
    ),
  ]
}
