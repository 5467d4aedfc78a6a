// Meadow's engines in a tab, opened the way the chat page's worker opens them.
import { chooseDevice } from '../../../web/workers/choose.ts'
import { openGpu, openWasm } from '../../../web/workers/devices.ts'
import { folderSource, overHttp } from '../hosts/folder-source.ts'
import { createStation, type Station } from '../hosts/station.ts'

const sourceAt = (address: string) => folderSource(overHttp(address))

/** One device for all engines of the tab, as the chat page has one. */
let gpu: ReturnType<typeof openGpu> | null = null

const station = createStation(async (backend, threads, source, options) => {
  if (backend === 'wasm') return (await openWasm(threads)).open(source, options)
  gpu ??= openGpu()
  const { device, missing } = await gpu
  if (!device) throw new Error(missing)
  return device.open(source, options)
}, sourceAt)

/** How long `auto` takes on a first visit, when nothing is remembered; `openMs` of it is the wait for the browser's graphics device. `asCard`: an adapter in software is measured like a graphics card. */
async function auto({
  package: place,
  modelId,
  asCard = false,
}: {
  package: string
  modelId: string
  asCard?: boolean
}): Promise<{ ms: number; openMs: number; reason: string }> {
  const source = await sourceAt(place)
  const wasm = await openWasm(0)
  let openMs = 0
  const from = performance.now()
  const timedOpen = async (): ReturnType<typeof openGpu> => {
    const opened = await openGpu()
    openMs = performance.now() - from
    return opened.device && asCard ? { ...opened, device: { ...opened.device, software: false } } : opened
  }
  const { reason } = await chooseDevice('auto', wasm, timedOpen, source, modelId, null)
  return { ms: performance.now() - from, openMs, reason }
}

const calls = { ...station, auto }
export type Calls = Station & { auto: typeof auto }

addEventListener('message', async ({ data: { name, argument } }: MessageEvent<{ name: keyof Calls; argument: never }>) => {
  try {
    postMessage({ reply: (await calls[name](argument)) ?? null })
  } catch (error) {
    postMessage({ error: error instanceof Error ? `${error.message}\n${error.stack}` : String(error) })
  }
})
