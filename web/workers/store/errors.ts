// What went wrong with stored bytes, in one sentence each; `kind` is what the page acts on.
export type StoreErrorKind = 'network' | 'relay' | 'hash' | 'quota' | 'missing' | 'unavailable'

export class StoreError extends Error {
  override name = 'StoreError'
  readonly kind: StoreErrorKind
  constructor(message: string, kind: StoreErrorKind) {
    super(message)
    this.kind = kind
  }
}

/** Decimal units, as disks and downloads are sold. */
export function sizeText(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`
  const unit = bytes < 1e6 ? 'kB' : bytes < 1e9 ? 'MB' : 'GB'
  const value = bytes / (unit === 'kB' ? 1e3 : unit === 'MB' ? 1e6 : 1e9)
  return `${value < 10 && unit !== 'kB' ? value.toFixed(1) : Math.round(value)} ${unit}`
}
