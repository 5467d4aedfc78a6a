// A binary heap of keys by when they are due; ties by key, so that the order never depends on when something was put in.

export interface Due {
  at: number
  key: string
}

const before = (a: Due, b: Due): boolean => a.at < b.at || (a.at === b.at && a.key < b.key)

export class DueQueue {
  private readonly heap: Due[] = []

  get size(): number {
    return this.heap.length
  }

  first(): Due | undefined {
    return this.heap[0]
  }

  push(due: Due): void {
    const { heap } = this
    let at = heap.length
    heap.push(due)
    while (at > 0) {
      const above = (at - 1) >> 1
      if (!before(heap[at], heap[above])) break
      ;[heap[at], heap[above]] = [heap[above], heap[at]]
      at = above
    }
  }

  pop(): Due | undefined {
    const { heap } = this
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    heap[0] = last
    for (let at = 0; ; ) {
      let next = at
      for (const child of [at * 2 + 1, at * 2 + 2]) if (child < heap.length && before(heap[child], heap[next])) next = child
      if (next === at) return first
      ;[heap[at], heap[next]] = [heap[next], heap[at]]
      at = next
    }
  }
}
