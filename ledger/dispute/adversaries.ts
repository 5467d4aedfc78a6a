// Named adversaries: strategies that try to bring down a true claim, to save a false one, or to take an honest player's bond. Tests and simulations play them against
// the honest ones. Chance comes from outside; a cheat's trace is an ordinary trace with an alteration.
import type { Machine } from '../../protocol/engine/proof/table.ts'
import { slotsOf, unitOf } from '../../protocol/engine/proof/trace.ts'
import { dueOf, endOf, isOver } from './clock.ts'
import { challengeHash } from './game.ts'
import { sameAccount } from './money.ts'
import type { Move } from './moves.ts'
import { defence, refutation, type Seat } from './player.ts'
import { outerDepth, stepDown } from './position.ts'
import type { Game, Moment, Path } from './state.ts'

export type Strategy = (game: Game, now: Moment, machine: Machine) => Move | null

/** Whole numbers below 2^32. */
export type Chance = () => number

const bytesOf = (chance: Chance, length: number): Uint8Array => Uint8Array.from({ length }, () => chance() & 255)
const one = <T>(chance: Chance, list: readonly T[]): T => list[chance() % list.length]

/** Challenges and nothing else: to be the finder that loses, or to scare. */
function sham(seat: Seat, game: Game, now: Moment): Move | null {
  if (game.finder) return null
  const hash = challengeHash(game.claimId, seat.account, seat.nonce)
  const made = game.commits.find(({ account }) => sameAccount(account, seat.account))
  if (!made) return now.tau < game.challengeUntil ? { kind: 'commit', hash } : null
  return now.height >= made.at.height + game.rules.challengeBlocks ? { kind: 'challenge', nonce: seat.nonce } : null
}

const ownPaths = (game: Game, seat: Seat): Path[] => game.paths.filter((path) => path.state === 'live' && sameAccount(path.owner, seat.account))

/** A pick that may be done on an own path, at random. */
function randomPick(game: Game, seat: Seat, now: Moment, machine: Machine, chance: Chance): Move | null {
  for (const path of ownPaths(game, seat)) {
    const at = game.paths.indexOf(path)
    if (!path.arrived) {
      if (path.turn !== 'refuter' || isOver(dueOf(path, game.rules), now)) continue
      const down = stepDown(path.level)
      const used = Array.from({ length: 1 << down }, (_, i) => i).filter((i) => {
        const first = ((path.index << down) + i) << (path.level - down)
        return path.level > down ? first < slotsOf(machine) : unitOf(machine, first) !== null && first < slotsOf(machine)
      })
      return { kind: 'pick', path: at, expansion: null, choice: one(chance, used) }
    }
    for (const fork of path.forks) {
      if (fork.done || fork.turn !== 'refuter' || isOver(dueOf(fork, game.rules), now)) continue
      const stages = machine.stages(path)
      const most = fork.stage < 0 ? stages.length : fork.level > 0 ? 1 << stepDown(fork.level) : stages[fork.stage].perTile
      return { kind: 'pick', path: at, expansion: fork.expansion, choice: chance() % most }
    }
  }
  return null
}

/** A path to anywhere against any live root. */
function anyPath(game: Game, machine: Machine, chance: Chance): Move | null {
  const roots = game.roots.flatMap((root, i) => (root.refuted ? [] : [i]))
  if (roots.length === 0) return null
  const root = one(chance, roots)
  if (chance() % 2 === 0) return { kind: 'path', root, level: outerDepth(machine), index: 0 }
  const tails = machine.tailTo - machine.tailFrom
  if (tails > 0 && chance() % 3 === 0) return { kind: 'unit', root, layer: machine.to, position: machine.tailFrom + (chance() % tails) }
  return { kind: 'unit', root, layer: machine.from + (chance() % (machine.to - machine.from)), position: chance() % machine.positions }
}

/** Rubbish for a unit that paths have arrived at: the leaf is the trace's, the steps are not. */
function rubbish(game: Game, seat: Seat, chance: Chance): Move | null {
  if (game.arrivals.length === 0) return null
  const { root, layer, position } = one(chance, game.arrivals)
  if (game.roots[root].refuted) return null
  const { trace } = seat.witness
  const { machine } = trace
  const unit = { layer, position }
  const none = new Uint8Array()
  const count = machine.stages(unit).filter((stage) => stage.root === 'step').length
  const steps = bytesOf(chance, count * 32)
  if (layer === machine.to) return { kind: 'expand', root, layer, position, leaf: none, proof: none, steps, record: none }
  const slot = (layer - machine.from) * (slotsOf(machine) / (machine.to - machine.from)) + position
  const { residual, k, v } = trace.leaf(unit)
  const leaf = Uint8Array.from([...residual, ...k, ...v])
  return { kind: 'expand', root, layer, position, leaf, proof: trace.outer.proof(slot, slot + 1), steps, record: none }
}

/** Paths that an adversary can pay for; a flood has more. */
const pathsMax = 8
const floodMax = 24

/** Makes a strategy act only now and then. */
const seldom =
  (chance: Chance, of: number, strategy: Strategy): Strategy =>
  (game, now, machine) =>
    chance() % of === 0 ? strategy(game, now, machine) : null

export const adversaries = {
  /** Answers for its own trace, whatever it is: the ordinary cheat, when its trace is false (FlipOneBit, LatePoisoner's ally). */
  Cheat:
    (seat: Seat): Strategy =>
    (game, now) =>
      defence(game, seat, now, true),
  /** Posts a root and never answers. */
  Silent:
    (seat: Seat): Strategy =>
    (game, now) => {
      const move = defence(game, seat, now, true)
      return move?.kind === 'defend' ? move : null
    },
  /** Posts false roots to throw the game for a true claim, answering just enough to be refuted in the open. */
  ThrowDefender: (seat: Seat, chance: Chance): Strategy => {
    const cheat = adversaries.Cheat(seat)
    return (game, now, machine) =>
      chance() % 8 === 0 && game.finder && game.roots.length < 3 ? { kind: 'defend', top: bytesOf(chance, 32) } : cheat(game, now, machine)
  },
  /** Challenges first and plays badly, so that the claim looks defended. */
  ThrowChallenger:
    (seat: Seat, chance: Chance): Strategy =>
    (game, now, machine) =>
      sham(seat, game, now) ??
      (game.finder && ownPaths(game, seat).length === 0 && game.paths.length < pathsMax
        ? anyPath(game, machine, chance)
        : randomPick(game, seat, now, machine, chance)),
  /** Challenges every claim, right or wrong, and leaves. */
  Griefer:
    (seat: Seat): Strategy =>
    (game, now) =>
      sham(seat, game, now),
  /** Copies what others commit, hoping that somebody else has looked. */
  Freeloader:
    (seat: Seat): Strategy =>
    (game, now) => {
      if (game.finder || now.tau >= game.challengeUntil) return null
      return game.commits.length > 0 && !game.commits.some(({ account }) => sameAccount(account, seat.account))
        ? { kind: 'commit', hash: challengeHash(game.claimId, seat.account, seat.nonce) }
        : null
    },
  /** A root with nothing under it. */
  HiddenNode:
    (_seat: Seat, chance: Chance): Strategy =>
    (game, now) =>
      game.finder && game.roots.length < 3 && !isOver(endOf(game.finder.at, game.rules.defendWindow, game.rules), now)
        ? { kind: 'defend', top: bytesOf(chance, 32) }
        : null,
  /** Posts its root at the last moment it can. */
  LatePoisoner:
    (seat: Seat): Strategy =>
    (game, now) => {
      if (!game.finder) return null
      const end = endOf(game.finder.at, game.rules.defendWindow, game.rules)
      return now.tau < end.tau - 15_000 ? null : defence(game, seat, now, true)
    },
  /** Rubbish expansions on every unit that a path reaches. */
  Expander: (seat: Seat, chance: Chance): Strategy => seldom(chance, 6, (game) => (game.expansions.length < 24 ? rubbish(game, seat, chance) : null)),
  /** Posts the true root and is gone. */
  Vanisher: (seat: Seat): Strategy => adversaries.Silent(seat),
  /** Many paths against whatever is posted, some played on. */
  PathFlooder:
    (seat: Seat, chance: Chance): Strategy =>
    (game, now, machine) =>
      sham(seat, game, now) ??
      (game.paths.length < floodMax && chance() % 3 === 0 ? anyPath(game, machine, chance) : randomPick(game, seat, now, machine, chance)),
  /** A path into every unit, one after another. */
  Exhaustive:
    (seat: Seat, chance: Chance): Strategy =>
    (game, now, machine) => {
      const roots = game.roots.flatMap((root, i) => (root.refuted ? [] : [i]))
      const made = game.paths.filter((path) => sameAccount(path.owner, seat.account)).length
      const unit = unitOf(machine, made)
      if (game.finder && roots.length > 0 && made < slotsOf(machine) && unit) return { kind: 'unit', root: roots[0], ...unit }
      return randomPick(game, seat, now, machine, chance)
    },
  /** Answers at the last moment only. */
  DeadlineHugger:
    (seat: Seat): Strategy =>
    (game, now) => {
      const move = defence(game, seat, now, true)
      if (!move || move.kind === 'defend' || move.kind === 'expand') return move
      const soon = game.paths.some(
        (path) => path.state === 'live' && [path, ...path.forks].some((clock) => clock.turn === 'defender' && dueOf(clock, game.rules).tau - now.tau <= 10_000),
      )
      return soon ? move : null
    },
  /** An honest refuter's moves on a claim it has not checked: with a false trace of its own. */
  BlindRefuter:
    (seat: Seat): Strategy =>
    (game, now) => {
      try {
        return game.paths.length < pathsMax || ownPaths(game, seat).length > 0 ? refutation(game, seat, now) : null
      } catch {
        return null
      }
    },
} satisfies Record<string, (seat: Seat, chance: Chance) => Strategy>

export type AdversaryName = keyof typeof adversaries
export const adversaryNames = Object.keys(adversaries) as AdversaryName[]
