// Token buckets by address: so many a second, with a burst. Bounded memory: the oldest address is forgotten first, which at worst gives it a fresh burst.

export interface RateOptions {
  perSecond: number
  burst: number
}

const addressesMax = 10_000

export class RateLimit {
  private readonly buckets = new Map<string, { left: number; atMs: number }>()
  private readonly options: RateOptions
  private readonly now: () => number

  constructor(options: RateOptions, now: () => number = () => performance.now()) {
    this.options = options
    this.now = now
  }

  /** Takes one; returns 0, or after how many ms there would be one. */
  take(address: string): number {
    const { perSecond, burst } = this.options
    const atMs = this.now()
    const before = this.buckets.get(address)
    const left = before ? Math.min(burst, before.left + ((atMs - before.atMs) * perSecond) / 1000) : burst
    this.buckets.delete(address)
    if (!before && this.buckets.size >= addressesMax) this.buckets.delete(this.buckets.keys().next().value!)
    this.buckets.set(address, { left: left >= 1 ? left - 1 : left, atMs })
    return left >= 1 ? 0 : ((1 - left) * 1000) / perSecond
  }
}
