// The judge by itself: reads a ledger from a relay's API, runs every block again from genesis, compares every root, and judges each piece of evidence on the way. It knows of
// the model what the chain knows: a core of a few kilobytes and the root of the table of tensors.
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { auditedOf } from '../../ledger/apply/audit.ts'
import { claimFacts } from '../../ledger/apply/dispute.ts'
import { decodeSigned, entropyOf } from '../../ledger/block.ts'
import { Chain, genesisState } from '../../ledger/chain.ts'
import { accusedAt } from '../../ledger/dispute/descent.ts'
import { judge } from '../../ledger/dispute/judge.ts'
import { decodeMove } from '../../ledger/dispute/moves.ts'
import { readGame } from '../../ledger/dispute-play.ts'
import { keyOf } from '../../ledger/records.ts'
import { decodeTransaction } from '../../ledger/transaction.ts'
import { equalBytes, fromHex } from '../../protocol/hash.ts'
import { RelayError } from '../errors.ts'
import type { LedgerClient } from '../ledger/client.ts'

export interface Judged {
  height: number
  verdict: string
  /** What the element is: step and index. */
  op: string
  element: number
  evidenceBytes: number
  /** Median and first of several runs, ms. */
  judgeMs: number
  firstMs: number
}

export interface JudgeReport {
  blocks: number
  transactions: number
  /** Every block's root is what its header says. */
  rootsEqual: boolean
  judged: Judged[]
  /** Most memory this process has held, MB. */
  memoryMB: number
}

const blockJson = z.looseObject({ signed: z.string(), list: z.array(z.looseObject({ bytes: z.string() })) })
const runs = 15

/** Throws RelayError when a root differs. */
export async function judgeChain(client: LedgerClient): Promise<JudgeReport> {
  const { genesis, chain: name } = await client.chain()
  const { height: last } = z.looseObject({ height: z.number() }).parse(await client.json('status'))
  const chain = new Chain(name, genesisState(genesis))
  const report: JudgeReport = { blocks: 0, transactions: 0, rootsEqual: true, judged: [], memoryMB: 0 }
  let entropy = name
  for (let height = 1; height <= last; height++) {
    const block = blockJson.parse(await client.json(`blocks/${height}`))
    const signed = decodeSigned(fromHex(block.signed))
    chain.begin({ timeMs: signed.header.timeMs, producer: signed.header.producer, entropy })
    for (const { bytes } of block.list) {
      const transaction = decodeTransaction(fromHex(bytes))
      if (transaction.body.kind === 'dispute.judge') report.judged.push(judgeOne(chain, transaction.body, height))
      chain.apply(transaction)
      report.transactions++
    }
    const { root } = chain.end()
    if (!equalBytes(root, signed.header.stateRoot)) throw new RelayError(`Block ${height} has another root than its header says.`)
    entropy = entropyOf(signed)
    report.blocks++
  }
  // Linux only; elsewhere what is held now.
  const peak = /VmHWM:\s+(\d+)/.exec(readStatus())
  report.memoryMB = Math.round(peak ? Number(peak[1]) / 1024 : process.memoryUsage().rss / 2 ** 20)
  return report
}

function readStatus(): string {
  try {
    return readFileSync('/proc/self/status', 'utf8')
  } catch {
    return ''
  }
}

function judgeOne(chain: Chain, body: { dispute: Uint8Array; evidence: Uint8Array }, height: number): Judged {
  const dispute = chain.state.must(keyOf.dispute(body.dispute))
  const { game, machine } = readGame(dispute.game, claimFacts(chain, auditedOf(chain, dispute.claim), dispute.host))
  const move = decodeMove(body.evidence)
  if (move.kind !== 'prove') throw new RelayError('The evidence is no proof.')
  const path = game.paths[move.path]
  const fork = path.forks.find(({ expansion }) => expansion === move.expansion)!
  const accused = accusedAt(game, machine, path, fork)
  const times: number[] = []
  let verdict = ''
  for (let run = 0; run < runs; run++) {
    const began = performance.now()
    const found = judge(machine, accused, move.evidence)
    times.push(performance.now() - began)
    verdict = found.verdict === 'invalid' ? `invalid: ${found.reason}` : found.verdict
  }
  const op = machine.stages(path)[fork.stage].label
  const [firstMs] = times
  return {
    height,
    verdict,
    op,
    element: fork.element,
    evidenceBytes: move.evidence.length,
    judgeMs: times.sort((a, b) => a - b)[runs >> 1],
    firstMs,
  }
}
