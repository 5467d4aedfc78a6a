// Layers as people read them: runs of neighbours that the same hosts serve, and what the picture draws. Pure.
import type { HostRow, ModelRow } from '../peer/snapshot.ts'

export interface Run {
  /** Layers [from, to). */
  from: number
  to: number
  /** Hosts in service there, in the order of their keys. */
  peers: string[]
}

/** Runs of neighbouring layers with the same hosts in service. */
export function runsOf(model: ModelRow): Run[] {
  const serving = model.hosts.filter((host) => host.state === 'serving')
  const cuts = [...new Set([0, model.layers, ...serving.flatMap(({ from, to }) => [from, to])])].sort((a, b) => a - b)
  return cuts.slice(0, -1).map((from, index) => ({
    from,
    to: cuts[index + 1],
    peers: [...new Set(serving.filter((host) => host.from <= from && host.to > from).map((host) => host.peer))].sort(),
  }))
}

/** Lanes of the picture: whole-model hosts first, then by where they begin. */
export const lanesOf = (hosts: readonly HostRow[]): HostRow[] =>
  [...hosts].sort((a, b) => a.from - b.from || b.to - a.to || (a.peer < b.peer ? -1 : a.peer > b.peer ? 1 : 0))
