// Checks a relay's answer as the explorer does (web/ledger/proof.ts), every time from nothing: header signature, Merkle proof, record.

import { fromHex } from '../../../protocol/hash.ts'
import { verify } from '../../../protocol/keys.ts'
import { Checker, trustOf } from '../../../web/ledger/proof.ts'

export interface ProofQuestion {
  /** Genesis bytes, hex. */
  genesis: string
  key: string
  /** The relay's JSON of /ledger/state/{key}. */
  answer: string
  times: number
}

/** ms of each check, in order: the first ones find the code not yet compiled, as a visitor's does. */
function proof({ genesis, key, answer, times }: ProofQuestion): { ms: number[] } {
  const trust = trustOf(fromHex(genesis))
  const ms: number[] = []
  for (let i = 0; i < times; i++) {
    const checker = new Checker(trust, verify)
    const began = performance.now()
    const { record } = checker.record(key, JSON.parse(answer))
    ms.push(performance.now() - began)
    if (!record) throw new Error('the record is not there')
  }
  return { ms }
}

Object.assign(globalThis, { bench: { proof } })
