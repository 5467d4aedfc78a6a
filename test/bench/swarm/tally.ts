// What a run of alterations came to, in one process or in several.

/** What a run of alterations came to. */
export interface Tally {
  activation: number
  shard: number
  noticed: number
  named: number
  honestNamed: number
  /** Bits that changed nothing that left the host, by tensor: not counted as alterations. */
  without: Map<string, number>
  /** Of those, how many receipts were still found equal, as they must be. */
  withoutEqual: number
  /** Answers whose receipt lacked a host: asked again. */
  incomplete: number
  /** Honest answers in between that were found equal, of how many. */
  controls: [equal: number, of: number]
}

export const newTally = (): Tally => ({
  activation: 0,
  shard: 0,
  noticed: 0,
  named: 0,
  honestNamed: 0,
  without: new Map(),
  withoutEqual: 0,
  incomplete: 0,
  controls: [0, 0],
})

/** Adds one checked answer to the tally. Returns whether it counted as an alteration. */
export function count(
  tally: Tally,
  kind: 'activation' | 'shard',
  effective: boolean,
  guilty: string,
  verdict: { equal: boolean; named: string[] },
  where: string,
): boolean {
  tally.honestNamed += verdict.named.filter((key) => key !== guilty).length
  if (!effective) {
    tally.without.set(where, (tally.without.get(where) ?? 0) + 1)
    if (verdict.equal) tally.withoutEqual++
    return false
  }
  tally[kind]++
  if (!verdict.equal) tally.noticed++
  if (verdict.named.includes(guilty)) tally.named++
  return true
}

export const tallyLine = (tally: Tally): string =>
  `${tally.activation} activations and ${tally.shard} shard bits altered: ${tally.noticed} noticed, ${tally.named} times the right host named, ${tally.honestNamed} honest hosts named; ` +
  `honest answers in between: ${tally.controls[0]} of ${tally.controls[1]} equal; receipts that lacked a host: ${tally.incomplete}; bits without any effect: ${[...tally.without].map(([name, n]) => `${n} ${name}`).join(', ') || 'none'}`
