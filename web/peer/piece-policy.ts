// Whom to ask for which piece of a model, so that one seeder's copy soon lies among many. Pure.

/** A source of pieces as `mayAsk` sees it. */
export interface Source {
  kind: 'partial' | 'seeder' | 'web'
  /** Bytes per second that come from it now, and the most that ever came. */
  speed: number
  peak: number
}

/**
 * Whether to ask a source for a piece. Who has everything is asked for what nobody else has, so that one seeder's copy soon lies among many; for the rest only when the
 * others give less than half of what it could. The relay's web seed comes last: for pieces that no peer has, or when no peer has sent anything for a while.
 * `spread`: peers that hold part of the model, this piece among it. `seeders`: peers with everything. `othersSpeed`: bytes per second from the former.
 */
export function mayAsk(source: Source, spread: number, seeders: number, othersSpeed: number, starving: boolean): boolean {
  if (source.kind === 'partial') return true
  if (source.kind === 'web') return starving || spread + seeders === 0
  return spread === 0 || othersSpeed < source.peak / 2
}
