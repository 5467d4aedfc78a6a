// Honest strategies, as pure functions from a game and one's own trace to the next move, or null when there is nothing to do. `defence` answers for its own root whoever
// posted it, `refutation` descends to the first place where a root differs from its own. Neither ever makes a move that can lose its bond.
import { openElement } from '../../protocol/engine/proof/evidence.ts'
import { type Machine, tileCount, type Unit } from '../../protocol/engine/proof/table.ts'
import { slotOf, type Trace } from '../../protocol/engine/proof/trace.ts'
import { tileBytes } from '../../protocol/engine/proof/tree.ts'
import { equalBytes, join } from '../../protocol/hash.ts'
import { dueOf, endOf, isOver } from './clock.ts'
import { accusedAt } from './descent.ts'
import { challengeHash, choosesTokens, stopBroken, tokenBreaks } from './game.ts'
import { judge } from './judge.ts'
import { sameAccount } from './money.ts'
import type { Move } from './moves.ts'
import { outerDepth, outerName, stageName, stageRoots, stepDown } from './position.ts'
import type { Account, Clock, Expansion, Fork, Game, Moment, Path } from './state.ts'

/** What a player knows: its own trace on the claim's tokens. */
export interface Witness {
  trace: Trace
  /** The first unit whose result the claim itself states wrongly (a tail whose token differs), or null when the claim is what the model says. */
  wrong: Unit | null
  /** Opens the receipt's record of a position (receipts of some layers only). */
  record?: (position: number) => Uint8Array
}

export interface Seat {
  account: Account
  witness: Witness
  /** 32 bytes that nobody guesses. */
  nonce: Uint8Array
}

/** The first tail of a trace that chooses another token than the claim says. Computes every tail. */
export function wrongTail(trace: Trace): Unit | null {
  const { machine } = trace
  for (let position = machine.tailFrom; position < machine.tailTo; position++) {
    const unit = { layer: machine.to, position }
    const { values } = trace.unit(unit)
    if (values[values.length - 1][0] !== trace.token(position + 1)) return unit
  }
  return null
}

/** The first position at which the records of a receipt of some layers say another residual leaves than the trace. */
export function wrongRecord(trace: Trace, outRoot: (position: number) => Uint8Array): Unit | null {
  const { machine } = trace
  for (let position = 0; position < machine.positions; position++) {
    const unit = { layer: machine.to - 1, position }
    if (!equalBytes(trace.leaf(unit).residual, outRoot(position))) return unit
  }
  return null
}

const inTime = (clock: Clock, game: Game, now: Moment): boolean => !isOver(dueOf(clock, game.rules), now)

const unitName = ({ layer, position }: Unit): string => `${layer} ${position}`

/** The expansion of a unit that a trace makes. */
export function expansionOf(witness: Witness, root: number, unit: Unit): Move & { kind: 'expand' } {
  const { trace, record } = witness
  const { machine } = trace
  const steps = join(trace.unit(unit).stepRoots())
  const none = new Uint8Array()
  const { layer, position } = unit
  if (layer === machine.to) return { kind: 'expand', root, layer, position, leaf: none, proof: none, steps, record: none }
  const { residual, k, v } = trace.leaf(unit)
  const slot = slotOf(machine, unit)
  const last = layer === machine.to - 1 && machine.boundary !== null && machine.tailTo === 0
  return {
    kind: 'expand',
    root,
    layer,
    position,
    leaf: join([residual, k, v]),
    proof: trace.outer.proof(slot, slot + 1),
    steps,
    record: last ? record!(position) : none,
  }
}

/** Whether an expansion says of every stage what the trace says. */
const agrees = (trace: Trace, expansion: Expansion): boolean => {
  const roots = stageRoots(trace.machine.stages(expansion), expansion)
  const own = trace.unit(expansion)
  return roots.every((root, i) => root === null || equalBytes(root, own.root(i)))
}

/** Answers every obligation of the root that is this trace's, and posts it when nobody has. `stubborn`: also when its own trace says the claim is false. */
export function defence(game: Game, { witness }: Seat, now: Moment, stubborn = false): Move | null {
  const { trace } = witness
  if (game.outcome || !game.finder || (witness.wrong && !stubborn)) return null
  const own = game.roots.findIndex((root) => equalBytes(root.top, trace.outer.top))
  if (own < 0) return isOver(endOf(game.finder.at, game.rules.defendWindow, game.rules), now) ? null : { kind: 'defend', top: trace.outer.top }
  if (game.roots[own].refuted) return null
  for (const path of game.paths) {
    if (path.root !== own || path.state !== 'live') continue
    const move = path.arrived ? answerUnit(game, witness, path, now) : answerNode(game, trace, path, now)
    if (move) return move
  }
  return null
}

function answerNode(game: Game, trace: Trace, path: Path, now: Moment): Move | null {
  const { root, level, index } = path
  if (path.turn !== 'defender' || !inTime(path, game, now) || game.nodes[outerName(root, level, index)]) return null
  return { kind: 'reveal', root, level, index, children: join(trace.outer.children(level, index, stepDown(level))) }
}

function answerUnit(game: Game, witness: Witness, path: Path, now: Moment): Move | null {
  const { trace } = witness
  const unit = { layer: path.layer, position: path.position }
  const here = game.expansions.filter((one) => one.root === path.root && unitName(one) === unitName(unit))
  const arrival = game.arrivals.find((one) => one.root === path.root && unitName(one) === unitName(unit))!
  if (!isOver(endOf(arrival.at, game.rules.expandWindow, game.rules), now)) {
    if (!here.some((one) => agrees(trace, one))) return expansionOf(witness, path.root, unit)
  }
  for (const fork of path.forks) {
    if (fork.done || fork.turn !== 'defender' || !inTime(fork, game, now)) continue
    if (!agrees(trace, game.expansions[fork.expansion])) continue
    return answerFork(game, witness, path, fork)
  }
  return null
}

function answerFork(game: Game, { trace, record }: Witness, path: Path, fork: Fork): Move {
  const { expansion, stage, level, index, element } = fork
  const unit = { layer: path.layer, position: path.position }
  if (element >= 0) return { kind: 'prove', path: game.paths.indexOf(path), expansion, evidence: openElement(trace, unit, stage, element, record ?? null) }
  const own = trace.unit(unit)
  const bytes = level === 0 ? tileBytes(own.stages[stage], own.values[stage], index) : join(own.tree(stage).children(level, index, stepDown(level)))
  return { kind: 'open', expansion, stage, level, index, bytes }
}

/** Challenges a false claim, and brings down every root that is posted for it. `eager`: also false roots of a claim that is right, for their bonds. */
export function refutation(game: Game, seat: Seat, now: Moment, eager = false): Move | null {
  const { account, witness, nonce } = seat
  const { trace } = witness
  const { machine } = trace
  if (game.outcome) return null
  const shot = shotOf(game, trace)
  if (shot && (game.finder || now.tau < game.challengeUntil)) return shot
  if (!witness.wrong && !(eager && game.finder)) return null
  if (!game.finder) {
    const hash = challengeHash(game.claimId, account, nonce)
    const made = game.commits.find((one) => sameAccount(one.account, account) && equalBytes(one.hash, hash))
    if (!made) return now.tau < game.challengeUntil ? { kind: 'commit', hash } : null
    return now.height >= made.at.height + game.rules.challengeBlocks ? { kind: 'challenge', nonce } : null
  }
  for (const path of game.paths) {
    if (path.state !== 'live' || !sameAccount(path.owner, account)) continue
    const move = path.arrived ? pickInUnit(game, seat, path, now) : pickChild(game, trace, path, now)
    if (move) return move
  }
  for (const [root, { refuted, at, top }] of game.roots.entries()) {
    if (refuted || isOver(endOf(at, game.rules.pathWindow, game.rules), now)) continue
    if (game.paths.some((path) => path.root === root && path.state === 'live' && sameAccount(path.owner, account))) continue
    if (equalBytes(top, trace.outer.top)) {
      if (!witness.wrong) continue
      return { kind: 'unit', root, ...witness.wrong }
    }
    return { kind: 'path', root, ...deepestDifference(game, machine, trace, root) }
  }
  return null
}

/** A move that ends the game at once, when the claim breaks the stop rule openly. */
function shotOf(game: Game, trace: Trace): Move | null {
  if (!choosesTokens(trace.machine)) return null
  const { prompt, out, vocab } = trace.machine.tokens
  if (stopBroken(game, prompt, out)) return { kind: 'shot', index: 0, evidence: new Uint8Array() }
  for (let index = 0; index < out; index++) {
    if (tokenBreaks(game, out, vocab, index, trace.out.tokens[index])) return { kind: 'shot', index, evidence: trace.out.open(index, index + 1) }
  }
  return null
}

/** First child of revealed children that is not the own tree's. */
function firstDifferent(children: Uint8Array, own: readonly Uint8Array[]): number {
  return own.findIndex((hash, i) => !equalBytes(hash, children.subarray(i * 32, i * 32 + 32)))
}

/** The node that leads to the first difference, as deep as what is revealed allows: others' reveals are used. */
function deepestDifference(game: Game, machine: Machine, trace: Trace, root: number): { level: number; index: number } {
  let level = outerDepth(machine)
  let index = 0
  while (level > 0) {
    const children = game.nodes[outerName(root, level, index)]
    if (!children) break
    const down = stepDown(level)
    index = (index << down) + firstDifferent(children, trace.outer.children(level, index, down))
    level -= down
  }
  return { level, index }
}

function pickChild(game: Game, trace: Trace, path: Path, now: Moment): Move | null {
  if (path.turn !== 'refuter' || !inTime(path, game, now)) return null
  const children = game.nodes[outerName(path.root, path.level, path.index)]
  const choice = firstDifferent(children, trace.outer.children(path.level, path.index, stepDown(path.level)))
  return { kind: 'pick', path: game.paths.indexOf(path), expansion: null, choice }
}

function pickInUnit(game: Game, { witness }: Seat, path: Path, now: Moment): Move | null {
  for (const fork of path.forks) {
    if (fork.done || !inTime(fork, game, now)) continue
    const move = fork.turn === 'refuter' ? pickInFork(game, witness.trace, path, fork) : helpFork(game, witness, path, fork)
    if (move) return move
  }
  return null
}

function pickInFork(game: Game, trace: Trace, path: Path, fork: Fork): Move {
  const { machine } = trace
  const own = trace.unit(path)
  const at = game.paths.indexOf(path)
  const { expansion } = fork
  const pick = (choice: number): Move => ({ kind: 'pick', path: at, expansion, choice })
  if (fork.stage < 0) {
    const roots = stageRoots(machine.stages(path), game.expansions[expansion])
    const first = roots.findIndex((root, i) => root === null || !equalBytes(root, own.root(i)))
    return pick(first)
  }
  const stage = own.stages[fork.stage]
  const shown = game.nodes[stageName(expansion, fork.stage, fork.level, fork.index)]
  if (fork.level > 0) return pick(firstDifferent(shown, own.tree(fork.stage).children(fork.level, fork.index, stepDown(fork.level))))
  const bytes = tileBytes(stage, own.values[fork.stage], fork.index)
  const size = bytes.length / tileCount(stage, fork.index)
  let element = 0
  while (equalBytes(bytes.subarray(element * size, (element + 1) * size), shown.subarray(element * size, (element + 1) * size))) element++
  return pick(element)
}

/** Where the other side must prove, one's own evidence may do as well: what flows into the first difference is common, unless it needs the rest of a false tree. */
function helpFork(game: Game, { trace, record }: Witness, path: Path, fork: Fork): Move | null {
  if (fork.element < 0) return null
  const evidence = openElement(trace, path, fork.stage, fork.element, record ?? null)
  const verdict = judge(trace.machine, accusedAt(game, trace.machine, path, fork), evidence)
  return verdict.verdict === 'unequal' ? { kind: 'prove', path: game.paths.indexOf(path), expansion: fork.expansion, evidence } : null
}
