// Where a token's time goes: timestamp queries where the device has them, else each dispatch repeated between two waits.
import { usage } from './memory.ts'

export interface ProfiledDispatch {
  /** Step labels without the layer, or the kernel. */
  op: string
  kernel: string
  /** Bytes of weights it reads. */
  weightBytes: number
  encode(pass: GPUComputePassEncoder): void
}

export interface OpTime {
  op: string
  kernel: string
  ms: number
  count: number
  weightBytes: number
}

/** Milliseconds by op over one pass of all dispatches, the least of `rounds` each (other work on the machine only adds). `wait` returns when the queue is empty; `now` is in milliseconds. */
export async function profileDispatches(
  device: GPUDevice,
  dispatches: ProfiledDispatch[],
  wait: () => Promise<void>,
  now: () => number,
  rounds: number,
): Promise<OpTime[]> {
  const times = device.features.has('timestamp-query')
    ? await byTimestamps(device, dispatches, wait, rounds)
    : await byRepetition(device, dispatches, wait, now, rounds)
  const byOp = new Map<string, OpTime>()
  for (const [i, { op, kernel, weightBytes }] of dispatches.entries()) {
    const found = byOp.get(op) ?? { op, kernel, ms: 0, count: 0, weightBytes: 0 }
    byOp.set(op, { ...found, ms: found.ms + times[i], count: found.count + 1, weightBytes: found.weightBytes + weightBytes })
  }
  return [...byOp.values()].sort((a, b) => b.ms - a.ms)
}

/** A pass per dispatch, its begin and end stamped. Stamps are nanoseconds; a query set holds 4096. */
async function byTimestamps(device: GPUDevice, dispatches: ProfiledDispatch[], wait: () => Promise<void>, rounds: number): Promise<number[]> {
  const times = dispatches.map(() => Number.POSITIVE_INFINITY)
  const size = 2048
  for (let round = 0; round < rounds; round++) {
    for (let from = 0; from < dispatches.length; from += size) {
      const some = dispatches.slice(from, from + size)
      const queries = device.createQuerySet({ type: 'timestamp', count: some.length * 2 })
      const resolved = device.createBuffer({ size: some.length * 16, usage: usage.queryResolve | usage.copySrc })
      const mapped = device.createBuffer({ size: some.length * 16, usage: usage.mapRead | usage.copyDst })
      const encoder = device.createCommandEncoder()
      for (const [i, d] of some.entries()) {
        const pass = encoder.beginComputePass({ timestampWrites: { querySet: queries, beginningOfPassWriteIndex: i * 2, endOfPassWriteIndex: i * 2 + 1 } })
        d.encode(pass)
        pass.end()
      }
      encoder.resolveQuerySet(queries, 0, some.length * 2, resolved, 0)
      encoder.copyBufferToBuffer(resolved, 0, mapped, 0, some.length * 16)
      device.queue.submit([encoder.finish()])
      const ready = mapped.mapAsync(1)
      await wait()
      await ready
      const stamps = new BigUint64Array(mapped.getMappedRange())
      for (let i = 0; i < some.length; i++) times[from + i] = Math.min(times[from + i], Number(stamps[i * 2 + 1] - stamps[i * 2]) / 1e6)
      queries.destroy()
      resolved.destroy()
      mapped.destroy()
    }
  }
  return times
}

/** Dispatches of one op in a row, then one wait; the wait alone is subtracted. */
async function byRepetition(
  device: GPUDevice,
  dispatches: ProfiledDispatch[],
  wait: () => Promise<void>,
  now: () => number,
  rounds: number,
): Promise<number[]> {
  const timed = async (encode: (pass: GPUComputePassEncoder) => void): Promise<number> => {
    const started = now()
    const encoder = device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    encode(pass)
    pass.end()
    device.queue.submit([encoder.finish()])
    await wait()
    return now() - started
  }
  await timed(() => {})
  const empty = Math.min(await timed(() => {}), await timed(() => {}))
  const perOp = new Map<string, number>()
  for (const { op } of dispatches) {
    if (perOp.has(op)) continue
    const same = dispatches.filter((d) => d.op === op)
    let least = Number.POSITIVE_INFINITY
    for (let round = 0; round < rounds; round++) least = Math.min(least, await timed((pass) => same.forEach((d) => d.encode(pass))))
    perOp.set(op, Math.max(0, least - empty) / same.length)
  }
  return dispatches.map(({ op }) => perOp.get(op)!)
}
