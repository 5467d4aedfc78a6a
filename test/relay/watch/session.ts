// A paid session of a ring of tiny hosts, settled, its receipts pinned, and what each host kept of it. Rows really pass through segment engines: who comes after a liar
// computes honestly from what it was given.
import { claimOf, recordsOf } from '../../../ledger/claims.ts'
import { sessionIdOf } from '../../../ledger/names.ts'
import { encodeReceiptClaim, receiptsRoot, signReceiptClaim } from '../../../ledger/receipt.ts'
import { signVoucher, termsHash } from '../../../ledger/transaction.ts'
import { noiseKey } from '../../../protocol/engine/answer.ts'
import type { Unit } from '../../../protocol/engine/proof/table.ts'
import { TokenList } from '../../../protocol/engine/proof/tokens.ts'
import { createReferenceEngine } from '../../../protocol/engine/reference.ts'
import { greedy, sample } from '../../../protocol/engine/sampler.ts'
import { fromHex, hex, join } from '../../../protocol/hash.ts'
import type { ClaimedAnswer, Retained } from '../../../protocol/peer/payment.ts'
import { blind } from '../../../relay/demo/cheat.ts'
import { encodeTokens } from '../../../relay/ledger/pins.ts'
import { flatRows, rootsOfRows } from '../../../relay/ledger/rows.ts'
import type { Mind } from '../../../relay/watch/mind.ts'
import { ChainView } from '../../../relay/watch/view.ts'
import { credit, person, word } from '../../ledger/world.ts'
import type { Stage } from './stage.ts'

export const hostNames = ['bob', 'cat', 'eve']
const prompt = [3, 14, 15, 9]
const seed = 7
const answerTokens = 3
const none = new Uint8Array(32)

export interface PlayedSession {
  id: Uint8Array
  /** Of each host, in ring order. */
  retained: Retained[]
}

/** One host for each layer. `liar` alters what leaves its layer at one row, and everybody after it goes on from that; `settles`: whoever brings the voucher, and has its stake in question. */
export async function playSession(
  stage: Stage,
  liar: number | null,
  settles: readonly number[] = [0],
  /** A host that goes on from other rows than it got, and signs those. */
  inventor: number | null = null,
): Promise<PlayedSession> {
  const { model, node } = stage
  const { layers } = model.manifest.core
  const engines = await Promise.all(Array.from({ length: layers }, (_, i) => createReferenceEngine(model, { segment: { from: i, to: i + 1 } })))
  const entering: Int32Array[][] = engines.map(() => [])
  const leaving: Int32Array[][] = engines.map(() => [])
  const tokens = [...prompt]
  const key = noiseKey(seed)
  for (let position = 0; position < prompt.length + answerTokens - 1; position++) {
    let boundary: Int32Array | undefined
    for (const [i, engine] of engines.entries()) {
      if (boundary && i === inventor && position === 3) {
        boundary = boundary.slice()
        boundary[7] ^= 1 << 12
      }
      if (boundary) entering[i].push(boundary)
      const last = i === layers - 1
      const result = await engine.run([{ sequence: 0, position, token: tokens[position] }], [last ? 'logits' : 'nothing'], boundary)
      if (last && position >= prompt.length - 1) tokens.push(sample(result.logits[0]!, greedy, key, position + 1, tokens))
      boundary = result.boundary?.slice()
      if (liar === i && position === 2 && boundary) boundary[5] ^= 1 << 12
      if (boundary) leaving[i].push(boundary)
    }
  }
  const said = tokens.slice(prompt.length)
  const tokenKey = word('key of the session')
  const id = sessionIdOf(node.name, person('ann').id, 0, 0)
  const answer: ClaimedAnswer = { sampler: greedy, seed, maxTokens: answerTokens, stopIds: [], prompt, tokens: said, stop: 'length', tokenKey }
  const [came, went] = [entering, leaving].map((edges) => edges.map((rows) => rootsOfRows(rows)))
  const retained = engines.map((_, host): Retained => {
    const sides = Array.from({ length: tokens.length - 1 }, (_, p) => [host === 0 ? none : came[host][p], host === layers - 1 ? none : went[host][p]])
    const records = join(sides.flat())
    const { root } = recordsOf(id, host, records, prompt.length, host === layers - 1 ? said : null)
    const claim = encodeReceiptClaim(claimOf(id, host, answer, root))
    const signature = signReceiptClaim(person(hostNames[host]).secret, node.name, claim)
    return { claim, signature, modelId: stage.modelId, from: host, to: host + 1, answer, records, entering: host === 0 ? null : flatRows(entering[host]) }
  })
  const hosts = engines.map((_, i) => ({ account: person(hostNames[i]).id, from: i, to: i + 1 }))
  const terms = { model: fromHex(stage.modelId), hosts, limit: credit, untilMs: stage.nowMs + 3_600_000 }
  await stage.client().submit(person('ann').secret, { kind: 'channel.open', number: 0, deposit: 10n * credit })
  await stage.block()
  for (const [i, host] of settles.entries()) {
    const last = i === settles.length - 1
    const amount = (credit * BigInt(i + 1)) / BigInt(settles.length + 1)
    const voucher = {
      owner: person('ann').id,
      channel: 0,
      session: 0,
      terms: termsHash(terms),
      amount,
      last,
      receipt: receiptsRoot(retained.map(({ claim }) => claim)),
    }
    const signed = signVoucher(person('ann').secret, node.name, voucher)
    await stage.client().submit(person(hostNames[host]).secret, { kind: 'channel.settle', ...voucher, terms: i === 0 ? terms : null, voucher: signed })
  }
  await stage.block()
  const view = new ChainView(stage.client())
  for (const [host, { claim, signature, records }] of retained.entries()) {
    const { root, list } = recordsOf(id, host, records, prompt.length, host === layers - 1 ? said : null)
    await view.pin(`receipts/${hex(id)}/${host}`, join([signature, claim]))
    await view.pin(`records/${hex(root)}`, join(list), { receipt: `${hex(id)}/${host}` })
  }
  for (const kind of [0, 1] as const) {
    const list = kind === 0 ? prompt : said
    await view.pin(`tokens/${hex(new TokenList(list, tokenKey, kind).root)}`, encodeTokens({ tokenKey, kind, tokens: list }), { receipt: `${hex(id)}/0` })
  }
  return { id, retained }
}

/** Says that a claim of layers is wrong at the first unit whose record it could deny, whatever it is. */
export const accusing = (honest: Mind): Mind => ({
  ...blind(honest),
  witness: async (one, signal) => {
    const { machine } = one
    const wrong: Unit = machine.tailTo > 0 ? { layer: machine.to, position: machine.tailFrom } : { layer: machine.to - 1, position: 4 }
    return { ...(await honest.witness(one, signal)), wrong, clean: false }
  },
})
