// Who is measured, and how: everyone is warm before anyone is timed, then each in turn, several rounds, so that a noisy minute hits all alike.
// Before each run the machine must be quiet; what could not be had is reported.
import { quiet } from './quiet.ts'

/** One answer: a prompt taken in (up to its first new token) and the tokens made after that. */
export interface Run {
  promptTokens: number
  prefillMs: number
  decodedTokens: number
  decodeMs: number
}

export interface Running {
  run(): Promise<Run>
  stop(): Promise<void>
}

export interface Contestant {
  /** Name and version. */
  engine: string
  host: 'Node' | 'Chromium' | 'Firefox' | 'Deno'
  backend: 'wasm' | 'native' | 'webgpu'
  threads: number
  start(): Promise<Running>
}

/** Tokens per second, medians over the rounds. */
export interface Row {
  engine: string
  host: string
  backend: string
  threads: number
  prefill: number
  decode: number
}

export const median = (values: number[]): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

export const nameOf = (c: Contestant): string => `${c.engine} · ${c.host} · ${c.backend} · ${c.threads} thread${c.threads === 1 ? '' : 's'}`

export interface Contest {
  rows: Row[]
  failures: string[]
  /** Largest share of the cores that others used just before or after a run that counts. */
  busiest: number
}

const disturbedShare = 0.3
/** Threads of a peer may spin a little after their last token. */
const afterMs = 600

/** A run with a quiet machine before and after it; after some attempts the last one counts, and `busy` says how much others used. */
async function undisturbed(self: Running, patienceMs: number, attempts: number): Promise<{ run: Run; busy: number }> {
  for (let attempt = 1; ; attempt++) {
    const before = await quiet(patienceMs)
    const run = await self.run()
    const after = await quiet(afterMs)
    const busy = Math.max(before, after)
    if (busy < disturbedShare || attempt === attempts) return { run, busy }
  }
}

/** Contestants that cannot start or fail are left out and named in `failures`. `report` hears what is going on. */
export async function contest(contestants: Contestant[], rounds: number, report: (line: string) => void, attempts = 3, patienceMs = 20000): Promise<Contest> {
  const noise: number[] = []
  const running = new Map<Contestant, { self: Running; runs: Run[] }>()
  const failures: string[] = []
  const fail = async (c: Contestant, error: unknown): Promise<void> => {
    const line = `${nameOf(c)}: ${error instanceof Error ? error.message : error}`
    failures.push(line)
    report(`left out: ${line}`)
    await running
      .get(c)
      ?.self.stop()
      .catch(() => undefined)
    running.delete(c)
  }
  try {
    for (const c of contestants) {
      report(`starting ${nameOf(c)}`)
      try {
        const self = await c.start()
        running.set(c, { self, runs: [] })
        await self.run()
      } catch (error) {
        await fail(c, error)
      }
    }
    for (let round = 0; round < rounds; round++) {
      for (const [c, { self, runs }] of [...running]) {
        try {
          const { run, busy } = await undisturbed(self, patienceMs, attempts)
          noise.push(busy)
          runs.push(run)
          report(
            `round ${round + 1}/${rounds} ${nameOf(c)}: prefill ${((run.promptTokens / run.prefillMs) * 1000).toFixed(1)}, decode ${((run.decodedTokens / run.decodeMs) * 1000).toFixed(1)} tokens/s`,
          )
        } catch (error) {
          await fail(c, error)
        }
      }
    }
  } finally {
    for (const { self } of running.values()) await self.stop().catch(() => undefined)
  }
  const rows = [...running].map(([{ engine, host, backend, threads }, { runs }]) => ({
    engine,
    host,
    backend,
    threads,
    prefill: median(runs.map((r) => (r.promptTokens / r.prefillMs) * 1000)),
    decode: median(runs.map((r) => (r.decodedTokens / r.decodeMs) * 1000)),
  }))
  return { rows, failures, busiest: Math.max(0, ...noise) }
}
