// After a paid answer: what its hosts signed goes to the relay, where whoever watches finds it (relay/ledger/pins.ts). Roots and signatures tell nothing of the words; the
// question itself goes along only when its owner says so.
import { setTimeout } from 'node:timers/promises'
import { recordsOf } from '../../ledger/claims.ts'
import { LedgerError } from '../../ledger/errors.ts'
import { TokenList } from '../../protocol/engine/proof/tokens.ts'
import { fromHex, hex, join } from '../../protocol/hash.ts'
import type { AnswerReceipt } from '../../protocol/peer/receipt.ts'
import { encodeTokens } from '../ledger/pins.ts'
import { remoteLedger } from './remote.ts'

/** The session must be on the ledger: its last host settles at once, the others later. */
const settledMsMax = 8000
const retryMs = 250

/** Throws LedgerError or RelayError when the relay does not take them. Claims of hosts that did not sign are left out. */
export async function publishClaims(relay: URL, { question, tokens, payments = [] }: AnswerReceipt, open: boolean): Promise<number> {
  const ledger = remoteLedger(relay)
  const put = (path: string, body: Uint8Array) => ledger.json(`pins/${path}`, { method: 'PUT', body, type: 'application/octet-stream' })
  let published = 0
  for (const { session, claims, tokenKey } of payments) {
    const lastHost = claims.length - 1
    for (const [host, { claim, signature, records }] of claims.entries()) {
      if (claim === '') continue
      await settled(() => put(`receipts/${session}/${host}`, join([fromHex(signature), fromHex(claim)])))
      published++
      const receipt = `receipt=${session}/${host}`
      if (claims.length > 1) {
        const { root, list } = recordsOf(fromHex(session), host, fromHex(records), question.prompt.length, host === lastHost ? tokens : null)
        await put(`records/${hex(root)}?${receipt}`, join(list))
      }
      if (!open) continue
      for (const kind of [0, 1] as const) {
        const list = kind === 0 ? question.prompt : tokens
        const key = fromHex(tokenKey)
        await put(`tokens/${hex(new TokenList(list, key, kind).root)}?${receipt}`, encodeTokens({ tokenKey: key, kind, tokens: list }))
      }
    }
  }
  return published
}

async function settled<T>(work: () => Promise<T>): Promise<T> {
  const until = performance.now() + settledMsMax
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof LedgerError) || error.code !== 'missing' || performance.now() > until) throw error
      await setTimeout(retryMs)
    }
  }
}
