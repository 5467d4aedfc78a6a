// What a game looks like to people: how far each argument has come down (tokens, layers, one op, one tile, one element), who is to move, and until when. Pure; commands and
// pages show it, no rule depends on it.
import { type Machine, type Stage, tilesOf, type Unit } from '../../protocol/engine/proof/table.ts'
import { slotsOf, strideOf } from '../../protocol/engine/proof/trace.ts'
import { dueOf, endOf, isOver } from './clock.ts'
import { deadlineOf, type Game, type Moment } from './game.ts'
import type { Path } from './state.ts'

/** How narrow an argument is. */
export type Narrowness = 'tokens' | 'layers' | 'unit' | 'op' | 'tile' | 'element'

export interface Narrowed {
  /** Path, and the expansion it argues with (null before there is one). */
  path: number
  expansion: number | null
  /** Defence that is attacked. */
  root: number
  state: Path['state'] | 'refuted'
  level: Narrowness
  /** Layers and positions that are still in question, last ones included; a tail is the layer after the last. */
  layers: [from: number, to: number]
  positions: [from: number, to: number]
  /** Step of the unit, such as `17.wq.q`. */
  op: string | null
  /** Elements of it that are in question, the last one included. */
  elements: [from: number, to: number] | null
  turn: 'defender' | 'refuter'
  /** When whoever's turn it is loses by silence: active time and block. */
  due: Moment | null
}

export interface Standing {
  /** What the game waits for. */
  phase: 'tokens demanded' | 'challenge committed' | 'defence awaited' | 'argument' | 'decided'
  roots: { poster: Uint8Array; refuted: boolean; staked: boolean; pathsUntil: Moment }[]
  arguments: Narrowed[]
  expansions: number
  /** The earliest moment at which time alone may change something. */
  next: Moment | null
  outcome: Game['outcome']
}

/** Units under a node of the outer tree: the whole of it, unless it lies within one layer. */
function unitsUnder(machine: Machine, level: number, index: number): Pick<Narrowed, 'level' | 'layers' | 'positions'> {
  const stride = strideOf(machine)
  const first = index << level
  const last = Math.min(slotsOf(machine), (index + 1) << level) - 1
  const at = (slot: number): Unit => ({ layer: machine.from + Math.floor(slot / stride), position: slot % stride })
  const one = at(first).layer === at(last).layer
  const end = machine.positions - 1
  return {
    level: first === 0 && last === slotsOf(machine) - 1 ? 'tokens' : 'layers',
    layers: [at(first).layer, at(last).layer],
    positions: one ? [at(first).position, Math.min(end, at(last).position)] : [0, end],
  }
}

const elementsUnder = (stage: Stage, level: number, index: number): [number, number] => [
  (index << level) * stage.perTile,
  Math.min(stage.elements, Math.min(tilesOf(stage), (index + 1) << level) * stage.perTile) - 1,
]

/** Where every argument of a game stands. */
export function narrowings(game: Game, machine: Machine): Narrowed[] {
  return game.paths.flatMap((path, i): Narrowed[] => {
    const { root, turn } = path
    const common = { path: i, root, op: null, elements: null }
    const live = path.state === 'live'
    if (!path.arrived) {
      const due = live ? dueOf(path, game.rules) : null
      return [{ ...common, expansion: null, state: path.state, ...unitsUnder(machine, path.level, path.index), turn, due }]
    }
    const unit = { layers: [path.layer, path.layer] as [number, number], positions: [path.position, path.position] as [number, number] }
    if (path.forks.length === 0) return [{ ...common, expansion: null, state: path.state, level: 'unit', ...unit, turn: 'defender', due: null }]
    const stages = machine.stages(path)
    return path.forks.map((fork): Narrowed => {
      const stage = stages[fork.stage] as Stage | undefined
      const elements: [number, number] | null =
        !stage || stage.root === 'token' ? null : fork.element >= 0 ? [fork.element, fork.element] : elementsUnder(stage, fork.level, fork.index)
      const level = !stage ? 'unit' : fork.element >= 0 ? 'element' : fork.level === 0 ? 'tile' : 'op'
      return {
        ...common,
        expansion: fork.expansion,
        state: game.expansions[fork.expansion].refuted ? 'refuted' : path.state,
        level,
        ...unit,
        op: stage?.label ?? null,
        elements,
        turn: fork.turn,
        due: live && !fork.done ? dueOf(fork, game.rules) : null,
      }
    })
  })
}

export function standingOf(game: Game, machine: Machine, now: Moment): Standing {
  const { rules } = game
  const phase = (): Standing['phase'] => {
    if (game.outcome) return 'decided'
    if (game.finder) return game.roots.some(({ refuted }) => !refuted) || game.paths.length > 0 ? 'argument' : 'defence awaited'
    return game.demand?.served.includes(null) && !isOver(endOf(game.demand.at, rules.serveWindow, rules), now) ? 'tokens demanded' : 'challenge committed'
  }
  return {
    phase: phase(),
    roots: game.roots.map(({ poster, refuted, bond, at }) => ({ poster, refuted, staked: bond === null, pathsUntil: endOf(at, rules.pathWindow, rules) })),
    arguments: narrowings(game, machine),
    expansions: game.expansions.length,
    next: deadlineOf(game),
    outcome: game.outcome,
  }
}

const span = (what: string, [from, to]: [number, number]): string => (from === to ? `${what} ${from}` : `${what}s ${from} to ${to}`)

/** One line: tokens -> layers -> op -> tile. `layers`: of the model. */
export function narrowedLine({ layers: between, positions, op, elements }: Narrowed, layers: number): string {
  const tail = between[0] === layers
  const parts = [tail ? `the choice of token ${positions[0] + 1}` : `${span('layer', between)}, ${span('position', positions)}`]
  if (op) parts.push(op)
  if (elements) parts.push(span('element', elements))
  return parts.join(' > ')
}
