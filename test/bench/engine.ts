// `meadow bench engine`: speed and exactness of the engine, side by side with others on this machine, and every promise of the project about it.
// `node test/bench/engine.ts [--json] [--quick] [--only contest,batch,gpu,perplexity,tab,page,same] [--gguf FILE] [--rounds 5]`. With --json the last line is one object { rows, bars }.
// Everything said on the way goes to stderr. Takes some ten minutes on two cores; --quick a few, with fewer rounds and shorter texts.
import { parseArgs } from 'node:util'
import { openTokenizer } from '../../protocol/model/tokenizer.ts'
// @ts-expect-error plain JavaScript without types
import { ensureBuilt } from '../../scripts/bootstrap.mjs'
import { atMost, type Bar } from './bars/bar.ts'
import { batchBars } from './bars/batch.ts'
import { chatPageBars } from './bars/chat-page.ts'
import { perplexityBars, prose } from './bars/perplexity.ts'
import { gpuBars, peerBars } from './bars/speed.ts'
import { tabBars } from './bars/tab.ts'
import { type Browser, launchChromium, launchFirefox } from './browsers.ts'
import { type Contestant, contest, type Row } from './contest.ts'
import { meadowDeno, meadowNode, meadowTab, nodeLlama, otherShares, type Ring, routesOf, wllama } from './contestants.ts'
import { ggufFile, packageOf, shardNamed } from './model.ts'
import { buildPage } from './page/build.ts'
import { installPeers, peersFolder } from './peers.ts'
import { decodeTokens, prompt } from './prompt.ts'
import { sameAnswer } from './same-answer.ts'
import { serve } from './serve.ts'
import { barTable, rowTable } from './table.ts'

const parts = ['contest', 'batch', 'gpu', 'perplexity', 'tab', 'page', 'same'] as const
type Part = (typeof parts)[number]

/** Above this the numbers of a contest are worth little. */
const busyShareMax = 0.3

/** Tokens decoded on WebGPU in software, where a token takes a quarter of a second. */
const softwareTokens = 16

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    quick: { type: 'boolean' },
    only: { type: 'string' },
    gguf: { type: 'string' },
    rounds: { type: 'string' },
    tokens: { type: 'string' },
    text: { type: 'string', multiple: true },
  },
})
const only = values.only?.split(',')
for (const name of only ?? []) if (!parts.includes(name as Part)) throw new Error(`--only knows ${parts.join(', ')}, not ${name}`)
const wanted = (part: Part): boolean => !only || only.includes(part)
/** Medians of five: with three, one round that the machine's neighbours disturbed moved a ratio by a tenth. */
const rounds = Number(values.rounds ?? (values.quick ? 1 : 5))
const say = (line: string): void => console.error(line)

const rows: Row[] = []
const bars: Bar[] = []
const failures: string[] = []

/** A part that fails costs its bars, not the others'. */
async function part(name: Part, body: () => Promise<void>): Promise<void> {
  if (!wanted(name)) return
  say(`— ${name}`)
  try {
    await body()
  } catch (error) {
    failures.push(`${name}: ${error instanceof Error ? (process.env.BENCH_DEBUG ? error.stack : error.message) : error}`)
    say(failures.at(-1) as string)
  }
}

process.once('SIGTERM', () => process.exit(143))
process.once('SIGINT', () => process.exit(130))
await ensureBuilt({ pages: wanted('page') })
if (wanted('contest')) await installPeers()
const gguf = await ggufFile(values.gguf)
const model = await packageOf(gguf, 'w4')
const tokenizer = openTokenizer(await shardNamed(model.source, 'tokenizer'))
const server = await serve(routesOf(model, await buildPage(), peersFolder))
const browsers: Browser[] = []
const launch = async (start: () => Promise<Browser>): Promise<Browser | undefined> => {
  try {
    const browser = await start()
    browsers.push(browser)
    return browser
  } catch (error) {
    say(`no browser: ${error instanceof Error ? error.message : error}`)
    return undefined
  }
}

async function compete(contestants: Contestant[], title: string, attempts: number): Promise<Row[]> {
  const result = await contest(contestants, rounds, say, attempts)
  rows.push(...result.rows)
  failures.push(...result.failures)
  // Other work slows spinning peers more than it slows Meadow: ratios from a busy machine flatter, so they are marked.
  bars.push(atMost(`cores used by others around the runs of ${title}`, result.busiest, 'share', busyShareMax))
  return result.rows
}

try {
  const chromium = wanted('contest') || wanted('gpu') ? await launch(launchChromium) : undefined
  const ring: Ring = { model, prompt: { text: prompt, tokens: tokenizer.encode(prompt) }, count: values.quick ? 24 : decodeTokens, server, chromium }
  await part('contest', async () => {
    const contestants = [1, 2].flatMap((threads) => [
      wllama(ring, threads),
      nodeLlama(ring, threads),
      meadowTab(ring, 'Chromium', 'wasm', threads),
      meadowNode(ring, threads),
    ])
    bars.push(...peerBars(await compete(contestants, 'contest', 3)))
  })
  await part('batch', async () => {
    bars.push(...(await batchBars(model, values.quick ? 8 : 24, say)))
  })
  await part('gpu', async () => {
    const firefox = await launch(launchFirefox)
    const software = { ...ring, firefox, count: softwareTokens }
    const raced = await compete([meadowTab(software, 'Chromium', 'webgpu', 1), meadowTab(software, 'Firefox', 'webgpu', 1), meadowDeno(software)], 'gpu', 1)
    bars.push(...gpuBars(raced, await otherShares(software, say)))
  })
  for (const browser of browsers.splice(0)) await browser.close()
  await part('tab', async () => {
    bars.push(...(await tabBars(model, server.address, rounds, say)))
  })
  await part('page', async () => {
    bars.push(...(await chatPageBars(model, values.quick ? 1 : 3, say)))
  })
  await part('perplexity', async () => {
    bars.push(...(await perplexityBars(model, await packageOf(gguf, 'w8'), [...prose, ...(values.text ?? [])], values.quick ? 2 : 8, say)))
  })
  await part('same', async () => {
    // The short form of same-answer.ts: one cut each and few tokens.
    bars.push(...(await sameAnswer(model, server.address, { tokens: Number(values.tokens ?? (values.quick ? 4 : 12)), cuts: [1, 3] }, say)))
  })
} finally {
  for (const browser of browsers) await browser.close()
  await server.close()
}

if (rows.length > 0) console.log(`\n${rowTable(rows)}`)
if (bars.length > 0) console.log(`\n${barTable(bars)}`)
for (const failure of failures) console.log(`\nnot measured: ${failure}`)
if (values.json) console.log(JSON.stringify({ rows, bars }))
process.exitCode = failures.length === 0 && bars.every((bar) => bar.ok) ? 0 : 1
