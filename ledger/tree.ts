// The sparse Merkle tree over the state: a binary trie on 256-bit paths in which a subtree with one leaf is that leaf, so its shape follows from the keys alone.
// Nodes are never changed: an older root stays provable while the next block is built. Specified in ledger/README.md.
import { equalBytes, hashTagged, join, sha256, tagPrefix } from '../protocol/hash.ts'

/** Root of a tree without leaves. */
export const emptyTree: Uint8Array = new Uint8Array(32)

export interface Leaf {
  path: Uint8Array
  /** H("value", bytes). */
  value: Uint8Array
  hash: Uint8Array
}
export interface Branch {
  left: TreeNode
  right: TreeNode
  hash: Uint8Array
}
export type TreeNode = Leaf | Branch | null

const text = new TextEncoder()
/** Where a key lies: H("key", its ASCII text). */
export const pathOf = (key: string): Uint8Array => hashTagged('key', text.encode(key))
export const valueHash = (value: Uint8Array): Uint8Array => hashTagged('value', value)

const pairHash = (tag: string): ((a: Uint8Array, b: Uint8Array) => Uint8Array) => {
  const prefix = tagPrefix(tag)
  const message = new Uint8Array(prefix.length + 64)
  message.set(prefix)
  return (a, b) => {
    message.set(a, prefix.length)
    message.set(b, prefix.length + 32)
    return sha256(message)
  }
}
/** H("leaf", path, value hash). */
const leafHash = pairHash('leaf')
/** H("branch", left, right); an empty side is 32 zero bytes. */
const branchHash = pairHash('branch')

export const rootOf = (node: TreeNode): Uint8Array => node?.hash ?? emptyTree

const bit = (path: Uint8Array, depth: number): number => (path[depth >> 3] >> (7 - (depth & 7))) & 1

/** A leaf's new value hash; null deletes it. */
export interface Change {
  path: Uint8Array
  value: Uint8Array | null
}

function comparePaths(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < 32; i++) if (a[i] !== b[i]) return a[i] - b[i]
  return 0
}

/** The tree after all changes; paths must differ. The order of `changes` does not matter. Every touched branch is hashed once. */
export function update(root: TreeNode, changes: readonly Change[]): TreeNode {
  const sorted = [...changes].sort((a, b) => comparePaths(a.path, b.path))
  return change(root, sorted, 0, sorted.length, 0)
}

function change(node: TreeNode, sorted: readonly Change[], from: number, to: number, depth: number): TreeNode {
  if (from === to) return node
  if (node === null || 'path' in node) {
    // A leaf that no change names goes down beside them.
    const stays = node !== null && !contains(sorted, from, to, node.path)
    if (!stays && to - from === 1) return leafOf(sorted[from])
    const added: Change[] = sorted.slice(from, to).filter((one) => one.value !== null)
    if (stays) added.push({ path: (node as Leaf).path, value: (node as Leaf).value })
    if (stays && added.length === 1) return node
    added.sort((a, b) => comparePaths(a.path, b.path))
    return build(added, 0, added.length, depth)
  }
  const middle = firstRight(sorted, from, to, depth)
  return branchOf(change(node.left, sorted, from, middle, depth + 1), change(node.right, sorted, middle, to, depth + 1))
}

function build(sorted: readonly Change[], from: number, to: number, depth: number): TreeNode {
  if (from === to) return null
  if (to - from === 1) return leafOf(sorted[from])
  const middle = firstRight(sorted, from, to, depth)
  return branchOf(build(sorted, from, middle, depth + 1), build(sorted, middle, to, depth + 1))
}

function contains(sorted: readonly Change[], from: number, to: number, path: Uint8Array): boolean {
  for (let i = from; i < to; i++) if (equalBytes(sorted[i].path, path)) return true
  return false
}

function firstRight(sorted: readonly Change[], from: number, to: number, depth: number): number {
  let low = from
  let high = to
  while (low < high) {
    const middle = (low + high) >> 1
    if (bit(sorted[middle].path, depth) === 1) high = middle
    else low = middle + 1
  }
  return low
}

const leafOf = (one: Change): TreeNode => (one.value === null ? null : { path: one.path, value: one.value, hash: leafHash(one.path, one.value) })

function branchOf(left: TreeNode, right: TreeNode): TreeNode {
  if (left === null && (right === null || 'path' in right)) return right
  if (right === null && left !== null && 'path' in left) return left
  return { left, right, hash: branchHash(rootOf(left), rootOf(right)) }
}

/** What a proof shows at the end of the way down. */
const ends = { empty: 0, leaf: 1, other: 2 } as const

/**
 * Proof about one key, whether it is there or not: u8 end, u16 depth (little-endian), ⌈depth / 8⌉ bytes with a bit for every sibling that is not empty (root
 * first, most significant bit first), those siblings, and for end 2 the path and value hash of the leaf that stands where the key would.
 */
export function prove(root: TreeNode, path: Uint8Array): Uint8Array<ArrayBuffer> {
  const siblings: Uint8Array[] = []
  const mask: number[] = []
  let node = root
  let depth = 0
  for (; node !== null && !('path' in node); depth++) {
    const right = bit(path, depth) === 1
    const sibling: TreeNode = right ? node.left : node.right
    if ((depth & 7) === 0) mask.push(0)
    if (sibling !== null) {
      mask[depth >> 3] |= 128 >> (depth & 7)
      siblings.push(sibling.hash)
    }
    node = right ? node.right : node.left
  }
  const head = (end: number): Uint8Array => Uint8Array.of(end, depth & 255, depth >> 8, ...mask)
  if (node === null) return join([head(ends.empty), ...siblings])
  if (equalBytes(node.path, path)) return join([head(ends.leaf), ...siblings])
  return join([head(ends.other), ...siblings, node.path, node.value])
}

/** Longest proof that `verify` reads: all 256 levels with siblings, and another leaf. */
export const proofBytesMax = 3 + 32 + 256 * 32 + 64

/**
 * Whether `proof` shows under `root` that `key` has `value` (null: that it has none). Total: any bytes give true or false. About log2(keys) + 2 hashes.
 */
export function verify(root: Uint8Array, key: string, value: Uint8Array | null, proof: Uint8Array): boolean {
  if (root.length !== 32 || proof.length < 3 || proof.length > proofBytesMax) return false
  const end = proof[0]
  const depth = proof[1] + proof[2] * 256
  if (depth > 256 || end > ends.other || (end === ends.leaf) !== (value !== null)) return false
  const maskBytes = (depth + 7) >> 3
  const mask = proof.subarray(3, 3 + maskBytes)
  if (mask.length < maskBytes || (depth & 7 && mask[maskBytes - 1] & (255 >> (depth & 7)))) return false
  let count = 0
  for (let i = 0; i < depth; i++) count += (mask[i >> 3] >> (7 - (i & 7))) & 1
  const tail = end === ends.other ? 64 : 0
  if (proof.length !== 3 + maskBytes + count * 32 + tail) return false
  const path = pathOf(key)
  let hash = emptyTree
  if (value !== null) hash = leafHash(path, valueHash(value))
  else if (end === ends.other) {
    const other = proof.subarray(proof.length - 64, proof.length - 32)
    if (equalBytes(other, path)) return false
    for (let i = 0; i < depth; i++) if (bit(other, i) !== bit(path, i)) return false
    hash = leafHash(other, proof.subarray(proof.length - 32))
  }
  for (let level = depth - 1, at = proof.length - tail; level >= 0; level--) {
    let sibling = emptyTree
    if ((mask[level >> 3] >> (7 - (level & 7))) & 1) {
      at -= 32
      sibling = proof.subarray(at, at + 32)
    }
    hash = bit(path, level) === 1 ? branchHash(sibling, hash) : branchHash(hash, sibling)
  }
  return equalBytes(hash, root)
}
