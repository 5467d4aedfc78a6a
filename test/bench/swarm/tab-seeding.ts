// One tab seeds the real model to five others, each in a browser context of its own: what the seeder has to give, how long it takes, and what becomes of it when the
// seeder dies half way. Measured twice: with an uplink of 40 Mbit/s for each tab, as people have it, and on bare loopback, where one machine's processor does the work
// of six devices and is the link. On two cores four times is out of reach there: one tab that fetches alone already keeps 1.62 of them busy (12 core-seconds and 131,000 UDP
// packets a copy), so that five, at 1.95 cores, take 5 x 1.62 / 1.95 = 4.15 times as long even when a copy costs no more than alone; six renderers on two cores pay
// 1.35 to 1.5 times as much for the same packets (measured, with other programs running).
import { atLeast, atMost, type Bar } from '../bars/bar.ts'
import type { BenchModel } from './fleet.ts'
import { startTabs, type TabFleet, type TabLender } from './tabs.ts'

const leechers = 5
const uplinkKBps = 5000

interface Fetched {
  /** From the first click until all were ready. */
  ms: number
  /** Bytes of the seeder and of the relay's web seed, in copies of the model. */
  seederCopies: number
  webCopies: number
  complete: number
}

export async function tabSeedingBars(model: BenchModel, say: (line: string) => void): Promise<Bar[]> {
  const bars: Bar[] = []
  for (const uploadKBps of [uplinkKBps, 0]) {
    const fleet = await startTabs(model)
    const how = uploadKBps > 0 ? `uplinks of ${(uploadKBps * 8) / 1000} Mbit/s` : 'bare loopback'
    const choices = { uploadKBps }
    try {
      const seeder = await fleet.lend({ hold: holdAll(model), choices })
      await seeder.readyMs()
      const one = await fetchFrom(fleet, model, seeder, 1, choices)
      say(`${how}: one tab alone ready after ${(one.ms / 1000).toFixed(1)} s`)
      const five = await fetchFrom(fleet, model, seeder, leechers, choices)
      say(
        `${how}: ${leechers} tabs ready after ${(five.ms / 1000).toFixed(1)} s; the seeder sent ${five.seederCopies.toFixed(2)} copies, the web seed ${five.webCopies.toFixed(3)}`,
      )
      bars.push(
        atMost(`one seeder, five tabs, ${how}: copies the seeder uploads`, five.seederCopies, 'copies', 2),
        atMost(`one seeder, five tabs, ${how}: all five ready, over one alone`, five.ms / one.ms, 'times', 4),
        atMost(`one seeder, five tabs, ${how}: copies the relay's web seed sends`, five.webCopies, 'copies', 0.05),
      )
      if (uploadKBps === 0) continue
      const orphaned = await fetchFrom(fleet, model, seeder, leechers, choices, true)
      say(
        `the seeder died at half: ${orphaned.complete} of ${leechers} complete after ${(orphaned.ms / 1000).toFixed(1)} s; it had sent ${orphaned.seederCopies.toFixed(2)} copies, the web seed ${orphaned.webCopies.toFixed(3)}`,
      )
      bars.push(atLeast('one seeder, five tabs: complete although the seeder died at half', orphaned.complete, `of ${leechers}`, leechers))
    } finally {
      await fleet.close()
    }
  }
  return bars
}

const holdAll = (model: BenchModel) => ({ specimen: model, from: 0, to: model.facts.layers })

async function fetchFrom(
  fleet: TabFleet,
  model: BenchModel,
  seeder: TabLender,
  count: number,
  choices: Record<string, unknown>,
  dies = false,
): Promise<Fetched> {
  const copy = model.facts.embedBytes + model.facts.headBytes + model.facts.layerBytes.reduce((sum, bytes) => sum + bytes, 0)
  const sent = async (): Promise<number> => (await seeder.exchanged()).reduce((sum, one) => sum + one.sent, 0)
  const before = { sent: await sent(), web: (await fleet.counts()).webBytes }
  const tabs: TabLender[] = []
  let seederSent: number | null = null
  try {
    const startMs = performance.now()
    tabs.push(...(await Promise.all(Array.from({ length: count }, () => fleet.lend({ hold: holdAll(model), choices })))))
    const all = Promise.all(tabs.map((tab) => tab.readyMs()))
    all.catch(() => {}) // awaited below
    if (dies) {
      await halfWay(tabs)
      seederSent = (await sent()) - before.sent
      await seeder.crash()
    }
    const times = await all
    const wallMs = performance.now() - startMs
    if (seederSent === null) {
      // The page counts once a second.
      await new Promise((resolve) => setTimeout(resolve, 1500))
      seederSent = (await sent()) - before.sent
    }
    const webCopies = ((await fleet.counts()).webBytes - before.web) / copy
    // Tabs are opened together: the slowest click to its ready, which leaves out how long a browser takes to open five windows.
    return { ms: Math.min(wallMs, Math.max(...times)), seederCopies: seederSent / copy, webCopies, complete: times.length }
  } finally {
    await Promise.all(tabs.map((tab) => tab.close().catch(() => {})))
  }
}

/** Resolves when the tabs hold half of their bytes, all together. */
async function halfWay(tabs: TabLender[]): Promise<void> {
  for (;;) {
    const shares = await Promise.all(tabs.map(({ page }) => page.evaluate(() => document.querySelector('progress')?.value ?? 0)))
    if (shares.reduce((sum, share) => sum + share, 0) >= tabs.length / 2) return
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
}
