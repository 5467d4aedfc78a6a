// A dispute as a story: its moves in order, and after each what is still in question: tokens, layers, op, tile, element. Also judges again what the judge was shown: the evidence
// is in the moves, and a judge needs no model. Pure: moves and facts in, rounds out.
import { judge } from '../../ledger/dispute/judge.ts'
import type { Move } from '../../ledger/dispute/moves.ts'
import { commitmentsOf, outerDepth, stepDown } from '../../ledger/dispute/position.ts'
import type { Expansion, Root } from '../../ledger/dispute/state.ts'
import { elementBytes, type Machine, type Stage, tileCount, tilesOf } from '../../protocol/engine/proof/table.ts'
import { strideOf, unitOf } from '../../protocol/engine/proof/trace.ts'
import { depthOf } from '../../protocol/model/merkle.ts'

/** One of the five rows of the picture: [from, to) of `total` is still in question. */
export interface Bar {
  name: 'Tokens' | 'Layers' | 'Op' | 'Tile' | 'Element'
  total: number
  from: number
  to: number
  /** What is in question, in words. */
  text: string
}

export interface Round {
  kind: Move['kind'] | 'time'
  by: string
  /** What happened, a sentence without its subject. */
  text: string
  /** What is in question after it, along the path that it belongs to; empty before anything was. */
  bars: Bar[]
  /** Of a `prove`: what this tab's own judge says. */
  judged: { verdict: 'equal' | 'unequal' | 'invalid'; ms: number; bytes: number } | null
}

export interface Played {
  by: string
  /** Null: a timeout or resolve, whose move the ledger finds by itself. `denial`: a proof that needs no game (ledger/input-proof.ts). */
  move: Move | 'denial' | null
}

interface Fork {
  expansion: number
  stage: number
  level: number
  index: number
  element: number
}
interface Path {
  root: number
  level: number
  index: number
  unit: { layer: number; position: number } | null
  forks: Map<number, Fork>
}

const range = (from: number, to: number): string => (to - from === 1 ? String(from) : `${from}–${to - 1}`)
const stageDepth = (stage: Stage): number => depthOf(tilesOf(stage))

/** `now`: a clock in ms, to say how long judging took. `rounds` have been accepted by the ledger: numbers in them name what is there. */
export function storyOf(machine: Machine, played: readonly Played[], now: () => number): Round[] {
  const roots: Uint8Array[] = []
  const expansions: (Pick<Expansion, 'root' | 'layer' | 'position' | 'leaf' | 'steps'> & { index: number })[] = []
  const paths: Path[] = []
  const tiles = new Map<string, Uint8Array>()
  let focus: Path | null = null
  let fork: Fork | null = null
  const isTail = (layer: number): boolean => layer === machine.to
  const unitText = ({ layer, position }: { layer: number; position: number }): string =>
    isTail(layer) ? `the choice of token ${position + 1}` : `layer ${layer} at token ${position}`

  const nodeRange = (level: number, index: number) => {
    const stride = strideOf(machine)
    const first = index * 2 ** level
    const count = 2 ** level
    const layer = machine.from + Math.floor(first / stride)
    if (count >= stride) return { layers: [layer, Math.min(machine.to, layer + count / stride)] as const, tokens: [0, machine.positions] as const }
    return { layers: [layer, layer + 1] as const, tokens: [first % stride, Math.min(machine.positions, (first % stride) + count)] as const }
  }
  const nodeText = (level: number, index: number): string => {
    const { layers, tokens } = nodeRange(level, index)
    const many = (from: number, to: number): string => (to - from === 1 ? '' : 's')
    return `layer${many(layers[0], layers[1])} ${range(layers[0], layers[1])}, token${many(tokens[0], tokens[1])} ${range(tokens[0], tokens[1])}`
  }
  const stageOf = (one: Fork): Stage => machine.stages(expansions[one.expansion])[one.stage]

  const arrive = (path: Path, layer: number, position: number): void => {
    path.unit = { layer, position }
    for (const one of expansions) if (one.root === path.root && one.layer === layer && one.position === position) path.forks.set(one.index, newFork(one.index))
  }
  const enter = (path: Path, level: number, index: number): void => {
    path.level = level
    path.index = index
    const unit = level === 0 ? unitOf(machine, index) : null
    if (unit) arrive(path, unit.layer, unit.position)
  }
  const enterStage = (one: Fork, level: number, index: number): void => {
    const stage = stageOf(one)
    one.level = level
    one.index = index
    if (level === 0 && tileCount(stage, index) === 1) one.element = index * stage.perTile
  }

  const bars = (): Bar[] => {
    if (!focus) return []
    const all = machine.to - machine.from
    const { unit } = focus
    const { layers, tokens } = unit
      ? { layers: [unit.layer, unit.layer + 1] as const, tokens: [unit.position, unit.position + 1] as const }
      : nodeRange(focus.level, focus.index)
    const tails = machine.tailTo > machine.tailFrom ? 1 : 0
    const found: Bar[] = [
      { name: 'Tokens', total: machine.positions, from: tokens[0], to: tokens[1], text: `${range(tokens[0], tokens[1])} of ${machine.positions}` },
      {
        name: 'Layers',
        total: all + tails,
        from: layers[0] - machine.from,
        to: layers[1] - machine.from,
        text: isTail(layers[0]) ? 'the choice of the next token, after the last layer' : `${range(layers[0], layers[1])} of ${all}`,
      },
    ]
    if (!unit || !fork || fork.stage < 0) return found
    const stages = machine.stages(unit)
    const stage = stages[fork.stage]
    found.push({ name: 'Op', total: stages.length, from: fork.stage, to: fork.stage + 1, text: `${stage.label}, ${fork.stage + 1} of ${stages.length}` })
    const count = tilesOf(stage)
    const tile: [number, number] =
      fork.element >= 0
        ? [Math.floor(fork.element / stage.perTile), Math.floor(fork.element / stage.perTile) + 1]
        : [fork.index * 2 ** fork.level, Math.min(count, (fork.index + 1) * 2 ** fork.level)]
    found.push({ name: 'Tile', total: count, from: tile[0], to: tile[1], text: `${range(tile[0], tile[1])} of ${count}` })
    if (tile[1] - tile[0] > 1) return found
    const elements = tileCount(stage, tile[0])
    const at = fork.element >= 0 ? fork.element % stage.perTile : -1
    if (at >= 0) found.push({ name: 'Element', total: elements, from: at, to: at + 1, text: `${at} of ${elements}` })
    return found
  }

  const judged = (move: Move & { kind: 'prove' }): Round['judged'] => {
    const one = paths[move.path]?.forks.get(move.expansion)
    const expansion = expansions[move.expansion]
    if (!one || one.element < 0 || !expansion) return null
    const stage = stageOf(one)
    const tile = tiles.get(`${move.expansion}.${one.stage}.${Math.floor(one.element / stage.perTile)}`)
    const from = (one.element % stage.perTile) * elementBytes(stage)
    const claimed = tile ? tile.subarray(from, from + elementBytes(stage)) : new Uint8Array()
    const root = { top: roots[expansion.root] } as Root
    const began = now()
    const { verdict } = judge(
      machine,
      { ...commitmentsOf(machine, root, { ...expansion, poster: root.top, bond: 0, refuted: false }), stage: one.stage, element: one.element, claimed },
      move.evidence,
    )
    return { verdict, ms: now() - began, bytes: move.evidence.length }
  }

  const tell = (move: Move): string => {
    switch (move.kind) {
      case 'demand':
        return 'demands that the tokens be shown'
      case 'serve':
        return `shows ${move.tokens.length / 4} tokens of the ${move.list === 0 ? 'prompt' : 'answer'}`
      case 'commit':
        return 'commits to a challenge; only its hash is shown, so that nobody can copy it'
      case 'challenge':
        return 'challenges the answer'
      case 'shot':
        return 'opens one token that breaks the stop rule: that ends it at once'
      case 'defend':
        roots.push(move.top)
        return `defends it with the root of a whole trace, number ${roots.length}`
      case 'path': {
        focus = { root: move.root, level: move.level, index: move.index, unit: null, forks: new Map() }
        fork = null
        paths.push(focus)
        enter(focus, move.level, move.index)
        return move.level === outerDepth(machine)
          ? `says that trace ${move.root + 1} is false somewhere`
          : `says that trace ${move.root + 1} is false in ${nodeText(move.level, move.index)}`
      }
      case 'unit': {
        focus = { root: move.root, level: 0, index: 0, unit: null, forks: new Map() }
        fork = null
        paths.push(focus)
        arrive(focus, move.layer, move.position)
        return `says that trace ${move.root + 1} is false at ${unitText(move)}`
      }
      case 'reveal':
        return `shows the ${move.children.length / 32} parts of ${nodeText(move.level, move.index)}`
      case 'expand': {
        const { root, layer, position, leaf, steps } = move
        const index = expansions.length
        expansions.push({ root, layer, position, leaf, steps, index })
        for (const path of paths) {
          if (path.root === root && path.unit?.layer === layer && path.unit.position === position) path.forks.set(index, newFork(index))
        }
        return `names the results of all ${steps.length / 32} ops of ${unitText(move)}`
      }
      case 'open': {
        if (move.level === 0) tiles.set(`${move.expansion}.${move.stage}.${move.index}`, move.bytes)
        const stage = machine.stages(expansions[move.expansion])[move.stage]
        for (const path of paths) {
          const one = path.forks.get(move.expansion)
          if (one && one.stage === move.stage && one.level === move.level && one.index === move.index && one.element < 0) {
            enterStage(one, move.level, move.index)
            if (path === focus) fork = one
          }
        }
        return move.level === 0 ? `shows tile ${move.index} of ${stage.label}: ${move.bytes.length} bytes` : `shows the parts of ${stage.label}`
      }
      case 'pick': {
        const path = paths[move.path]
        focus = path
        if (move.expansion === null) {
          fork = null
          const down = stepDown(path.level)
          enter(path, path.level - down, path.index * 2 ** down + move.choice)
          return `picks ${path.unit ? unitText(path.unit) : nodeText(path.level, path.index)}`
        }
        const one = path.forks.get(move.expansion) ?? newFork(move.expansion)
        path.forks.set(move.expansion, one)
        fork = one
        if (one.stage < 0) {
          one.stage = move.choice
          const stage = stageOf(one)
          if (stage.root === 'token') one.element = 0
          else {
            one.level = stageDepth(stage)
            one.index = 0
          }
          return `picks the op ${stage.label}`
        }
        const stage = stageOf(one)
        if (one.level === 0) {
          one.element = one.index * stage.perTile + move.choice
          return `picks element ${move.choice} of the tile`
        }
        const down = stepDown(one.level)
        one.level -= down
        one.index = one.index * 2 ** down + move.choice
        return one.level === 0 ? `picks tile ${one.index}` : `picks a part of ${stage.label}`
      }
      case 'prove': {
        focus = paths[move.path]
        fork = focus.forks.get(move.expansion) ?? null
        return `brings ${move.evidence.length.toLocaleString()} bytes of evidence: the judge computes this one element`
      }
      default:
        return 'lets time decide'
    }
  }

  return played.map(({ by, move }) => {
    if (!move)
      return { kind: 'time', by, text: 'lets time decide: what nobody answered in time is lost, and what is decided is settled', bars: bars(), judged: null }
    if (move === 'denial')
      return { kind: 'shot', by, text: 'shows a record of the claim that says other input than the job gave: the claim falls', bars: bars(), judged: null }
    const verdict = move.kind === 'prove' ? judged(move) : null
    const text = tell(move)
    return { kind: move.kind, by, text, bars: bars(), judged: verdict }
  })
}

const newFork = (expansion: number): Fork => ({ expansion, stage: -1, level: 0, index: 0, element: -1 })
