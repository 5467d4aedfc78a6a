// Hosts that die mid-answer: two hosts for each third of the layers, one of the chain killed with SIGKILL at a random token, again and again. Every answer must
// end as if nothing had happened.

import { until } from '../../mesh/local-swarm.ts'
import { atLeast, atMost, type Bar } from '../bars/bar.ts'
import { alone, answer, ask, type BenchModel, type HostProcess, percentile, randomFrom, startFleet } from './fleet.ts'

const answerTokens = 32

export async function killBars(model: BenchModel, kills: number, seed: number, say: (line: string) => void): Promise<Bar[]> {
  const random = randomFrom(seed)
  const fleet = await startFleet(model)
  try {
    const { layers } = model.facts
    const thirds = [0, 1, 2].map((i) => [Math.round((layers * i) / 3), Math.round((layers * (i + 1)) / 3)] as const)
    let hosts: HostProcess[] = await Promise.all([...thirds, ...thirds].map(([from, to]) => fleet.host(from, to)))
    const peer = await fleet.requester(6)
    const question = ask(model, 'Write a long story about a fox and a crow.', answerTokens)
    const expected = JSON.stringify(await alone(model, question))
    await answer(peer, { ...question, maxTokens: 4 }, model.facts, false)
    let equal = 0
    const stalls: number[] = []
    for (let trial = 0; trial < kills; trial++) {
      const at = 1 + Math.floor(random() * (answerTokens - 2))
      const which = Math.floor(random() * 3)
      let victim: HostProcess | undefined
      let lastMs = 0
      let longestMs = 0
      const result = await answer(peer, question, model.facts, false, (count, chain) => {
        const nowMs = performance.now()
        // The stall as a reader feels it: the longest wait between two tokens after the kill.
        if (victim) longestMs = Math.max(longestMs, nowMs - lastMs)
        lastMs = nowMs
        if (count !== at) return
        victim = hosts.find((host) => host.key === chain[which % chain.length])
        void victim?.kill()
      }).catch((error: Error) => {
        say(`trial ${trial + 1}: ${error.message}`)
        return null
      })
      if (!victim) throw new Error('the chain names a host that the bench did not start')
      if (result && JSON.stringify(result.tokens) === expected) equal++
      stalls.push(longestMs)
      // Its place is taken again before the next one dies.
      const dead = victim
      hosts = hosts.filter((host) => host !== dead)
      hosts.push(await fleet.host(dead.config.from, dead.config.to))
      const living = new Set(hosts.map((host) => host.key))
      await until(
        () =>
          peer.machine.table.all().filter((one) => living.has(one.peer) && one.state === 'serving' && one.held.every((held) => held.ready)).length ===
          hosts.length,
      )
      if ((trial + 1) % 10 === 0) say(`${trial + 1} kills: ${equal} equal, p95 stall ${percentile(stalls, 0.95).toFixed(0)} ms`)
    }
    return [
      atLeast(`answers equal after a host was killed mid-answer, of ${kills}`, equal, `of ${kills}`, kills),
      atMost('stall after a kill, p95', percentile(stalls, 0.95), 'ms', 3000),
    ]
  } finally {
    await fleet.close()
  }
}
