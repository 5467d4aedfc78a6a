// What any host with WebGPU (Deno, Chromium, Firefox) must show: every step of every architecture equal to the reference, however the kernels are cut and the work is split.
// Each check is a sentence with a function that returns null, or says what is wrong. Runs the same in a page and in Deno; started by host.ts.
import { EngineError, type Row, type SegmentEngine, type StepValues, type Want } from '../../../protocol/engine/engine.ts'
import { chooseTokens } from '../../../protocol/engine/generate.ts'
import { createReferenceEngine } from '../../../protocol/engine/reference.ts'
import { sample } from '../../../protocol/engine/sampler.ts'
import { random, specimenCore, specimenPackage } from '../../../protocol/engine/specimen.ts'
import { firstDivergence } from '../../../protocol/engine/trace.ts'
import { createWebGpuEngine, type WebGpuEngine, type WebGpuOptions } from '../../../protocol/engine/webgpu/engine.ts'
import { usage } from '../../../protocol/engine/webgpu/memory.ts'
import { type Compiled, compile } from '../../../protocol/engine/webgpu/pipelines.ts'
import { Readback } from '../../../protocol/engine/webgpu/readback.ts'
import { Sampling, samplingVariants } from '../../../protocol/engine/webgpu/sampling.ts'
import { type Tuning, tuningOf } from '../../../protocol/engine/webgpu/tuning.ts'
import { type Architecture, architectures, type ModelSource, type TensorFormat } from '../../../protocol/model/manifest.ts'
import { samplerCases } from '../../tiny/sampler-cases.ts'

export interface Host {
  gpu: GPU
  shaders: Record<string, string>
  slowReadback: boolean
  now(): number
}

export interface Outcome {
  name: string
  /** null when the check holds. */
  wrong: string | null
  ms: number
}

/** Ways to cut the kernels: what a GPU would get, what a processor would, and odd ones that force every branch. */
const cuts: Record<string, Partial<Tuning>> = {
  'as a graphics card would': {
    form: 'planes',
    rows: 'quad',
    pairs: false,
    lanesOne: 8,
    split: 16,
    lanesMany: 16,
    tokens: 8,
    threads: 128,
    attentionThreads: 64,
    rowsMax: 256,
    tileFrom: 16,
    tile: 1,
  },
  'as a processor would': {
    form: 'wide',
    rows: 'strided',
    pairs: true,
    lanesOne: 16,
    split: 1,
    lanesMany: 16,
    tokens: 1,
    threads: 8,
    attentionThreads: 16,
    rowsMax: 64,
    tileFrom: 0xffffffff,
  },
  'with plain products in the place of packed ones': {
    form: 'planes',
    packed: false,
    rows: 'strided',
    pairs: false,
    lanesOne: 4,
    split: 3,
    lanesMany: 4,
    tokens: 2,
    threads: 64,
    attentionThreads: 32,
  },
  'with matrices in small parts, small batches and little scratch': {
    form: 'wide',
    rows: 'quad',
    pairs: true,
    partBytesMax: 6000,
    submitWorkMax: 100_000,
    rowsMax: 7,
    scratchBytesMax: 8000,
    threads: 2,
    attentionThreads: 4,
    tileFrom: 1,
    tile: 2,
  },
}

const rowsOf = (sequence: number, from: number, count: number): Row[] =>
  Array.from({ length: count }, (_, i) => ({ sequence, position: from + i, token: ((from + i) * 137 + sequence * 31 + 11) % 301 }))
const lastOf = (rows: Row[]): Want[] => rows.map((_, i) => (i === rows.length - 1 ? 'logits' : 'nothing'))

async function traceOf(engine: SegmentEngine, rows: Row[], wants: Want[], boundary?: Int32Array): Promise<StepValues[]> {
  const steps: StepValues[] = []
  await engine.run(rows, wants, boundary, ({ label, values }) => steps.push({ label, values: Array.from(values) }))
  return steps
}

const said = (value: unknown): string | null => (value === null ? null : JSON.stringify(value))
const differs = (a: ArrayLike<number>, b: ArrayLike<number>): string | null => {
  if (a.length !== b.length) return `${a.length} values against ${b.length}`
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return `index ${i}: ${a[i]} expected, ${b[i]} found`
  return null
}

/** All checks by name. One device serves them; the last one destroys it. */
export function checksOf(host: Host): [string, () => Promise<string | null>][] {
  let device: GPUDevice | null = null
  const errors: string[] = []
  const openDevice = async (): Promise<GPUDevice> => {
    if (device) return device
    const adapter = await host.gpu.requestAdapter()
    if (!adapter) throw new Error('no WebGPU adapter')
    device = await adapter.requestDevice()
    device.addEventListener('uncapturederror', (event) => errors.push(event.error.message))
    return device
  }
  const open = async (source: ModelSource, options: Partial<WebGpuOptions> = {}): Promise<WebGpuEngine> => {
    return createWebGpuEngine(await openDevice(), source, {
      shaders: host.shaders,
      languageFeatures: host.gpu.wgslLanguageFeatures,
      slowReadback: host.slowReadback,
      now: host.now,
      ...options,
    })
  }
  const against = async (
    source: ModelSource,
    options: Partial<WebGpuOptions>,
    compare: (reference: SegmentEngine, engine: WebGpuEngine) => Promise<string | null>,
  ): Promise<string | null> => {
    const engine = await open(source, options)
    try {
      const wrong = await compare(await createReferenceEngine(source, { segment: options.segment }), engine)
      return wrong ?? (errors.length > 0 ? `WebGPU error: ${errors.splice(0).join('; ')}` : null)
    } finally {
      await engine.close()
    }
  }
  /** A batch of two sequences, then one row more, traced in both. */
  const sameSteps = async (reference: SegmentEngine, engine: WebGpuEngine): Promise<string | null> => {
    for (const rows of [[...rowsOf(0, 0, 21), ...rowsOf(5, 0, 2)], rowsOf(0, 21, 1)]) {
      const wants: Want[] = rows.map((_, i) => (i % 5 === 0 ? 'logits' : 'nothing'))
      const wrong = firstDivergence(await traceOf(reference, rows, wants), await traceOf(engine, rows, wants))
      if (wrong) return said(wrong)
    }
    return null
  }
  const checks: [string, () => Promise<string | null>][] = []
  const kinds: [string, ((name: string) => TensorFormat) | undefined, boolean][] = [
    ['mixed formats', undefined, false],
    ['any bytes as weights', undefined, true],
    ['int8 rows throughout', () => 'w8', true],
    ['int8 groups throughout', () => 'g8', true],
    ['4-bit groups throughout', () => 'w4', true],
  ]
  for (const architecture of architectures) {
    for (const [how, tuning] of Object.entries(cuts)) {
      checks.push([
        `every step of ${architecture} equals the reference, cut ${how}`,
        () => against(specimenPackage(specimenCore(architecture), 3), { tuning }, sameSteps),
      ])
    }
  }
  for (const [kind, format, wild] of kinds.slice(1)) {
    for (const how of ['as a graphics card would', 'as a processor would']) {
      const source = (): ModelSource => specimenPackage(specimenCore('qwen2'), 11, format, wild)
      checks.push([`every step equals the reference with ${kind}, cut ${how}`, () => against(source(), { tuning: cuts[how] }, sameSteps)])
    }
  }
  checks.push([
    'every step equals the reference when boundaries take extreme values',
    () => against(specimenPackage(specimenCore('gemma3'), 5, undefined, true), { segment: { from: 2, to: 6 } }, extremes),
  ])
  checks.push([
    'every step equals the reference with heads of 128 and 256 dimensions',
    async () => {
      for (const [headDim, tuning] of [
        [128, cuts['as a graphics card would']],
        [128, { ...cuts['as a processor would'], threads: 2, attentionThreads: 4 }],
        [256, cuts['as a processor would']],
        [256, { ...cuts['as a graphics card would'], form: 'wide' }],
      ] as const) {
        const source = specimenPackage(specimenCore('qwen3', { headDim, heads: 2, kvHeads: 1, layers: 1 }), headDim)
        const wrong = await against(source, { tuning }, sameSteps)
        if (wrong) return `${headDim}: ${wrong}`
      }
      return null
    },
  ])
  checks.push([
    'logits equal the reference over 200 positions, while the cache grows and a window slides',
    () => against(specimenPackage(specimenCore('gemma3'), 7), { tuning: { tileFrom: 64, tile: 1 } }, long),
  ])
  checks.push([
    'prompts cut in any batches, rows mixed with other sequences, truncated and written again give the same logits',
    () => against(specimenPackage(specimenCore('llama'), 8), {}, batches),
  ])
  checks.push(['a model cut in two gives the same boundary and logits', () => cutInTwo(open)])
  checks.push(['greedy tokens read back as numbers are the largest logits, the lowest id on ties', () => greedy(open)])
  for (const [how, threads] of [
    ['as a graphics card would', 128],
    ['as a processor would', 8],
    ['by two threads', 2],
  ] as const) {
    checks.push([
      `tokens drawn equal the reference for every setting and shape of logits, cut ${how}`,
      async () => (await drawCases(host, await openDevice(), { threads })) ?? (errors.length > 0 ? `WebGPU error: ${errors.splice(0).join('; ')}` : null),
    ])
  }
  checks.push([
    'tokens that an engine chooses are those the reference draws from its logits, for rows of several sequences with settings of their own',
    () => against(specimenPackage(specimenCore('llama'), 5), {}, chosen),
  ])
  checks.push(['wrong calls are refused with a reason and leave the engine as it was', () => refusals(open)])
  checks.push([
    'a destroyed device is an error of kind lost, for the run under way and for the next',
    async () => {
      const engine = await open(specimenPackage(specimenCore('llama'), 1))
      await engine.run(rowsOf(0, 0, 3), lastOf(rowsOf(0, 0, 3)))
      const running = engine.run(rowsOf(0, 3, 40), lastOf(rowsOf(0, 3, 40))).then(
        () => 'answered',
        (e) => (e instanceof EngineError ? e.kind : String(e)),
      )
      device!.destroy()
      device = null
      const first = await running
      const second = await engine.run(rowsOf(0, 3, 1), ['logits']).then(
        () => 'answered',
        (e) => (e instanceof EngineError ? e.kind : String(e)),
      )
      await engine.close()
      return (first === 'lost' || first === 'answered') && second === 'lost' ? null : `${first}, then ${second}`
    },
  ])
  return checks
}

async function extremes(reference: SegmentEngine, engine: WebGpuEngine): Promise<string | null> {
  const { hidden } = engine.manifest.core
  const next = random(99)
  const most = 0x7fffffff
  const fills: ((i: number) => number)[] = [
    () => 0,
    () => most,
    () => -most,
    (i) => (i % 2 ? most : -most),
    (i) => (i === 3 ? 1 : 0),
    () => (next() % 3) - 1,
    () => next() | 1,
    () => (next() | 1) >> (next() % 31),
    (i) => (i === 7 ? -most : next() % 100),
  ]
  const boundary = new Int32Array(fills.length * hidden)
  for (const [row, fill] of fills.entries()) for (let i = 0; i < hidden; i++) boundary[row * hidden + i] = Math.max(-most, fill(i))
  const rows = rowsOf(0, 0, fills.length)
  return said(
    firstDivergence(
      await traceOf(
        reference,
        rows,
        rows.map(() => 'nothing'),
        boundary,
      ),
      await traceOf(
        engine,
        rows,
        rows.map(() => 'nothing'),
        boundary,
      ),
    ),
  )
}

async function long(reference: SegmentEngine, engine: WebGpuEngine): Promise<string | null> {
  for (const [from, count] of [
    [0, 60],
    [60, 30],
    [90, 1],
    [91, 100],
    [191, 9],
  ]) {
    const rows = rowsOf(2, from, count)
    const expected = await reference.run(rows, lastOf(rows))
    const found = await engine.run(rows, lastOf(rows))
    const wrong = differs(expected.logits.at(-1)!, found.logits.at(-1)!)
    if (wrong) return `after position ${from + count}: ${wrong}`
  }
  return null
}

async function batches(reference: SegmentEngine, engine: WebGpuEngine): Promise<string | null> {
  const prompt = rowsOf(0, 0, 70)
  const expected = Array.from((await reference.run(prompt, lastOf(prompt))).logits.at(-1)!)
  for (const size of [64, 1, 7, 33]) {
    for (let from = 0; from < prompt.length; from += size) {
      const mine = prompt.slice(from, from + size)
      const other = rowsOf(9, engine.manifest.core.vocab > 0 ? from / size : 0, 1)
      const rows = from / size < 8 && size > 1 ? [...other, ...mine] : mine
      const { logits } = await engine.run(rows, lastOf(rows))
      const wrong = from + size >= prompt.length ? differs(expected, logits.at(-1)!) : null
      if (wrong) return `batches of ${size}: ${wrong}`
    }
    engine.truncate(9, 0)
    engine.truncate(0, size === 64 ? 0 : 0)
  }
  // Twenty positions kept, the rest written again.
  await engine.run(prompt.slice(0, 60), lastOf(prompt.slice(0, 60)))
  engine.truncate(0, 20)
  const again = await engine.run(prompt.slice(20), lastOf(prompt.slice(20)))
  return differs(expected, again.logits.at(-1)!)
}

type Open = (source: ModelSource, options?: Partial<WebGpuOptions>) => Promise<WebGpuEngine>

async function cutInTwo(open: Open): Promise<string | null> {
  for (const architecture of ['llama', 'gemma3'] satisfies Architecture[]) {
    const source = specimenPackage(specimenCore(architecture), 4)
    const rows = rowsOf(0, 0, 30)
    const whole = await open(source)
    const expected = Array.from((await whole.run(rows, lastOf(rows))).logits.at(-1)!)
    await whole.close()
    const first = await open(source, { segment: { from: 0, to: 2 } })
    const second = await open(source, { segment: { from: 2, to: source.manifest.core.layers } })
    const { boundary } = await first.run(
      rows,
      rows.map(() => 'nothing'),
    )
    const found = (await second.run(rows, lastOf(rows), boundary!)).logits.at(-1)!
    const wrong = differs(expected, found)
    await first.close()
    await second.close()
    if (wrong) return `${architecture}: ${wrong}`
  }
  return null
}

async function greedy(open: Open): Promise<string | null> {
  for (const [kind, source] of [
    ['random', specimenPackage(specimenCore('llama', { vocab: 9001 }), 6)],
    ['all weights equal', equalHead(specimenPackage(specimenCore('llama', { vocab: 9001 }), 6))],
  ] as const) {
    const engine = await open(source)
    const rows = rowsOf(0, 0, 9)
    const wants: Want[] = rows.map((_, i) => (i % 2 ? 'logits' : 'nothing'))
    const { logits } = await engine.run(rows, wants)
    const expected = logits.map((row) => (row ? row.reduce((best, v, i) => (v > row[best] ? i : best), 0) : null))
    engine.truncate(0, 0)
    const found = await engine.runGreedy(rows, wants)
    await engine.close()
    if (JSON.stringify(expected) !== JSON.stringify(found)) return `${kind}: ${expected} expected, ${found} found`
  }
  return null
}

/** Every case of a small vocabulary, and of one that several workgroups share, several rows at a time. */
async function drawCases(host: Host, device: GPUDevice, change: Partial<Tuning>): Promise<string | null> {
  const tuning: Tuning = { ...tuningOf(undefined, host.gpu.wgslLanguageFeatures), ...change }
  const compiled: Compiled = { pipelines: new Map(), layouts: new Map() }
  await compile(device, samplingVariants, 64, host.shaders, tuning, compiled)
  const lost = new Promise<never>(() => {})
  const readback = new Readback(device, host.slowReadback ? () => new Promise((resolve) => setTimeout(resolve, 0)) : null, lost)
  try {
    for (const vocab of [5, 301, 9001]) {
      const rowsMax = 7
      const stride = Math.ceil(vocab / 16) * 16
      const logits = device.createBuffer({ size: rowsMax * stride * 4, usage: usage.storage | usage.copyDst })
      const sampling = new Sampling({ device, vocab, stride, rowsMax, logits, compiled })
      const cases = samplerCases(vocab, vocab)
      try {
        for (let at = 0; at < cases.length; at += rowsMax) {
          // The first ones alone, so that passes no row needs are left out.
          const some = cases.slice(at, at + rowsMax)
          for (const rows of at === 0 ? some.map((one) => [one]) : [some]) {
            for (const [i, row] of rows.entries()) device.queue.writeBuffer(logits, i * stride * 4, row.logits as Int32Array<ArrayBuffer>)
            const draws = rows.map(({ draw }) => draw)
            const encoder = device.createCommandEncoder()
            sampling.prepare(encoder, draws)
            const pass = encoder.beginComputePass()
            sampling.encode(pass, draws)
            pass.end()
            encoder.copyBufferToBuffer(sampling.chosen, 0, readback.target(rowsMax * 4), 0, rows.length * 4)
            const found = await readback.submit(encoder, rows.length)
            for (const [i, { name, logits, draw }] of rows.entries()) {
              const expected = sample(logits, draw.sampler, draw.key, draw.position, draw.recent)
              if (found[i] !== expected) return `${name}, of ${vocab}: ${expected} expected, ${found[i]} found`
            }
          }
        }
      } finally {
        sampling.destroy()
        logits.destroy()
      }
    }
  } finally {
    readback.destroy()
  }
  return null
}

async function chosen(reference: SegmentEngine, engine: WebGpuEngine): Promise<string | null> {
  const draws = samplerCases(301, 9)
    .slice(0, 21)
    .map(({ draw }) => draw)
  for (let at = 0; at < draws.length; at += 3) {
    const rows = [0, 1, 2].flatMap((sequence) => [0, 1].map((i) => ({ sequence, position: (at / 3) * 2 + i, token: (at * 31 + sequence * 7 + i) % 301 })))
    const wanted = rows.map((_, i) => (i % 2 ? draws[at + (i >> 1)] : null))
    const wrong = JSON.stringify(await engine.choose(rows, wanted))
    const expected = JSON.stringify(await chooseTokens(reference, rows, wanted))
    if (wrong !== expected) return `draws ${at} to ${at + 2}: ${expected} expected, ${wrong} found`
  }
  return null
}

/** The same source with a head whose rows are all the same: every logit ties. */
function equalHead(source: ModelSource): ModelSource {
  const embed = source.manifest.tensors.find((t) => t.name === 'embed')!
  return {
    manifest: source.manifest,
    async readShard(index, into) {
      await source.readShard(index, into)
      if (index === embed.shard) into.fill(7, embed.offset, embed.offset + embed.bytes)
    },
  }
}

async function refusals(open: Open): Promise<string | null> {
  const engine = await open(specimenPackage(specimenCore('llama'), 2), { kvTokensMax: 40 })
  const kindOf = (work: Promise<unknown>): Promise<string> =>
    work.then(
      () => 'nothing',
      (e) => (e instanceof EngineError ? e.kind : String(e)),
    )
  const rows = rowsOf(0, 0, 5)
  const before = Array.from((await engine.run(rows, lastOf(rows))).logits.at(-1)!)
  const kinds = [
    await kindOf(engine.run(rowsOf(0, 9, 1), ['logits'])),
    await kindOf(engine.run([{ sequence: 0, position: 5, token: 301 }], ['logits'])),
    await kindOf(engine.run(rowsOf(0, 5, 36), lastOf(rowsOf(0, 5, 36)))),
    await kindOf(engine.run([], [])),
  ]
  engine.truncate(0, 4)
  const after = (await engine.run(rows.slice(4), ['logits'])).logits[0]!
  const wrong = differs(before, after)
  await engine.close()
  const closed = await kindOf(engine.run(rows, lastOf(rows)))
  const found = [...kinds, closed].join(' ')
  return wrong ?? (found === 'input input memory input input' ? null : found)
}

/** Runs the checks whose name holds `only`, one after the other. */
export async function runChecks(host: Host, only = '', each: (outcome: Outcome) => void = () => {}): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  for (const [name, check] of checksOf(host)) {
    if (!name.includes(only)) continue
    const from = host.now()
    let wrong: string | null
    try {
      wrong = await check()
    } catch (error) {
      wrong = error instanceof Error ? `${error.message} ${error.stack ?? ''}` : String(error)
    }
    outcomes.push({ name, wrong, ms: Math.round(host.now() - from) })
    each(outcomes.at(-1)!)
  }
  return outcomes
}
