// What disputes cost. Prints one JSON object whose `bars` are the figures of the issue:   node test/bench/dispute.ts [--real] [--json]
// Without --real: evidence and judge time of every op of every architecture and format at the largest shape, and memory of a judge that holds no model.
// --only alterations --alterations N: nothing but single alterations of the default model.
// With --real: also a dispute over a 256-token answer of the default model, single alterations of it (--alterations N), and what checkability costs an honest host.
import { spawnSync } from 'node:child_process'
import { createHash, hash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { encode } from '@ipld/dag-cbor'
import { TokenList } from '../../protocol/engine/proof/tokens.ts'
import { firstDifference } from '../../protocol/engine/proof/trace.ts'
import { greedy } from '../../protocol/engine/sampler.ts'
import { random } from '../../protocol/engine/specimen.ts'
import { hashTagged, setSha256 } from '../../protocol/hash.ts'
import { encodeCore } from '../../protocol/model/identity.ts'
import type { MatrixFormat } from '../../protocol/model/manifest.ts'
import { type Alteration, answerOf, playReal, type RealModel, realClaim, realModel, realTrace, realWrong, withBitChanged } from './dispute-model.ts'
import { type Case, Forge, largestCores } from './dispute-tiles.ts'

setSha256(
  (bytes) => hash('sha256', bytes, 'buffer'),
  () => createHash('sha256'),
)

const { values: options } = parseArgs({
  options: {
    real: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    alterations: { type: 'string', default: '0' },
    only: { type: 'string' },
    tokens: { type: 'string', default: '256' },
  },
})
const say = (line: string): void => void (options.json || console.error(line))

interface Judged {
  label: string
  bytes: number
  firstMs: number
  medianMs: number
  mostMs: number
  verdict: string
}

/** Label without its layer: what kind of stage it is. */
const kindOf = (label: string): string => label.replace(/^\d+\./, '')

function judgeTiles(): { tiles: Record<string, { bytes: number; ms: number }>; bytesMost: number; msMost: number; rssMB: number } {
  const folder = mkdtempSync(join(tmpdir(), 'meadow-judge-'))
  const tiles: Record<string, { bytes: number; ms: number }> = {}
  let rssMB = 0
  try {
    for (const { name, core } of largestCores()) {
      const formats: MatrixFormat[] = name === 'llama' ? ['g8', 'w8', 'w4'] : ['g8']
      for (const format of formats) {
        const forge = new Forge(core, format)
        const cases: Case[] = forge.units.flatMap((unit) =>
          forge.stages(unit).flatMap((stage, s) => {
            // Matrix formats differ in matmuls only.
            if (format !== 'g8' && !/w[qkvo]|w_|head|embed/.test(stage.label)) return []
            return [forge.case(unit, s, 0), forge.case(unit, s, stage.elements - 1)]
          }),
        )
        const files = cases.map((one, i) => {
          const file = join(folder, `${name}-${format}-${i}`)
          writeFileSync(file, encode({ core: encodeCore(core), one }))
          return file
        })
        const { stdout, status, stderr } = spawnSync(process.execPath, ['--max-semi-space-size=2', join(import.meta.dirname, 'dispute-judge.ts'), ...files], {
          encoding: 'utf8',
        })
        if (status !== 0) throw new Error(stderr)
        for (const line of stdout.trim().split('\n')) {
          const one = JSON.parse(line) as Judged & { rssMB?: number }
          if (one.rssMB !== undefined) {
            rssMB = Math.max(rssMB, one.rssMB)
            continue
          }
          if (one.verdict.startsWith('invalid')) throw new Error(`${one.label}: ${one.verdict}`)
          const kind = format === 'g8' ? kindOf(one.label) : `${kindOf(one.label)} ${format}`
          const known = tiles[kind] ?? { bytes: 0, ms: 0 }
          tiles[kind] = { bytes: Math.max(known.bytes, one.bytes), ms: Math.max(known.ms, Math.round(one.medianMs * 100) / 100) }
        }
        say(`judged ${cases.length} tiles of ${name} ${format}`)
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  const list = Object.values(tiles)
  return { tiles, bytesMost: Math.max(...list.map(({ bytes }) => bytes)), msMost: Math.max(...list.map(({ ms }) => ms)), rssMB: Math.round(rssMB) }
}

/** Times the ledger's windows are divided by: six hours of defence are 18 s, so a dispute fits in a minute of one-second blocks. */
const timeScale = 1200

async function realDispute(model: RealModel, count: number): Promise<Record<string, unknown>> {
  const alteration: Alteration = { layer: 17, position: model.prompt.length + 5, index: 100, bit: 20 }
  const tokens = await answerOf(model, count, greedy, 1, alteration)
  const claim = realClaim(model, tokens, greedy, 1)
  const cheat = await realTrace(model, claim, alteration)
  say(`the host answered ${count} tokens and has its trace`)
  const began = performance.now()
  const honest = await realTrace(model, claim, null)
  const traced = performance.now()
  const wrong = await realWrong(model, honest, claim)
  const checked = performance.now()
  let last = performance.now()
  const game = await playReal(claim, honest, cheat, wrong, timeScale, async () => {
    await setTimeout(Math.max(0, last + 1000 - performance.now()))
    last = performance.now()
  })
  const seconds = (ms: number): number => Math.round(ms / 100) / 10
  if (!options.json) for (const line of game.story) console.error(line)
  return {
    tokens: count,
    positions: claim.machine.positions,
    ...game,
    story: undefined,
    traceSeconds: seconds(traced - began),
    tailsSeconds: seconds(checked - traced),
    seconds: seconds(performance.now() - began),
  }
}

/** Random single alterations of the real model's weights, activations and caches: all must end against the cheat. Blocks pass as fast as they are computed. */
async function realAlterations(model: RealModel, count: number): Promise<Record<string, unknown>> {
  const next = random(11)
  const { layers, hidden } = model.source.manifest.core
  const tokens = await answerOf(model, 16, greedy, 1, null)
  let [fallen, games, unseen] = [0, 0, 0]
  const wrong: string[] = []
  const claim = realClaim(model, tokens, greedy, 1)
  const honest = await realTrace(model, claim, null)
  while (games < count) {
    const what = (['weights', 'residual', 'keys', 'values'] as const)[next() % 4]
    const layer = next() % layers
    const alteration = { layer, position: next() % claim.machine.positions, index: next() % hidden, bit: next() & 7 }
    const host = what === 'weights' ? withBitChanged(model, layer, next(), alteration.bit) : model
    const cheat = await realTrace(host, claim, what === 'weights' ? { ...alteration, what: null } : { ...alteration, what }, honest)
    if (firstDifference(claim.machine, honest, cheat) === null) {
      unseen++
      continue
    }
    games++
    const game = await playReal(claim, honest, cheat, { layer: layers, position: claim.machine.tailFrom }, timeScale, async () => {})
    if (game.outcome === 'fallen') fallen++
    else wrong.push(`${what} ${JSON.stringify(alteration)}: ${game.outcome}`)
    say(`${games} alterations of the real model (${what}), ${fallen} fallen`)
  }
  return { alterations: games, fallen, unseen, wrong }
}

/** What a host does for being checkable while it answers: nothing but hashing its tokens; the trace is built when somebody objects. */
async function honestCost(model: RealModel): Promise<Record<string, number>> {
  const began = performance.now()
  const tokens = await answerOf(model, 64, greedy, 1, null)
  const inference = performance.now() - began
  const rounds = 50
  const start = performance.now()
  for (let i = 0; i < rounds; i++) {
    const out = new TokenList(tokens, new Uint8Array(32).fill(i), 1)
    hashTagged('out', new Uint8Array(32), out.root)
  }
  const commit = (performance.now() - start) / rounds
  return { inferenceMs: Math.round(inference), commitMs: Math.round(commit * 100) / 100, percent: Math.round((commit / inference) * 100_000) / 1000 }
}

if (options.only === 'alterations') {
  console.log(JSON.stringify(await realAlterations(await realModel(), Number(options.alterations)), null, 2))
  process.exit()
}
const judged = judgeTiles()
const result: Record<string, unknown> = {
  bars: {
    evidenceBytes: { is: judged.bytesMost, most: 65536 },
    judgeMs: { is: judged.msMost, most: 10 },
    judgeRssMB: { is: judged.rssMB, most: 150 },
  },
  tiles: judged.tiles,
}
if (options.real) {
  const bars = result.bars as Record<string, unknown>
  const model = await realModel()
  const dispute = await realDispute(model, Number(options.tokens))
  result.dispute = dispute
  bars.outcome = { is: dispute.outcome, wanted: 'fallen' }
  bars.reveals = { is: dispute.reveals, most: 9 }
  bars.disputeSeconds = { is: dispute.seconds, most: 60 }
  const cost = await honestCost(model)
  result.honestHost = cost
  bars.honestPercent = { is: cost.percent, most: 1 }
  if (Number(options.alterations) > 0) result.realAlterations = await realAlterations(model, Number(options.alterations))
}
console.log(JSON.stringify(result, null, options.json ? 0 : 2))
