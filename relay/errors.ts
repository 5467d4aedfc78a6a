// What a person at the command line is told when something cannot be done. One sentence each; the process ends with `exitCode`.

/** The request was clear but could not be carried out: a missing file, a full disk, no network. */
export class RelayError extends Error {
  override name = 'RelayError'
  readonly exitCode: number = 1
}

/** The request itself was wrong: an unknown option, a bad number. */
export class UsageError extends RelayError {
  override name = 'UsageError'
  override readonly exitCode = 2
}

/** Node's error code (ENOENT, ENOSPC, …) of anything thrown, or ''. */
export function codeOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string' ? error.code : ''
}

/** The sentence of anything thrown. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  // fetch() says "fetch failed" and keeps the reason in `cause`.
  const cause = error.cause instanceof Error ? error.cause : undefined
  if (cause && ['ENOTFOUND', 'EAI_AGAIN'].includes(codeOf(cause)))
    return `the name ${'hostname' in cause ? cause.hostname : ''} is not known here (is there a network?)`
  return cause && error.message === 'fetch failed' ? cause.message || codeOf(cause) : error.message
}

/** Whether it was thrown because the disk (or the user's quota) is full. */
export function isDiskFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT'].includes(codeOf(error))
}

/** Whether it was thrown because `signal` was aborted, or says so itself. */
export function isCancelled(error: unknown, signal?: AbortSignal): boolean {
  return (
    signal?.aborted === true ||
    (error instanceof Error && error.name === 'AbortError') ||
    (error instanceof Error && 'kind' in error && error.kind === 'cancelled')
  )
}
