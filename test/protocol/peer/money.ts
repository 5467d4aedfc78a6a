// A mesh of toys beside a chain of its own: hosts with accounts, a requester with a channel, and what both know of the ledger.
import { encodeSigned, type SignedHeader, signHeader } from '../../../ledger/block.ts'
import { type Parameters as ChainParameters, chainNumber } from '../../../ledger/genesis.ts'
import { sessionIdOf } from '../../../ledger/names.ts'
import { priceOf } from '../../../ledger/pay.ts'
import { type ChainView, createPayee } from '../../../ledger/payee.ts'
import { createPayer, type Stock } from '../../../ledger/payer.ts'
import { encodeRecord, keyOf } from '../../../ledger/records.ts'
import { decodeKept, type Evidence } from '../../../ledger/session.ts'
import { settlementBy } from '../../../ledger/settling.ts'
import { fromHex, hex } from '../../../protocol/hash.ts'
import { verify } from '../../../protocol/keys.ts'
import type { ModelFacts } from '../../../protocol/peer/machine.ts'
import type { Payer } from '../../../protocol/peer/payment.ts'
import { credit, World as Ledger, operator } from '../../ledger/world.ts'
import { toyFacts } from '../../sim/toy.ts'
import type { Node } from '../../sim/world.ts'
import { type Mesh, mesh } from './mesh.ts'

export interface Money {
  ledger: Ledger
  facts: ModelFacts
  mesh: Mesh
  /** Accounts of the hosts, in order. */
  accounts: string[]
  payer(change?: { limit?: bigint; numbers?: number[]; standing?: Payer['standing']; bend?: (payer: Payer) => Payer }): Payer
  /** Every voucher that hosts have left to be settled goes to the ledger; refusals by code. */
  settle(hosts?: Node[]): string[]
  /** µ of a session's tokens and one settlement. */
  cost(tokens: number, hosts?: number): bigint
  promised: Map<number, bigint>
  returned: number[]
  /** What the requester keeps of sessions that all hosts have ended. */
  ended: Map<number, Uint8Array>
}

const names = ['bob', 'cat', 'dan', 'eve', 'fay', 'gil', 'hal', 'ida']

export function money(
  ranges: [number, number][],
  options: Parameters<typeof mesh>[1] & {
    creditTokens?: number
    /** Hosts keep what enters, so much of it. */
    rowsBytesMax?: number
    deposit?: bigint
    free?: number[]
    parameters?: Partial<ChainParameters>
    registered?: { facts: ModelFacts; register: (ledger: Ledger) => void }
  } = {},
): Money {
  const ledger = new Ledger({ people: ['ann', ...names], ...(options.parameters ? { parameters: options.parameters } : {}) })
  options.registered?.register(ledger)
  const model = options.registered ? fromHex(options.registered.facts.modelId) : ledger.registerModel()
  ledger.send('ann', 'channel.open', { number: 0, deposit: options.deposit ?? 100n * credit })
  const facts = options.registered?.facts ?? toyFacts(4, 'paid', { modelId: hex(model) })
  let head: SignedHeader
  const seal = (): void => {
    const stateRoot = ledger.block()
    const { height, timeMs } = ledger.chain
    head = signHeader(operator.secret, ledger.name, {
      version: 1,
      chain: chainNumber(ledger.name),
      height,
      timeMs,
      previous: new Uint8Array(32),
      stateRoot,
      transactionRoot: new Uint8Array(32),
      transactions: 0,
      producer: operator.id,
    })
  }
  seal()
  const view: ChainView = {
    chain: ledger.name,
    producers: [operator.id],
    parameters: ledger.chain.parameters,
    get head() {
      return head.header
    },
    model: (id) => ledger.chain.state.get(keyOf.model(fromHex(id))) ?? null,
    nowMs: () => ledger.timeMs,
  }
  const { creditTokens, rowsBytesMax = 0 } = options
  const earnings = (i: number) => {
    const { secret, id } = ledger.who(names[i])
    return options.free?.includes(i)
      ? undefined
      : { payee: createPayee({ secret, account: id, view, verify, ...(creditTokens === undefined ? {} : { creditTokens }) }), rowsBytesMax }
  }
  const m = mesh(ranges, { ...options, model: facts, node: (i) => ({ ...options.node?.(i), earnings: earnings(i) }) })
  const ann = ledger.who('ann')
  const record = ledger.chain.state.must(keyOf.model(model))
  const promised = new Map<number, bigint>()
  const returned: number[] = []
  const ended = new Map<number, Uint8Array>()
  const cost = (tokens: number, hosts = 3): bigint => priceOf(ledger.chain.parameters, record, hosts, tokens)
  let next = 0
  return {
    ledger,
    facts,
    mesh: m,
    accounts: names.slice(0, ranges.length).map((name) => hex(ledger.who(name).id)),
    cost,
    promised,
    returned,
    ended,
    payer({ limit = cost(200), numbers = Array.from({ length: 20 }, () => next++), standing = () => null, bend = (payer: Payer): Payer => payer } = {}) {
      const evidenceOf = (number: number): Evidence => {
        const channelKey = keyOf.channel(ann.id, 0)
        const { state } = ledger.chain
        return {
          header: encodeSigned(head),
          channel: encodeRecord(channelKey, state.must(channelKey)),
          channelProof: state.prove(channelKey).proof,
          absence: state.prove(keyOf.session(sessionIdOf(ledger.name, ann.id, 0, number))).proof,
        }
      }
      const stock: Stock = {
        take() {
          const number = numbers.shift()
          return number === undefined ? null : { number, evidence: evidenceOf(number) }
        },
        giveBack(number) {
          returned.push(number)
          numbers.unshift(number)
        },
        promised: (number, _limit, amount) => void promised.set(number, amount),
        ended: (number, _limit, _amount, _untilMs, kept) => void ended.set(number, kept),
      }
      const { secret, id: account } = ann
      const { parameters, nowMs } = view
      return bend(createPayer({ secret, account, chain: ledger.name, parameters, model: record, channel: 0, limit, stock, standing, nowMs, verify }))
    },
    settle(hosts = m.hosts) {
      const codes: string[] = []
      for (const node of hosts) {
        const name = names[m.hosts.indexOf(node)]
        for (const bytes of node.vault.values()) {
          const kept = decodeKept(bytes)
          const { session } = kept
          const known = ledger.chain.state.get(keyOf.session(sessionIdOf(session.chain, session.owner, session.channel, session.session)))
          const signed = ledger.sign(name, settlementBy(kept, known !== undefined))
          const code = ledger.refusal(signed)
          codes.push(code)
        }
      }
      seal()
      return codes
    },
  }
}
