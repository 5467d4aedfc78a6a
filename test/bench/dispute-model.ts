// A whole dispute over an answer of the default model: a host whose engine alters one activation in one layer answers; an auditor runs the model on the claim's tokens,
// finds the difference and plays it down to one tile. Blocks of one second, every player acts once a block; the times that players compute are real.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DisputeError } from '../../ledger/dispute/errors.ts'
import { applyMove, dueMove, type Game, openGame } from '../../ledger/dispute/game.ts'
import { decodeMove, encodeMove, type Move } from '../../ledger/dispute/moves.ts'
import { defence, refutation, type Seat } from '../../ledger/dispute/player.ts'
import { rulesOf, stakeOf } from '../../ledger/dispute/rules.ts'
import { encodeGame } from '../../ledger/dispute/state.ts'
import { noiseKey } from '../../protocol/engine/answer.ts'
import { traceFromEngine, wrongTailFromEngine } from '../../protocol/engine/proof/engine-trace.ts'
import { type ClaimFacts, machineOf } from '../../protocol/engine/proof/machine.ts'
import type { Unit } from '../../protocol/engine/proof/table.ts'
import { TokenList } from '../../protocol/engine/proof/tokens.ts'
import type { LayerValues, Trace } from '../../protocol/engine/proof/trace.ts'
import { PackageWeights } from '../../protocol/engine/proof/weights.ts'
import type { Sampler } from '../../protocol/engine/sampler.ts'
import { sample } from '../../protocol/engine/sampler.ts'
import { tensorTableRootOf } from '../../protocol/model/identity.ts'
import type { ModelSource } from '../../protocol/model/manifest.ts'
import { openTokenizer } from '../../protocol/model/tokenizer.ts'
import { defaultModel } from '../../relay/catalogue.ts'
import { openStore } from '../../relay/store.ts'
import { createNodeWasmEngine } from '../../relay/wasm-thread.ts'

export interface RealModel {
  source: ModelSource
  shards: Uint8Array[]
  weights: PackageWeights
  tableRoot: Uint8Array
  prompt: number[]
}

/** The default model in memory, and a prompt of real words. */
export async function realModel(): Promise<RealModel> {
  const store = openStore()
  const found = await store.find(defaultModel.name).catch(async () => (await store.list())[0])
  const disk = store.source(found.id)
  const shards = await Promise.all(
    found.manifest.shards.map(async ({ bytes }, i) => {
      const shard = new Uint8Array(bytes)
      await disk.readShard(i, shard)
      return shard
    }),
  )
  const tokenizer = openTokenizer(shards[found.manifest.shards.findIndex(({ name }) => name === 'tokenizer')])
  const words = await readFile(join(import.meta.dirname, '../../LICENSE'), 'utf8')
  return {
    source: { manifest: found.manifest, readShard: async (i, into) => into.set(shards[i]) },
    shards,
    weights: new PackageWeights(found.manifest, (i) => shards[i]),
    tableRoot: tensorTableRootOf(found.manifest.tensors),
    prompt: tokenizer.encode(words.replace(/\s+/g, ' ').slice(0, 200)),
  }
}

/** One altered value of the residual that leaves a layer, at one position. */
export interface Alteration {
  layer: number
  position: number
  index: number
  bit: number
  /** What leaves the layer: residual unless said; null changes nothing there (the layer's weights are changed instead). */
  what?: keyof LayerValues | null
}

/** One thread: most of a trace's time goes into reading steps out, and threads of one layer only wait for one another. */
const engineOf = (model: RealModel, from: number, to: number) => createNodeWasmEngine(model.source, { segment: { from, to }, threads: 1 })

/** Tokens of an engine that alters one value on its way; null: of an honest one. */
export async function answerOf(model: RealModel, count: number, sampler: Sampler, seed: number, alteration: Alteration | null): Promise<number[]> {
  const { layers } = model.source.manifest.core
  const cut = alteration ? alteration.layer + 1 : layers
  const lower = await engineOf(model, 0, cut === layers ? layers - 1 : cut)
  const upper = await engineOf(model, cut === layers ? layers - 1 : cut, layers)
  const tokens = model.prompt.slice()
  const key = noiseKey(seed)
  try {
    for (let at = 0; tokens.length < model.prompt.length + count; ) {
      const rows = tokens.slice(at, at + lower.rowsMax).map((token, i) => ({ sequence: 0, position: at + i, token }))
      const { boundary } = await lower.run(
        rows,
        rows.map(() => 'nothing' as const),
      )
      if (alteration) alterRows(boundary!, rows, alteration, model.source.manifest.core.hidden)
      const last = at + rows.length === tokens.length
      const { logits } = await upper.run(
        rows,
        rows.map((_, i) => (last && i === rows.length - 1 ? ('logits' as const) : ('nothing' as const))),
        boundary!,
      )
      at += rows.length
      if (last) tokens.push(sample(logits[rows.length - 1]!, sampler, key, tokens.length, tokens))
    }
  } finally {
    await lower.close()
    await upper.close()
  }
  return tokens.slice(model.prompt.length)
}

function alterRows(boundary: Int32Array, rows: { position: number }[], { position, index, bit }: Alteration, hidden: number): void {
  rows.forEach((row, i) => {
    if (row.position === position) boundary[i * hidden + index] ^= 1 << bit
  })
}

export interface RealClaim {
  machine: ReturnType<typeof machineOf>
  prompt: TokenList
  out: TokenList
  facts: ClaimFacts
}

export function realClaim(model: RealModel, tokens: number[], sampler: Sampler, seed: number): RealClaim {
  const key = new Uint8Array(32).fill(5)
  const prompt = new TokenList(model.prompt, key, 0)
  const out = new TokenList(tokens, key, 1)
  const facts: ClaimFacts = {
    claimId: new Uint8Array(32).fill(9),
    promptRoot: prompt.root,
    outRoot: out.root,
    prompt: model.prompt.length,
    out: tokens.length,
    sampler,
    noise: noiseKey(seed),
    segment: null,
  }
  return { facts, prompt, out, machine: machineOf(model.source.manifest.core, model.tableRoot, facts) }
}

/** The outer trace of a claim from the WASM engine, a layer at a time; `base` is the true one, whose layers below the alteration are the same. */
export const realTrace = (model: RealModel, { machine, prompt, out }: RealClaim, alteration: Alteration | null, base?: Trace): Promise<Trace> =>
  traceFromEngine(
    { machine, weights: model.weights, prompt, out },
    {
      open: (layer) => engineOf(model, layer, layer + 1),
      alter: (layer: number, values: LayerValues) => {
        if (!alteration || layer !== alteration.layer) return
        const { what = 'residual', position, index, bit } = alteration
        if (what === null) return
        // The true trace may share these.
        const changed = values[what][position].slice()
        changed[index % changed.length] ^= 1 << bit
        values[what][position] = changed as Int32Array & Uint8Array
      },
      base: base && { trace: base, layer: alteration?.layer ?? 0 },
    },
  )

/** The model with one bit of one layer's weights changed, for engines; its openings stay those of the model id. */
export function withBitChanged(model: RealModel, layer: number, byte: number, bit: number): RealModel {
  const { manifest } = model.source
  const index = manifest.shards.findIndex(({ name }) => name === `layer-${layer}`)
  const shards = model.shards.slice()
  shards[index] = shards[index].slice()
  shards[index][byte % shards[index].length] ^= 1 << bit
  return { ...model, shards, source: { manifest, readShard: async (i, into) => into.set(shards[i]) } }
}

export async function realWrong(model: RealModel, trace: Trace, claim: RealClaim): Promise<Unit | null> {
  const { layers } = model.source.manifest.core
  const engine = await engineOf(model, layers, layers)
  try {
    return await wrongTailFromEngine(trace, engine, claim.facts.sampler, claim.facts.noise)
  } finally {
    await engine.close()
  }
}

export interface RealGame {
  outcome: string
  moves: number
  reveals: number
  blocks: number
  evidenceBytes: number
  judgeMs: number
  gameBytes: number
  /** One line a move. */
  story: string[]
}

const account = (n: number): Uint8Array => new Uint8Array(32).fill(n)

/** Plays it out. `blockMs` is how much active time a block brings; `wait` is called once a block. */
export async function playReal(
  claim: RealClaim,
  honest: Trace,
  cheat: Trace,
  wrong: Unit | null,
  timeScale: number,
  wait: () => Promise<void>,
): Promise<RealGame> {
  const rules = rulesOf({ price: 1000n, moveFee: 1n, reference: 0, load: 1, timeScale })
  const { machine } = claim
  const seats: { seat: Seat; play: (game: Game, now: { tau: number; height: number }) => Move | null }[] = [
    { seat: { account: account(1), witness: { trace: honest, wrong }, nonce: account(1) }, play: (game, now) => refutation(game, seats[0].seat, now, true) },
    { seat: { account: account(2), witness: { trace: cheat, wrong: null }, nonce: account(2) }, play: (game, now) => defence(game, seats[1].seat, now, true) },
  ]
  let game = openGame({
    claimId: machine.claimId,
    claimant: account(2),
    requester: account(3),
    stop: 2,
    maxTokens: machine.tokens.out,
    stopIds: [],
    context: 1 << 20,
    stake: stakeOf(1000n, 1n),
    rules,
    challengeUntil: rules.challengeWindow,
  })
  const out: RealGame = { outcome: '', moves: 0, reveals: 0, blocks: 0, evidenceBytes: 0, judgeMs: 0, gameBytes: 0, story: [] }
  const attempt = (move: Move, by: Uint8Array, now: { tau: number; height: number }): boolean => {
    const bytes = encodeMove(move)
    const began = performance.now()
    const played = applyMove(game, decodeMove(bytes), { by, now, machine })
    const ms = performance.now() - began
    if (played instanceof DisputeError) {
      out.story.push(`block ${now.height}: ${move.kind} refused: ${played.message}`)
      return false
    }
    game = played.game
    out.moves++
    if (['reveal', 'open', 'expand'].includes(move.kind)) out.reveals++
    if (move.kind === 'prove') {
      out.evidenceBytes = Math.max(out.evidenceBytes, move.evidence.length)
      out.judgeMs = Math.max(out.judgeMs, ms)
    }
    out.story.push(`block ${now.height}: ${by[0] === 1 ? 'auditor' : 'host'} ${move.kind}, ${bytes.length} bytes, ${ms.toFixed(1)} ms`)
    return true
  }
  for (let height = 1; !game.outcome && height < 5000; height++) {
    const now = { tau: height * 1000, height }
    await wait()
    for (const { seat, play } of seats) {
      const move = play(game, now)
      if (move) attempt(move, seat.account, now)
    }
    for (let due = dueMove(game, { now, machine }); due && !game.outcome; due = dueMove(game, { now, machine })) if (!attempt(due, account(1), now)) break
    out.blocks = height
  }
  out.outcome = game.outcome ?? 'unresolved'
  out.gameBytes = encodeGame(game).length
  return out
}
