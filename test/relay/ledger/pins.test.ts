// Pins: only what is behind a root on the chain is kept, and only the true bytes.
import { afterEach, beforeEach, expect, test } from 'vitest'
import { keyOf } from '../../../ledger/records.ts'
import { TokenList } from '../../../protocol/engine/proof/tokens.ts'
import { hex } from '../../../protocol/hash.ts'
import { decodeTokens, encodeTokens } from '../../../relay/ledger/pins.ts'
import { ChainView } from '../../../relay/watch/view.ts'
import { word } from '../../ledger/world.ts'
import { Stage } from '../watch/stage.ts'

let stage: Stage
beforeEach(async () => {
  stage = await Stage.open()
})
afterEach(() => stage.close())

const prompt = [3, 14, 15, 9]

test('a prompt is pinned for its job and read again, byte for byte', async () => {
  const { job, tokenKey, body } = await stage.ask('ann', prompt)
  const view = new ChainView(stage.client())
  const found = await view.pinned(`tokens/${hex(body.promptRoot)}`)
  expect(decodeTokens(found!)).toEqual({ tokenKey, kind: 0, tokens: prompt })
  expect(await view.pinned(`tokens/${hex(word('nothing'))}`)).toBe(null)
  expect(stage.node.get(keyOf.job(job))).toBeDefined()
})

test('other tokens, another key, a root of nothing, a job that is not open or not there: refused, and nothing is kept', async () => {
  const { job, tokenKey, body } = await stage.ask('ann', prompt, {}, { pin: false })
  const root = hex(body.promptRoot)
  const sealed = await stage.ask('ann', [1, 2, 3], { privacy: 2 }, { pin: false })
  const pin = async (name: string, bytes: Uint8Array, context: Record<string, string>): Promise<number> => {
    const query = new URLSearchParams(context)
    const response = await fetch(`${stage.address}/ledger/pins/${name}?${query}`, { method: 'PUT', body: bytes as Uint8Array<ArrayBuffer> })
    return response.status
  }
  const good = encodeTokens({ tokenKey, kind: 0, tokens: prompt })
  const bad = [
    await pin(`tokens/${root}`, encodeTokens({ tokenKey, kind: 0, tokens: [3, 14, 15, 8] }), { job: hex(job) }),
    await pin(`tokens/${root}`, encodeTokens({ tokenKey, kind: 0, tokens: [...prompt, 1] }), { job: hex(job) }),
    await pin(`tokens/${root}`, encodeTokens({ tokenKey: word('other'), kind: 0, tokens: prompt }), { job: hex(job) }),
    await pin(`tokens/${root}`, encodeTokens({ tokenKey, kind: 1, tokens: prompt }), { job: hex(job) }),
    await pin(`tokens/${hex(new TokenList([1], tokenKey, 0).root)}`, encodeTokens({ tokenKey, kind: 0, tokens: [1] }), { job: hex(job) }),
    await pin(`tokens/${root}`, good, { job: hex(word('no job')) }),
    await pin(`tokens/${root}`, good, { claim: hex(word('no claim')) }),
    await pin(`tokens/${root}`, good.subarray(0, 36), { job: hex(job) }),
    await pin(`tokens/${hex(sealed.body.promptRoot)}`, encodeTokens({ tokenKey: sealed.tokenKey, kind: 0, tokens: [1, 2, 3] }), { job: hex(sealed.job) }),
    await pin(`records/${root}`, new Uint8Array(108), { receipt: `${hex(job)}/0` }),
    await pin(`receipts/${hex(job)}/0`, new Uint8Array(200), {}),
  ]
  expect(bad).toEqual(bad.map(() => 422))
  expect(await pin(`tokens/${root}`, good, {})).toBe(400)
  expect(await pin('tokens/xyz', good, { job: hex(job) })).toBe(400)
  expect(await new ChainView(stage.client()).pinned(`tokens/${root}`)).toBe(null)
  expect(await pin(`tokens/${root}`, good, { job: hex(job) })).toBe(201)
})
