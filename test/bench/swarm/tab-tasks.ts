// How long the thread of a page is held up: contribute from its click to serving, with the real model and two tabs that pass layers on; the chat asking the swarm; the swarm
// page meanwhile. Twice: as the browser tells a page (long tasks, by the clock), and as the processor's time of each task (tracing), which other programs do not lengthen.
import type { Page } from 'playwright-core'
import { ask as askPage } from '../../browser/site.ts'
import { localPeer, until } from '../../mesh/local-swarm.ts'
import { atMost, type Bar } from '../bars/bar.ts'
import { answer, ask, type BenchModel } from './fleet.ts'
import { startTabs } from './tabs.ts'

const longMs = 200
const answerTokens = 64

const observer = `
  globalThis.longTasks = []
  new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) longTasks.push({ startTime, duration })
  }).observe({ type: 'longtask', buffered: true })`

interface TraceEvent {
  name: string
  pid: number
  tid: number
  tdur?: number
  args?: { name?: string; data?: { url?: string } }
}

export async function tabTaskBars(model: BenchModel, say: (line: string) => void): Promise<Bar[]> {
  const fleet = await startTabs(model)
  try {
    const session = await fleet.browser.newBrowserCDPSession()
    const events: TraceEvent[] = []
    // The browser's own windows are pages too (one for each context, 60 to 100 ms of its own start): only processes that show pages of ours count.
    const ours = new Set<number>()
    session.on('Tracing.dataCollected', ({ value }) => {
      for (const { name, pid, tid, tdur, args } of value as unknown as TraceEvent[]) {
        if (name === 'CommitLoad' && args?.data?.url?.startsWith(fleet.url)) ours.add(pid)
        if (name === 'thread_name' || (name.endsWith('RunTask') && (tdur ?? 0) > 20_000))
          events.push({ name, pid, tid, tdur, ...(args?.name ? { args: { name: args.name } } : {}) })
      }
    })
    const complete = new Promise((resolve) => session.on('Tracing.tracingComplete', resolve))
    await session.send('Tracing.start', { transferMode: 'ReportEvents', traceConfig: { includedCategories: ['toplevel', 'devtools.timeline'] } })

    const open = async (path: string): Promise<Page> => {
      const page = await (await fleet.browser.newContext()).newPage()
      page.setDefaultTimeout(180_000)
      await page.addInitScript({ content: observer })
      await page.goto(`${fleet.url}${path}`)
      return page
    }
    const swarm = await open('/swarm/')
    const hold = { specimen: model, from: 0, to: model.facts.layers }
    const first = await fleet.lend({ hold })
    await first.readyMs()
    const second = await fleet.lend({ hold })
    await second.readyMs()
    const chat = await open(`/chat/?where=swarm&model=${model.id}`)
    await askPage(chat, 'Write a long story about a fox and a crow.')
    const { relays } = (await (await fetch(`${fleet.url}/mesh.json`)).json()) as { relays: string[] }
    const peer = await localPeer({ relays: relays.slice(0, 1), webrtc: true })
    await until(() => peer.machine.table.all().filter((one) => one.held.some((held) => held.ready)).length >= 2)
    await answer(peer, ask(model, 'Name the months of the year.', answerTokens), model.facts, false)
    await peer.close()

    await session.send('Tracing.end')
    await complete
    const threads = new Set(
      events.filter(({ name, pid, args }) => name === 'thread_name' && args?.name === 'CrRendererMain' && ours.has(pid)).map(({ pid, tid }) => `${pid} ${tid}`),
    )
    const cpu = events.filter(({ name, pid, tid }) => name !== 'thread_name' && threads.has(`${pid} ${tid}`)).map(({ tdur = 0 }) => tdur / 1000)
    const wallOf = (page: Page): Promise<number[]> =>
      page.evaluate(() => (globalThis as unknown as { longTasks: { duration: number }[] }).longTasks.map(({ duration }) => duration))
    const wall: Record<string, number[]> = {
      'contribute, first': (await first.notes()).longTasks.map(({ duration }) => duration),
      'contribute, second': (await second.notes()).longTasks.map(({ duration }) => duration),
      chat: await wallOf(chat),
      swarm: await wallOf(swarm),
    }
    for (const [page, tasks] of Object.entries(wall))
      say(`${page}: longest task ${Math.max(0, ...tasks).toFixed(0)} ms by the clock, ${tasks.filter((ms) => ms > longMs).length} above ${longMs} ms`)
    if (cpu.length === 0) throw new Error('the trace has no task of our pages above 20 ms of the processor: it does not see them')
    say(`longest task ${Math.max(0, ...cpu).toFixed(0)} ms of the processor`)
    return [
      atMost(
        `main-thread tasks over ${longMs} ms in any page, by the clock`,
        Object.values(wall)
          .flat()
          .filter((ms) => ms > longMs).length,
        'tasks',
        0,
      ),
      atMost(`main-thread tasks over ${longMs} ms in any page, of the processor's time`, cpu.filter((ms) => ms > longMs).length, 'tasks', 0),
    ]
  } finally {
    await fleet.close()
  }
}
