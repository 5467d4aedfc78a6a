// Ledger values as JSON: bytes in hex, money as decimal strings of µ, and the way back for transaction bodies from the command line.

import type { SignedHeader } from '../../ledger/block.ts'
import { headerHash } from '../../ledger/block.ts'
import type { Transaction } from '../../ledger/transaction.ts'
import { hex } from '../../protocol/hash.ts'

/** Anything the ledger holds; Uint8Array becomes hex, bigint a decimal string. */
export function toJson(value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString()
  if (value instanceof Uint8Array) return hex(value)
  if (Array.isArray(value)) return value.map(toJson)
  if (typeof value === 'object' && value !== null) return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, toJson(one)]))
  return value
}

export const transactionJson = (transaction: Transaction): Record<string, unknown> => {
  const { id, chain, from, nonce, fee, size, body } = transaction
  return toJson({ id, chain, from, nonce, fee, size, ...body }) as Record<string, unknown>
}

export const headerJson = (one: SignedHeader): Record<string, unknown> =>
  toJson({ hash: headerHash(one.header), ...one.header, signature: one.signature }) as Record<string, unknown>
