// Where in a trace an argument stands: names of nodes, which children they have, and whether revealed ones fold to what was committed. Trees are walked six levels at a
// time: a reveal is 64 children, 2 KiB.
import type { Commitments } from '../../protocol/engine/proof/evidence.ts'
import { elementBytes, type ListShape, type Machine, type Stage, tileCount, tilesOf, type Unit } from '../../protocol/engine/proof/table.ts'
import { slotsOf, strideOf } from '../../protocol/engine/proof/trace.ts'
import { foldRange, traceListRoot, traceTileHash } from '../../protocol/engine/proof/tree.ts'
import { equalBytes } from '../../protocol/hash.ts'
import { depthOf, emptyRoot, hashBytes } from '../../protocol/model/merkle.ts'
import { DisputeError } from './errors.ts'
import type { Expansion, Game, Root } from './state.ts'

/** Levels that one reveal goes down. */
export const levelsPerReveal = 6

/** Levels from a node to the children that a reveal of it shows. */
export const stepDown = (level: number): number => (level < levelsPerReveal ? level : levelsPerReveal)

/** Levels at which an argument can stop in a tree of this depth: depth, depth − 6, …, 0. */
export const isStop = (depth: number, level: number): boolean => level >= 0 && level <= depth && (level === 0 || (depth - level) % levelsPerReveal === 0)

export const outerName = (root: number, level: number, index: number): string => `r${root}:${level}:${index}`
export const stageName = (expansion: number, stage: number, level: number, index: number): string => `e${expansion}.${stage}:${level}:${index}`

export const outerDepth = (machine: Machine): number => depthOf(slotsOf(machine))

/** Child `i` of revealed children. */
const childAt = (children: Uint8Array, i: number): Uint8Array => children.subarray(i * hashBytes, (i + 1) * hashBytes)

/** Hash of the node that argument can stop at, from what is revealed; null when its parent is not. `top` is the tree's; for a stage that is null, its list's root counts. */
export function knownHash(
  nodes: Game['nodes'],
  name: (level: number, index: number) => string,
  depth: number,
  top: Uint8Array,
  level: number,
  index: number,
): Uint8Array | null {
  if (!isStop(depth, level) || index < 0 || index >= 1 << (depth - level)) return null
  if (level === depth) return top
  // The parent is the next stop upwards: six levels, or what is left of the last step.
  const up = level === 0 && depth % levelsPerReveal !== 0 ? depth % levelsPerReveal : levelsPerReveal
  const parent = nodes[name(level + up, Math.floor(index / (1 << up)))]
  return parent ? childAt(parent, index & ((1 << up) - 1)) : null
}

/** Hashes of a reveal's children. Throws DisputeError when there are not as many as the node has. */
function childrenOf(bytes: Uint8Array, level: number): Uint8Array[] {
  const count = 1 << stepDown(level)
  if (bytes.length !== count * hashBytes) throw new DisputeError('proof', `the node has ${count} children of 32 bytes, not ${bytes.length} bytes`)
  return Array.from({ length: count }, (_, i) => childAt(bytes, i))
}

/** Whether no slot under a node of the outer tree is a unit's. */
function unusedOuter(machine: Machine, level: number, index: number): boolean {
  const first = index << level
  if (first >= slotsOf(machine)) return true
  const stride = strideOf(machine)
  return 1 << level <= stride && first % stride >= machine.positions
}

/** Checks children of an outer node: they fold to it, and unused ones are empty. Throws DisputeError `proof`. */
export function checkOuterReveal(machine: Machine, known: Uint8Array, level: number, index: number, bytes: Uint8Array): void {
  const children = childrenOf(bytes, level)
  const below = level - stepDown(level)
  if (!equalBytes(foldRange(children, children.length, 0, new Uint8Array()), known)) throw new DisputeError('proof', 'the children are not those of the node')
  const first = index << stepDown(level)
  for (const [i, child] of children.entries()) {
    if (unusedOuter(machine, below, first + i) && !equalBytes(child, emptyRoot(below)))
      throw new DisputeError('proof', 'an unused part of the trace is not empty')
  }
}

/** Checks what is shown of a stage's tree: children of a node, or at level 0 a tile. Throws DisputeError `proof`. */
export function checkStageReveal(stage: ListShape, known: Uint8Array, level: number, index: number, bytes: Uint8Array): void {
  const tiles = tilesOf(stage)
  const depth = depthOf(tiles)
  let hash: Uint8Array
  if (level === 0) {
    const count = tileCount(stage, index)
    if (bytes.length !== count * elementBytes(stage)) throw new DisputeError('proof', `the tile has ${count * elementBytes(stage)} bytes, not ${bytes.length}`)
    hash = traceTileHash(stage.type, index, count, bytes)
  } else {
    const children = childrenOf(bytes, level)
    const below = level - stepDown(level)
    hash = foldRange(children, children.length, 0, new Uint8Array())
    const first = index << stepDown(level)
    for (const [i, child] of children.entries()) {
      if ((first + i) << below >= tiles && !equalBytes(child, emptyRoot(below))) throw new DisputeError('proof', 'an unused part of the stage is not empty')
    }
  }
  // What is committed is the list's root: its top is seen only now.
  if (!equalBytes(level === depth ? traceListRoot(stage, hash) : hash, known)) throw new DisputeError('proof', 'these are not the bytes of the node')
}

/** Roots of all stages of a unit as an expansion states them; null for a token. */
export function stageRoots(stages: readonly Stage[], expansion: Pick<Expansion, 'leaf' | 'steps'>): (Uint8Array | null)[] {
  let step = 0
  return stages.map(({ root }) => {
    if (root === 'step') return childAt(expansion.steps, step++)
    if (root === 'token') return null
    return childAt(expansion.leaf, root === 'residual' ? 0 : root === 'k' ? 1 : 2)
  })
}

export const unitOfExpansion = ({ layer, position }: Expansion): Unit => ({ layer, position })

/** What is fixed about a unit once it is expanded. */
export const commitmentsOf = (machine: Machine, root: Root, expansion: Expansion): Commitments => ({
  top: root.top,
  unit: unitOfExpansion(expansion),
  roots: stageRoots(machine.stages(unitOfExpansion(expansion)), expansion),
})
