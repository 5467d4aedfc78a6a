// Is the machine ours? Spinning threads on a busy machine measure the scheduler: llama.cpp on two threads fell from 100 to 2 tokens/s beside one busy process (measured).
import { cpus } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'

/** Share of all cores in use over the next `ms`, 0 to 1. */
export async function busyShare(ms: number): Promise<number> {
  const sums = (): [number, number] => {
    const times = cpus().map((cpu) => cpu.times)
    return [times.reduce((a, t) => a + t.idle, 0), times.reduce((a, t) => a + t.idle + t.user + t.nice + t.sys + t.irq, 0)]
  }
  const [idleFrom, allFrom] = sums()
  await sleep(ms)
  const [idle, all] = sums()
  return all === allFrom ? 0 : 1 - (idle - idleFrom) / (all - allFrom)
}

const quietShare = 0.15

/** Waits until the machine is nearly idle, at most `msMax`. Returns the share still in use by others. */
export async function quiet(msMax: number): Promise<number> {
  const until = performance.now() + msMax
  let share = await busyShare(200)
  while (share > quietShare && performance.now() < until) share = await busyShare(400)
  return share
}
