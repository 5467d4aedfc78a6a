// Which positions of which sequence stand in which page of the cache: host side only. A page holds 64 positions of every layer of the segment.
export const pagePositions = 64

export class Sequences {
  private readonly held = new Map<number, { length: number; pages: number[] }>()
  private readonly free: number[] = []
  private made = 0

  lengths(): Map<number, number> {
    return new Map([...this.held].map(([id, s]) => [id, s.length]))
  }

  /** Pages in all, free ones included: what the cache buffers must hold. */
  get pageCount(): number {
    return this.made
  }

  /** Makes room for `length` positions of a sequence; what it holds already stays. */
  reserve(id: number, length: number): void {
    let found = this.held.get(id)
    if (!found) {
      found = { length: 0, pages: [] }
      this.held.set(id, found)
    }
    while (found.pages.length * pagePositions < length) found.pages.push(this.free.pop() ?? this.made++)
  }

  pagesOf(id: number): readonly number[] {
    return this.held.get(id)?.pages ?? []
  }

  setLength(id: number, length: number): void {
    this.held.get(id)!.length = length
  }

  /** Forgets positions >= length; length 0 frees the sequence. */
  truncate(id: number, length: number): void {
    const found = this.held.get(id)
    if (!found || (length > 0 && length >= found.length)) return
    found.length = length
    this.free.push(...found.pages.splice(Math.ceil(length / pagePositions)))
    if (length === 0) this.held.delete(id)
  }

  /** Gives back pages reserved beyond the length: after a run that failed. */
  trim(): void {
    for (const [id, s] of [...this.held]) {
      this.free.push(...s.pages.splice(Math.ceil(s.length / pagePositions)))
      if (s.length === 0) this.held.delete(id)
    }
  }
}
