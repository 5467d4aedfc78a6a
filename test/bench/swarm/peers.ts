// One relay, hundreds of connected peers: what it costs the relay, and how soon what one of them says is known to all.

import { type ChildProcess, fork } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../../code/sources.ts'
import { atMost, type Bar } from '../bars/bar.ts'
import { type BenchModel, percentile, startFleet } from './fleet.ts'

const processes = 4
const announcements = 30

export async function peerBars(model: BenchModel, peers: number, say: (line: string) => void): Promise<Bar[]> {
  const fleet = await startFleet(model, { peers: peers + 50 })
  const children: ChildProcess[] = []
  try {
    const ask = (child: ChildProcess, message: object): Promise<Record<string, unknown>> =>
      new Promise((resolve, reject) => {
        const ended = () => reject(new Error('a crowd of peers ended'))
        child.once('exit', ended)
        child.once('message', (reply) => {
          child.off('exit', ended)
          resolve(reply as Record<string, unknown>)
        })
        child.send(message)
      })
    for (let i = 0; i < processes; i++)
      children.push(
        fork(join(root, 'test/bench/swarm/crowd.ts'), [fleet.relay, String(Math.floor(peers / processes))], {
          stdio: ['ignore', 'ignore', process.env.BENCH_DEBUG ? 'inherit' : 'ignore', 'ipc'],
        }),
      )
    const startMs = performance.now()
    await Promise.all(children.map((child) => ask(child, { kind: 'join' })))
    say(`${peers} peers joined in ${((performance.now() - startMs) / 1000).toFixed(1)} s`)
    const delays: number[] = []
    let missed = 0
    for (let i = 0; i < announcements; i++) {
      const speaker = children[i % processes]!
      const { key, sequence, atMs } = (await ask(speaker, { kind: 'speak', index: i })) as { key: string; sequence: number; atMs: number }
      const heard = await Promise.all(children.map((child) => ask(child, { kind: 'heard', key, sequence })))
      for (const { times, missing } of heard as { times: number[]; missing: number }[]) {
        delays.push(...times.map((time) => Math.max(0, time - atMs)))
        missed += missing
      }
    }
    // Memory after all that talk, of the whole process.
    const status = readFileSync(`/proc/${fleet.relayPid}/status`, 'utf8')
    const rss = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024
    say(
      `${delays.length} records heard, ${missed} missed, p50 ${percentile(delays, 0.5).toFixed(0)} ms, p99 ${percentile(delays, 0.99).toFixed(0)} ms; relay ${rss.toFixed(0)} MB`,
    )
    return [
      atMost(`relay memory with ${peers} peers`, rss, 'MB', 600),
      atMost(
        `presence known everywhere among ${peers} peers, p99`,
        missed > delays.length / 100 ? Number.POSITIVE_INFINITY : percentile(delays, 0.99),
        'ms',
        3000,
      ),
    ]
  } finally {
    for (const child of children) child.kill('SIGKILL')
    await fleet.close()
  }
}
