// That a transaction is part of a block: its place in the tree under the header's transactionRoot. Trees of the blocks asked for last are kept, since a page that shows one
// transaction of a block mostly shows others of it too, and a full block is 20,000 hashes.
import { hex, join } from '../../protocol/hash.ts'
import { emptyRoot, hashNode } from '../../protocol/model/merkle.ts'
import type { LedgerStore } from './store.ts'

const treesMax = 8

export interface Inclusion {
  index: number
  count: number
  /** Siblings, lowest first, joined (protocol/model/merkle.ts foldProof). */
  path: Uint8Array
}

export class Inclusions {
  private readonly store: LedgerStore
  private readonly trees = new Map<number, { places: Map<string, number>; rows: Uint8Array[][] }>()

  constructor(store: LedgerStore) {
    this.store = store
  }

  /** Of a transaction in a finished block; null when the block has none such. */
  of(height: number, id: Uint8Array): Inclusion | null {
    const { places, rows } = this.tree(height)
    const index = places.get(hex(id))
    if (index === undefined) return null
    const path = rows.slice(0, -1).map((row, level) => row[(index >> level) ^ 1] ?? emptyRoot(level))
    return { index, count: rows[0].length, path: join(path) }
  }

  private tree(height: number) {
    const known = this.trees.get(height)
    if (known) return known
    const ids = this.store.idsOf(height)
    const rows: Uint8Array[][] = [ids]
    for (let row = ids, level = 0; row.length > 1; level++) {
      const above: Uint8Array[] = []
      for (let i = 0; i < row.length; i += 2) above.push(hashNode(row[i], row[i + 1] ?? emptyRoot(level)))
      rows.push(above)
      row = above
    }
    const tree = { places: new Map(ids.map((id, index) => [hex(id), index])), rows }
    if (this.trees.size >= treesMax) this.trees.delete(this.trees.keys().next().value!)
    this.trees.set(height, tree)
    return tree
  }
}
