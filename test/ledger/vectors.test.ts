import { expect, test } from 'vitest'
import { verify } from '../../ledger/tree.ts'
import { fromHex } from '../../protocol/hash.ts'
import golden from '../vectors/ledger.json' with { type: 'json' }
import { ledgerVectors } from '../vectors/make-ledger.ts'

test('bytes of genesis, transactions, headers, vouchers, roots and proofs are what they were', () => {
  expect(ledgerVectors()).toEqual(golden)
})

test('the golden proofs hold', () => {
  const root = fromHex(golden.stateRoot)
  expect(verify(root, golden.present.key, fromHex(golden.present.value), fromHex(golden.present.proof))).toBe(true)
  expect(verify(root, golden.absent.key, null, fromHex(golden.absent.proof))).toBe(true)
})
