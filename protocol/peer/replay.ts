// After a repair: what every host of the ring keeps, and from where it sends its outputs again, so that each gets the rows it lacks and none is computed twice without need.

/** What a host says when it opens: rows cached, and the outputs of [logFrom, kept) that it can still send. */
export interface Kept {
  kept: number
  logFrom: number
}

export interface Replay {
  keep: number
  /** Outputs go to the successor from here on: below `keep` they are replayed, above it some are computed that the successor has already. */
  replayFrom: number
}

/**
 * `tokens`: how many are known to the requester. The last one's row is run by everyone, again if need be, since it gives the next token.
 * Returns one entry per host; the requester itself sends tokens from the first host's `keep` on.
 */
export function planReplay(hosts: readonly Kept[], tokens: number): Replay[] {
  const plan: Replay[] = []
  let need = Infinity
  for (let i = hosts.length - 1; i >= 0; i--) {
    const kept = Math.min(hosts[i].kept, tokens - 1)
    // A log that does not reach back far enough: the rows are computed again from what comes in.
    const keep = need >= kept || hosts[i].logFrom <= need ? kept : need
    plan.unshift({ keep, replayFrom: need === Infinity ? keep : need })
    need = keep
  }
  return plan
}
