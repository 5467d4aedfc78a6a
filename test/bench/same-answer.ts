// One question, one answer: the same output hash from every implementation, host, thread count, batch size and cut of the model.
// `node test/bench/same-answer.ts [--tokens 256] [--json] [--only node,chromium,firefox,deno,reference] [--gguf FILE]`. The reference stands first and is right by definition.
import { parseArgs } from 'node:util'
import { greedy, samplerOf } from '../../protocol/engine/sampler.ts'
import { openTokenizer } from '../../protocol/model/tokenizer.ts'
// @ts-expect-error plain JavaScript without types
import { ensureBuilt } from '../../scripts/bootstrap.mjs'
import { atMost, type Bar } from './bars/bar.ts'
import { launchChromium, launchFirefox, type Tab } from './browsers.ts'
import { type Child, spawnChild } from './child.ts'
import { denoCommand, nodeCommand, routesOf } from './contestants.ts'
import type { Backend, Exam } from './hosts/station.ts'
import { type BenchModel, ggufFile, packageOf, shardNamed } from './model.ts'
import { buildPage } from './page/build.ts'
import { serve } from './serve.ts'

interface Candidate {
  host: 'node' | 'chromium' | 'firefox' | 'deno'
  backend: Backend
  threads: number
  /** The model is cut in as many segments. */
  cuts: number[]
}

const candidates: Candidate[] = [
  { host: 'node', backend: 'reference', threads: 1, cuts: [1, 2, 3, 30] },
  { host: 'node', backend: 'wasm', threads: 1, cuts: [1, 2, 3, 30] },
  { host: 'node', backend: 'wasm', threads: 2, cuts: [1, 2, 3, 30] },
  { host: 'node', backend: 'wasm', threads: 4, cuts: [1, 2, 3] },
  { host: 'chromium', backend: 'wasm', threads: 2, cuts: [1, 2, 3, 30] },
  { host: 'chromium', backend: 'webgpu', threads: 1, cuts: [1, 2, 3, 30] },
  { host: 'firefox', backend: 'webgpu', threads: 1, cuts: [1, 2, 3, 30] },
  { host: 'deno', backend: 'webgpu', threads: 1, cuts: [1, 2, 3, 30] },
]

const sampled = samplerOf({ temperature: 0.8, topK: 40, topP: 0.95, minP: 0.05, repeatPenalty: 1.1 })
const question = 'Why do rivers bend?'

export interface Options {
  tokens: number
  only?: string[]
  /** Cuts tried of each candidate, all when empty. */
  cuts?: number[]
}

interface Host {
  call(name: string, argument?: unknown): Promise<unknown>
  stop(): Promise<void>
}

/** Opens hosts as they are needed. A tab per browser, a process per candidate. */
async function hostsFor(address: string): Promise<{ open(c: Candidate): Promise<Host>; close(): Promise<void> }> {
  const browsers = new Map<string, Awaited<ReturnType<typeof launchChromium>>>()
  const ofChild = (child: Child): Host => ({ call: (name, argument) => child.call(name, argument), stop: () => child.stop() })
  const ofTab = (tab: Tab): Host => ({ call: (name, argument) => tab.call(name, argument), stop: () => tab.close() })
  return {
    async open({ host }) {
      if (host === 'node') return ofChild(spawnChild(...nodeCommand()))
      if (host === 'deno') return ofChild(spawnChild(...denoCommand()))
      if (!browsers.has(host)) browsers.set(host, host === 'chromium' ? await launchChromium() : await launchFirefox())
      return ofTab(await (browsers.get(host) as Awaited<ReturnType<typeof launchChromium>>).open(`${address}/page/index.html`))
    },
    async close() {
      for (const browser of browsers.values()) await browser.close()
    },
  }
}

/** Number of answers that differ from the first one given, over number asked; failures to answer count as different. */
export async function sameAnswer(model: BenchModel, address: string, options: Options, report: (line: string) => void): Promise<Bar[]> {
  const tokenizer = openTokenizer(await shardNamed(model.source, 'tokenizer'))
  const prompt = tokenizer.encodePrompt(question)
  const exams = [greedy, sampled].flatMap((sampler) =>
    [1, 0].map((batch): Exam => ({ modelId: model.model.id, prompt, count: options.tokens, sampler, seed: 20251121, batch })),
  )
  const truth = new Map<string, { hash: string; tokens: number[] }>()
  const hosts = await hostsFor(address)
  let asked = 0
  let different = 0
  try {
    for (const candidate of candidates) {
      const { host, backend, threads } = candidate
      if (options.only?.length && !options.only.includes(backend === 'reference' ? 'reference' : host)) continue
      const cutsAsked = candidate.cuts.filter((c) => !options.cuts?.length || options.cuts.includes(c))
      const name = `${host} ${backend} × ${threads}`
      let self: Host | undefined
      try {
        self = await hosts.open(candidate)
        for (const cuts of cutsAsked) {
          const from = performance.now()
          await self.call('open', { package: host === 'node' || host === 'deno' ? model.folder : '/package', backend, threads, cuts })
          const verdicts: string[] = []
          for (const exam of exams) {
            const key = exam.sampler === greedy ? 'greedy' : 'sampled'
            const { hash, tokens } = (await self.call('answer', exam)) as { hash: string; tokens: number[] }
            asked++
            if (!truth.has(key)) truth.set(key, { hash, tokens })
            const expected = truth.get(key) as { hash: string; tokens: number[] }
            const same = hash === expected.hash
            if (!same) different++
            const at = tokens.findIndex((t, i) => t !== expected.tokens[i])
            verdicts.push(
              `${key}${exam.batch === 1 ? ' one by one' : ' batched'} ${same ? hash.slice(0, 8) : `DIFFERS from token ${at}: ${tokens[at]} instead of ${expected.tokens[at]}`}`,
            )
          }
          report(`${name}, ${cuts} segment${cuts === 1 ? '' : 's'}: ${verdicts.join(', ')} (${((performance.now() - from) / 1000).toFixed(0)} s)`)
          await self.call('close')
        }
      } catch (error) {
        different++
        asked++
        report(`${name}: ${error instanceof Error ? error.message : error}`)
      } finally {
        await self?.stop().catch(() => undefined)
      }
    }
  } finally {
    await hosts.close()
  }
  if (asked === 0) different = 1
  const hash = [...truth].map(([kind, { hash }]) => `${kind} ${hash.slice(0, 8)}`).join(', ')
  return [atMost(`answers that differ, of ${asked} with ${options.tokens} tokens (${hash})`, different, 'answers', 0)]
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      tokens: { type: 'string', default: '256' },
      json: { type: 'boolean' },
      only: { type: 'string' },
      cuts: { type: 'string' },
      gguf: { type: 'string' },
      weights: { type: 'string', default: 'auto' },
    },
  })
  await ensureBuilt({ pages: false })
  const model = await packageOf(await ggufFile(values.gguf), values.weights as 'auto')
  const tabs = !values.only || /chromium|firefox/.test(values.only)
  const server = await serve(routesOf(model, tabs ? await buildPage() : '', ''))
  try {
    const bars = await sameAnswer(
      model,
      server.address,
      { tokens: Number(values.tokens), only: values.only?.split(','), cuts: values.cuts?.split(',').map(Number) },
      (line) => console.error(line),
    )
    for (const b of bars) console.log(`${b.ok ? 'ok     ' : 'MISSED '} ${b.name}: ${b.value}`)
    if (values.json) console.log(JSON.stringify({ rows: [], bars }))
    process.exitCode = bars.every((b) => b.ok) ? 0 : 1
  } finally {
    await server.close()
  }
}
