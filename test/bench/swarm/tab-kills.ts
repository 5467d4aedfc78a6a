// Tabs that die mid-answer: two for each third of the layers, one of the chain crashed (no goodbye) at a random token, again and again. A Node peer asks; every text must be
// the one of an uninterrupted run.
import { localPeer, until } from '../../mesh/local-swarm.ts'
import { atLeast, atMost, type Bar } from '../bars/bar.ts'
import { alone, answer, ask, type BenchModel, percentile, randomFrom } from './fleet.ts'
import { startTabs, type TabFleet, type TabLender } from './tabs.ts'

const answerTokens = 32

interface Place {
  from: number
  to: number
  tab: TabLender
  key: string
}

export async function tabKillBars(model: BenchModel, kills: number, seed: number, say: (line: string) => void): Promise<Bar[]> {
  const random = randomFrom(seed)
  const fleet = await startTabs(model)
  try {
    const { layers } = model.facts
    const thirds = [0, 1, 2].map((i) => [Math.round((layers * i) / 3), Math.round((layers * (i + 1)) / 3)] as const)
    let places: Place[] = []
    // One after the other: the first of each range seeds the second.
    for (const [from, to] of [...thirds, ...thirds]) places.push(await lendPlace(fleet, model, from, to))
    const { relays } = (await (await fetch(`${fleet.url}/mesh.json`)).json()) as { relays: string[] }
    const peer = await localPeer({ relays: relays.slice(0, 1), webrtc: true })
    const served = (): string[] =>
      peer.machine.table
        .all()
        .filter((one) => one.state === 'serving' && one.held.every((held) => held.ready))
        .map((one) => one.peer)
    const allKnown = (): boolean => {
      const keys = served()
      return places.every(({ key }) => keys.includes(key))
    }
    await until(allKnown)
    const question = ask(model, 'Write a long story about a fox and a crow.', answerTokens)
    const expected = JSON.stringify(await alone(model, question))
    await answer(peer, { ...question, maxTokens: 4 }, model.facts, false)
    let equal = 0
    let killed = 0
    const stalls: number[] = []
    for (let trial = 0; trial < kills; trial++) {
      const at = 1 + Math.floor(random() * (answerTokens - 2))
      const which = Math.floor(random() * 3)
      let victim: Place | undefined
      let lastMs = 0
      let longestMs = 0
      const result = await answer(peer, question, model.facts, false, (count, chain) => {
        const nowMs = performance.now()
        if (victim) longestMs = Math.max(longestMs, nowMs - lastMs)
        lastMs = nowMs
        if (count !== at) return
        victim = places.find((place) => place.key === chain[which % chain.length])
        void victim?.tab.crash()
      }).catch((error: Error) => {
        say(`trial ${trial + 1}: ${error.message}`)
        return null
      })
      if (!victim) throw new Error('the chain names a tab that the bench did not open')
      killed++
      if (result && JSON.stringify(result.tokens) === expected) equal++
      stalls.push(longestMs)
      // Its place is taken again before the next one dies.
      const dead = victim
      await dead.tab.close().catch(() => {})
      places = places.filter((place) => place !== dead)
      places.push(await lendPlace(fleet, model, dead.from, dead.to))
      await until(allKnown)
      say(`${trial + 1} tabs crashed: ${equal} answers equal, longest stall ${Math.max(...stalls).toFixed(0)} ms`)
    }
    await peer.close()
    return [
      atLeast(`answers equal after a hosting tab crashed mid-answer, of ${kills}`, equal, `of ${kills}`, killed),
      atMost('stall after a tab crashed, p95', percentile(stalls, 0.95), 'ms', 3000),
    ]
  } finally {
    await fleet.close()
  }
}

async function lendPlace(fleet: TabFleet, model: BenchModel, from: number, to: number): Promise<Place> {
  const tab = await fleet.lend({ hold: { specimen: model, from, to }, choices: { threads: 1 } })
  await tab.readyMs()
  // The page shows the beginning of its key; the relay knows the rest.
  const name = ((await tab.page.locator('section', { hasText: 'Its name among peers' }).locator('code').textContent()) ?? '').slice(0, 16)
  for (;;) {
    const { models } = (await (await fetch(`${fleet.url}/swarm`)).json()) as { models: { hosts: { peer: string; state: string }[] }[] }
    const host = models.flatMap((one) => one.hosts).find(({ peer, state }) => peer.startsWith(name) && state === 'serving')
    if (host) return { from, to, tab, key: host.peer }
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}
