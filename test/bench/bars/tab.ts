// What the engine costs a tab: memory beyond the weights with 2,048 positions cached, and the time `auto` takes to choose a device.
import { readFile } from 'node:fs/promises'
import { chromium } from 'playwright-core'
import { chromiumArguments, pathOf } from '../browsers.ts'
import { median } from '../contest.ts'
import type { BenchModel } from '../model.ts'
import { quiet } from '../quiet.ts'
import { atMost, type Bar } from './bar.ts'

const positions = 2048
type InPage = { bench: Record<string, (argument: unknown) => Promise<unknown>> }

/** Resident bytes of the largest renderer process: the tab. Linux only. */
async function tabBytes(pids: number[]): Promise<number> {
  const sizes = await Promise.all(
    pids.map(async (pid) => {
      const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
      return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024
    }),
  )
  return Math.max(...sizes)
}

/** Opens a browser with the bench's page in its only tab. */
async function inFreshTab<T>(
  address: string,
  body: (call: (name: string, argument: unknown) => Promise<unknown>, residentBytes: () => Promise<number>) => Promise<T>,
): Promise<T> {
  const browser = await chromium.launch({ executablePath: await pathOf('chromium'), headless: true, args: chromiumArguments })
  try {
    const session = await browser.newBrowserCDPSession()
    const page = await browser.newPage()
    await page.goto(`${address}/page/index.html`)
    await page.waitForFunction(() => 'bench' in globalThis)
    return await body(
      (name, argument) => page.evaluate(([n, a]) => (globalThis as never as InPage).bench[n as string](a), [name, argument]),
      async () => {
        await page.requestGC()
        const { processInfo } = await session.send('SystemInfo.getProcessInfo')
        return tabBytes(processInfo.filter(({ type }) => type === 'renderer').map(({ id }) => id))
      },
    )
  } finally {
    await browser.close()
  }
}

export async function tabBars(model: BenchModel, address: string, rounds: number, report: (line: string) => void): Promise<Bar[]> {
  const beyond = await inFreshTab(address, async (call, residentBytes) => {
    const empty = await residentBytes()
    await call('open', { package: '/package', backend: 'wasm', threads: 2 })
    const { weights, other } = (await call('memory', { positions })) as { weights: number; other: number }
    const full = await residentBytes()
    const mb = (bytes: number): string => (bytes / 1e6).toFixed(0)
    report(`tab ${mb(full)} MB, empty ${mb(empty)} MB, weights ${mb(weights)} MB; the engine counts ${mb(other)} MB beyond them`)
    // What the engine says and what the process holds: the larger one counts.
    return Math.max(full - empty - weights, other)
  })
  const times: number[] = []
  const cardTimes: number[] = []
  for (let i = 0; i < rounds; i++) {
    for (const asCard of [false, true]) {
      await quiet(20000)
      const { ms, openMs, reason } = await inFreshTab(
        address,
        async (call) => (await call('auto', { package: '/package', modelId: model.model.id, asCard })) as { ms: number; openMs: number; reason: string },
      )
      const what = asCard ? 'auto, the adapter taken for a graphics card,' : 'auto'
      report(`${what} chose in ${ms.toFixed(0)} ms, ${openMs.toFixed(0)} of them for the browser to open a graphics device: ${reason}`)
      if (asCard) cardTimes.push(ms)
      else times.push(ms)
    }
  }
  return [
    atMost('memory in the tab beyond the weights, 2,048 positions', beyond / 1e6, 'MB', 200),
    atMost('time `auto` takes to choose a device', median(times), 'ms', 300),
    atMost('time `auto` takes when the adapter is measured', median(cardTimes), 'ms', 300),
  ]
}
