// Paths and forks: how an argument goes down, and how it ends. Functions here change a game that game.ts has copied.
import { checkBoundary, EvidenceError } from '../../protocol/engine/proof/evidence.ts'
import { elementBytes, type Machine, type Stage, tileCount, tilesOf } from '../../protocol/engine/proof/table.ts'
import { slotOf, slotsOf, unitOf } from '../../protocol/engine/proof/trace.ts'
import { foldRange, rangeProofBytes, unitHash } from '../../protocol/engine/proof/tree.ts'
import { equalBytes } from '../../protocol/hash.ts'
import { depthOf } from '../../protocol/model/merkle.ts'
import { dueOf, endOf, isOver, newClock, pass } from './clock.ts'
import { DisputeError } from './errors.ts'
import { type Accused, judge } from './judge.ts'
import { loseBond, losePath, type Payout, sameAccount } from './money.ts'
import type { Move } from './moves.ts'
import { checkOuterReveal, checkStageReveal, commitmentsOf, knownHash, outerDepth, outerName, stageName, stageRoots, stepDown } from './position.ts'
import type { Account, Expansion, Fork, Game, Moment, Path } from './state.ts'

export interface Turn {
  game: Game
  machine: Machine
  by: Account
  now: Moment
  payouts: Payout[]
}

const refuse = (code: DisputeError['code'], message: string): DisputeError => new DisputeError(code, message)

const accountName = (account: Account): string => Array.from(account, (byte) => byte.toString(16).padStart(2, '0')).join('')

/** A path that is there and undecided. */
function livePath(game: Game, index: number): Path {
  const path = game.paths[index]
  if (!path) throw refuse('unknown', `there is no path ${index}`)
  if (path.state !== 'live') throw refuse('phase', `path ${index} is over`)
  return path
}

function liveFork(path: Path, expansion: number): Fork {
  const fork = path.forks.find((one) => one.expansion === expansion)
  if (!fork) throw refuse('unknown', `the path does not argue with expansion ${expansion}`)
  if (fork.done) throw refuse('phase', `expansion ${expansion} is decided`)
  return fork
}

const credit = (path: Path, by: Account): void => {
  const name = accountName(by)
  path.answers[name] = (path.answers[name] ?? 0) + 1
}

const atUnit =
  (root: number, layer: number, position: number) =>
  (one: { root: number; layer: number; position: number }): boolean =>
    one.root === root && one.layer === layer && one.position === position

const arrivalAt = (game: Game, path: { root: number; layer: number; position: number }) => game.arrivals.find(atUnit(path.root, path.layer, path.position))

/** A path reaches a unit: the window for expansions begins with the first, and it must refute each that is there. */
function arrive({ game, now }: Turn, path: Path, layer: number, position: number): void {
  path.arrived = true
  path.layer = layer
  path.position = position
  if (!arrivalAt(game, path)) game.arrivals.push({ root: path.root, layer, position, at: now })
  game.expansions.forEach((expansion, i) => {
    if (!expansion.refuted && atUnit(path.root, layer, position)(expansion)) path.forks.push(newFork(i, now))
  })
}

const newFork = (expansion: number, now: Moment): Fork => ({ ...newClock('refuter', now), expansion, stage: -1, level: 0, index: 0, element: -1, done: false })

/** Hash an outer node must have. Throws DisputeError for a node that nothing revealed leads to. */
function outerHash({ game, machine }: Turn, root: number, level: number, index: number): Uint8Array {
  const known = knownHash(game.nodes, (l, i) => outerName(root, l, i), outerDepth(machine), game.roots[root].top, level, index)
  if (!known) throw refuse('unknown', 'nothing revealed leads to this node')
  return known
}

/** A live root whose window for new paths is open. */
function openRoot({ game, now }: Turn, index: number): void {
  const root = game.roots[index]
  if (!root) throw refuse('unknown', `there is no defence ${index}`)
  if (root.refuted) throw refuse('phase', `defence ${index} is refuted`)
  if (isOver(endOf(root.at, game.rules.pathWindow, game.rules), now)) throw refuse('late', `the time for paths against defence ${index} is over`)
}

function newPath(turn: Turn, root: number, bond: number): Path {
  return {
    ...newClock('defender', turn.now),
    owner: turn.by,
    root,
    bond,
    state: 'live',
    level: 0,
    index: 0,
    layer: 0,
    position: 0,
    arrived: false,
    forks: [],
    answers: {},
  }
}

export function openPath(turn: Turn, { root, level, index }: Move & { kind: 'path' }, bond: number): void {
  openRoot(turn, root)
  outerHash(turn, root, level, index)
  if (level === 0 && !unitOf(turn.machine, index)) throw refuse('unknown', 'this slot of the trace is unused')
  const path = newPath(turn, root, bond)
  turn.game.paths.push(path)
  enter(turn, path, level, index)
}

export function openUnit(turn: Turn, { root, layer, position }: Move & { kind: 'unit' }, bond: number): void {
  const { machine } = turn
  openRoot(turn, root)
  const tail = layer === machine.to && position >= machine.tailFrom && position < machine.tailTo
  const inside = layer >= machine.from && layer < machine.to && position < machine.positions
  if (!tail && !inside) throw refuse('unknown', 'the trace has no such unit')
  const path = newPath(turn, root, bond)
  turn.game.paths.push(path)
  arrive(turn, path, layer, position)
}

/** Puts a path at an outer node: waiting for its children, or picking where they are known, or arrived. */
function enter(turn: Turn, path: Path, level: number, index: number): void {
  path.level = level
  path.index = index
  if (level === 0) {
    const unit = unitOf(turn.machine, index)!
    return arrive(turn, path, unit.layer, unit.position)
  }
  pass(path, turn.game.nodes[outerName(path.root, level, index)] ? 'refuter' : 'defender', turn.now)
}

const inTime = ({ game, now }: Turn, clock: Path | Fork): boolean => !isOver(dueOf(clock, game.rules), now)

export function reveal(turn: Turn, { root, level, index, children }: Move & { kind: 'reveal' }): void {
  const { game, machine, by, now } = turn
  if (!game.roots[root]) throw refuse('unknown', `there is no defence ${root}`)
  const name = outerName(root, level, index)
  if (game.nodes[name]) throw refuse('phase', 'this node is revealed')
  const waiting = game.paths.filter(
    (path) =>
      path.state === 'live' &&
      path.root === root &&
      !path.arrived &&
      path.level === level &&
      path.index === index &&
      path.turn === 'defender' &&
      inTime(turn, path),
  )
  if (waiting.length === 0) throw refuse('phase', 'no path waits for this node')
  checkOuterReveal(machine, outerHash(turn, root, level, index), level, index, children)
  game.nodes[name] = children
  for (const path of waiting) {
    credit(path, by)
    pass(path, 'refuter', now)
  }
}

export function expand(turn: Turn, move: Move & { kind: 'expand' }, bond: number): void {
  const { game, machine, by, now } = turn
  const { root, layer, position, leaf, proof, steps, record } = move
  if (!game.roots[root]) throw refuse('unknown', `there is no defence ${root}`)
  if (game.roots[root].refuted) throw refuse('phase', `defence ${root} is refuted`)
  const arrival = arrivalAt(game, move)
  if (!arrival) throw refuse('phase', 'no path has arrived at this unit')
  if (isOver(endOf(arrival.at, game.rules.expandWindow, game.rules), now)) throw refuse('late', 'the time for expansions of this unit is over')
  const stages = machine.stages({ layer, position })
  const count = stages.filter((stage) => stage.root === 'step').length
  if (steps.length !== count * 32) throw refuse('proof', `the unit has ${count} steps, not ${steps.length / 32}`)
  if (game.expansions.some((one) => atUnit(root, layer, position)(one) && equalBytes(one.steps, steps)))
    throw refuse('phase', 'this expansion is there already')
  checkLeaf(turn, move)
  if (layer === machine.to - 1 && machine.boundary !== null && machine.tailTo === 0) checkRecord(machine, position, leaf.subarray(0, 32), record)
  else if (record.length > 0) throw refuse('proof', 'this unit needs no record')
  if (proof.length > 0 && leaf.length === 0) throw refuse('proof', 'a tail has no leaf')
  const index = game.expansions.length
  game.expansions.push({ root, layer, position, leaf, steps, poster: by, bond, refuted: false })
  for (const path of game.paths) {
    if (path.state === 'live' && path.arrived && atUnit(root, layer, position)(path)) {
      credit(path, by)
      path.forks.push(newFork(index, now))
    }
  }
}

/** The leaf that an expansion states is the trace's. */
function checkLeaf({ game, machine }: Turn, { root, layer, position, leaf, proof }: Move & { kind: 'expand' }): void {
  if (layer === machine.to) {
    if (leaf.length > 0) throw refuse('proof', 'a tail has no leaf')
    return
  }
  const slot = slotOf(machine, { layer, position })
  if (leaf.length !== 96 || proof.length !== rangeProofBytes(slotsOf(machine), slot, slot + 1)) throw refuse('proof', 'leaf or proof have another length')
  const hash = unitHash(layer, position, { residual: leaf.subarray(0, 32), k: leaf.subarray(32, 64), v: leaf.subarray(64, 96) })
  if (!equalBytes(foldRange([hash], slotsOf(machine), slot, proof), game.roots[root].top)) throw refuse('proof', 'the leaf is not that of the trace')
}

/** What leaves the last layer of a receipt is what its record says. */
function checkRecord(machine: Machine, position: number, root: Uint8Array, record: Uint8Array): void {
  let at = 0
  const take = (length: number, what: string): Uint8Array => {
    if (at + length > record.length) throw new EvidenceError(`the record ends within ${what}`)
    at += length
    return record.subarray(at - length, at)
  }
  try {
    checkBoundary({ take }, machine, position, 'outRoot', root)
  } catch (error) {
    throw refuse('proof', (error as Error).message)
  }
  if (at !== record.length) throw refuse('proof', 'the record has bytes too many')
}

const stageDepth = (stage: Stage): number => depthOf(tilesOf(stage))

/** Puts a fork at a node of its stage's tree: waiting, or picking where it is revealed; past a tile of one element straight to the proof. */
function enterStage({ game, now }: Turn, fork: Fork, stage: Stage, level: number, index: number): void {
  fork.level = level
  fork.index = index
  const known = game.nodes[stageName(fork.expansion, fork.stage, level, index)] !== undefined
  if (known && level === 0 && tileCount(stage, index) === 1) fork.element = index * stage.perTile
  pass(fork, known && fork.element < 0 ? 'refuter' : 'defender', now)
}

export function open(turn: Turn, { expansion, stage, level, index, bytes }: Move & { kind: 'open' }): void {
  const { game, machine, by } = turn
  const posted = game.expansions[expansion]
  if (!posted) throw refuse('unknown', `there is no expansion ${expansion}`)
  const name = stageName(expansion, stage, level, index)
  if (game.nodes[name]) throw refuse('phase', 'this node is revealed')
  const waiting = game.paths.flatMap((path) =>
    path.state !== 'live'
      ? []
      : path.forks.flatMap((fork) =>
          !fork.done &&
          fork.expansion === expansion &&
          fork.stage === stage &&
          fork.level === level &&
          fork.index === index &&
          fork.element < 0 &&
          fork.turn === 'defender' &&
          inTime(turn, fork)
            ? [{ path, fork }]
            : [],
        ),
  )
  if (waiting.length === 0) throw refuse('phase', 'nobody waits for this node')
  const stages = machine.stages(posted)
  const shape = stages[stage]
  const known = knownHash(game.nodes, (l, i) => stageName(expansion, stage, l, i), stageDepth(shape), stageRoots(stages, posted)[stage]!, level, index)
  checkStageReveal(shape, known!, level, index, bytes)
  game.nodes[name] = bytes
  for (const { path, fork } of waiting) {
    credit(path, by)
    enterStage(turn, fork, shape, level, index)
  }
}

export function pick(turn: Turn, { path: at, expansion, choice }: Move & { kind: 'pick' }): void {
  const { game, machine, by } = turn
  const path = livePath(game, at)
  if (!sameAccount(path.owner, by)) throw refuse('owner', 'only who opened a path picks')
  if (expansion === null) {
    if (path.arrived || path.turn !== 'refuter') throw refuse('phase', 'there is nothing to pick')
    if (!inTime(turn, path)) throw refuse('late', 'the time to pick is over')
    const down = stepDown(path.level)
    if (choice >= 1 << down) throw refuse('unknown', `the node has ${1 << down} children`)
    const level = path.level - down
    const index = (path.index << down) + choice
    if (level === 0 && !unitOf(machine, index)) throw refuse('unknown', 'this slot of the trace is unused')
    return enter(turn, path, level, index)
  }
  const fork = liveFork(path, expansion)
  if (fork.turn !== 'refuter') throw refuse('phase', 'there is nothing to pick')
  if (!inTime(turn, fork)) throw refuse('late', 'the time to pick is over')
  const stages = machine.stages(path)
  if (fork.stage < 0) {
    const stage = stages[choice]
    if (!stage) throw refuse('unknown', `the unit has ${stages.length} stages`)
    fork.stage = choice
    if (stage.root === 'token') {
      fork.element = 0
      return pass(fork, 'defender', turn.now)
    }
    return enterStage(turn, fork, stage, stageDepth(stage), 0)
  }
  const stage = stages[fork.stage]
  if (fork.level === 0) {
    if (choice >= tileCount(stage, fork.index)) throw refuse('unknown', 'the tile has no such element')
    fork.element = fork.index * stage.perTile + choice
    return pass(fork, 'defender', turn.now)
  }
  const down = stepDown(fork.level)
  const level = fork.level - down
  const index = (fork.index << down) + choice
  if (choice >= 1 << down || index << level >= tilesOf(stage)) throw refuse('unknown', 'the node has no such child')
  enterStage(turn, fork, stage, level, index)
}

/** What the judge is asked about at a fork whose element is picked. */
export function accusedAt(game: Game, machine: Machine, path: Pick<Path, 'root'>, { expansion, stage: at, element }: Fork): Accused {
  const posted = game.expansions[expansion]
  const stage = machine.stages(posted)[at]
  const tile = game.nodes[stageName(expansion, at, 0, Math.floor(element / stage.perTile))]
  const from = (element % stage.perTile) * elementBytes(stage)
  const claimed = tile ? tile.subarray(from, from + elementBytes(stage)) : new Uint8Array()
  return { ...commitmentsOf(machine, game.roots[path.root], posted), stage: at, element, claimed }
}

export function prove(turn: Turn, { path: at, expansion, evidence }: Move & { kind: 'prove' }): void {
  const { game, machine, by } = turn
  const path = livePath(game, at)
  const fork = liveFork(path, expansion)
  if (fork.element < 0) throw refuse('phase', 'no element is picked')
  if (!inTime(turn, fork)) throw refuse('late', 'the time to prove is over')
  const verdict = judge(machine, accusedAt(game, machine, path, fork), evidence)
  if (verdict.verdict === 'invalid') throw refuse('proof', verdict.reason)
  credit(path, by)
  if (verdict.verdict === 'equal') {
    path.state = 'lost'
    losePath(game, turn.payouts, path)
  } else refuteExpansion(turn, expansion, path)
}

/** An expansion is refuted: whoever argued with it is done with it; when it was the unit's last and no more may come, its defence falls (timeout). */
function refuteExpansion({ game, payouts }: Turn, index: number, by: Path): void {
  const expansion = game.expansions[index]
  expansion.refuted = true
  loseBond(game, payouts, expansion.bond, by.owner)
  for (const path of game.paths) for (const fork of path.forks) if (fork.expansion === index) fork.done = true
}

function refuteRoot({ game, payouts }: Turn, index: number, by: Path): void {
  const root = game.roots[index]
  root.refuted = true
  root.killer = by.owner
  loseBond(game, payouts, root.bond, by.owner)
  for (const path of game.paths) if (path.root === index && path.state === 'live') path.state = path === by ? 'won' : 'over'
}

/** Whether a path's unit can get no more expansions and has none left. */
function undefended({ game, now }: Turn, path: Path): boolean {
  const arrival = arrivalAt(game, path)!
  const live = (one: Expansion): boolean => !one.refuted && atUnit(path.root, path.layer, path.position)(one)
  return isOver(endOf(arrival.at, game.rules.expandWindow, game.rules), now) && !game.expansions.some(live)
}

/** Silence on a path, or on its fork with an expansion: whose turn it is loses. */
export function timeout(turn: Turn, at: number, expansion: number | null): void {
  const { game } = turn
  const path = livePath(game, at)
  const early = (): DisputeError => refuse('early', 'nobody has run out of time here')
  const silent = (): void => {
    path.state = 'lost'
    losePath(game, turn.payouts, path)
  }
  if (expansion !== null) {
    const fork = liveFork(path, expansion)
    if (inTime(turn, fork)) throw early()
    if (fork.turn === 'refuter') silent()
    else refuteExpansion(turn, expansion, path)
    return
  }
  if (path.arrived) {
    if (!undefended(turn, path)) throw early()
    // Several paths may have arrived here: the first that still argues is who refuted it.
    const first = game.paths.find((one) => one.state === 'live' && one.arrived && atUnit(path.root, path.layer, path.position)(one))!
    return refuteRoot(turn, path.root, first)
  }
  if (inTime(turn, path)) throw early()
  if (path.turn === 'refuter') silent()
  else refuteRoot(turn, path.root, path)
}

/** Every [path, expansion] whose silence counts now: what `timeout` accepts. */
export function silences(turn: Turn): [path: number, expansion: number | null][] {
  const found: [number, number | null][] = []
  turn.game.paths.forEach((path, i) => {
    if (path.state !== 'live') return
    if (path.arrived ? undefended(turn, path) : !inTime(turn, path)) found.push([i, null])
    for (const fork of path.forks) if (!fork.done && !inTime(turn, fork)) found.push([i, fork.expansion])
  })
  return found
}
