// From a link to the first row computed for somebody else: a fresh browser, one click at once, nothing filled in, the real model; then the same browser again, which has
// the layers already. A Node peer asks all the time. Times are the page's own, from navigation.
import { factsOf } from '../../../protocol/peer/facts.ts'
import { localPeer } from '../../mesh/local-swarm.ts'
import { atMost, type Bar } from '../bars/bar.ts'
import { answer, ask, type BenchModel } from './fleet.ts'
import { startTabs, type TabLender } from './tabs.ts'

/** Notes when the first run for somebody ends, and how many fields had the keyboard's attention before. */
const probe = `
  globalThis.firstRow = new Promise((resolve) => {
    const Real = Worker
    globalThis.Worker = class extends Real {
      constructor(...args) {
        super(...args)
        this.addEventListener('message', ({ data }) => data?.kind === 'computed' && resolve(performance.now()))
      }
    }
  })
  `

const rounds = 2

export async function tabFirstBars(model: BenchModel, say: (line: string) => void): Promise<Bar[]> {
  const worst = { fresh: 0, cached: 0 }
  for (let round = 0; round < rounds; round++) {
    const fleet = await startTabs(model)
    try {
      const { relays } = (await (await fetch(`${fleet.url}/mesh.json`)).json()) as { relays: string[] }
      const peer = await localPeer({ relays: relays.slice(0, 1), webrtc: true })
      const question = ask(model, 'Hi', 2)
      const facts = factsOf(model.manifest, model.id)
      let asking = true
      const asks = (async () => {
        while (asking) {
          await answer(peer, question, facts, false).catch(() => {})
          await new Promise((resolve) => setTimeout(resolve, 50))
        }
      })()
      const measure = async (tab: TabLender, what: string): Promise<number> => {
        const ms = await tab.page.evaluate(() => (globalThis as unknown as { firstRow: Promise<number> }).firstRow)
        const { states, clickMs } = await tab.notes()
        say(
          `${what}: first row after ${(ms / 1000).toFixed(1)} s (click at ${(clickMs! / 1000).toFixed(1)}; ${states.map(({ state, ms }) => `${(ms / 1000).toFixed(1)} ${state.split(' / ').at(-1)}`).join(', ')})`,
        )
        return ms
      }
      const context = await fleet.browser.newContext()
      const fresh = await fleet.lend({ context, script: probe })
      worst.fresh = Math.max(worst.fresh, await measure(fresh, 'shards not cached'))
      await fresh.page.close()
      const cached = await fleet.lend({ context, script: probe })
      worst.cached = Math.max(worst.cached, await measure(cached, 'shards cached'))
      asking = false
      await peer.close()
      await asks
    } finally {
      await fleet.close()
    }
  }
  return [
    atMost('link opened to first contribution, shards not cached', worst.fresh / 1000, 's', 30),
    atMost('link opened to first contribution, shards cached', worst.cached / 1000, 's', 10),
  ]
}
