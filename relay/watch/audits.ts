// The turn of a drawn auditor: re-run, commit blind, and show it when everybody has committed. What is shown is what the model says, whatever the claim says, with the
// leaves of the units that the beacon chose.
import { probedUnits } from '../../ledger/beacon.ts'
import { choosesTokens } from '../../ledger/dispute/game.ts'
import { answerOf } from '../../ledger/names.ts'
import { receiptsRoot } from '../../ledger/receipt.ts'
import { auditCommitmentOf } from '../../ledger/transaction.ts'
import { stopCodeOf } from '../../protocol/engine/answer.ts'
import type { Trace } from '../../protocol/engine/proof/trace.ts'
import { unitHash } from '../../protocol/engine/proof/tree.ts'
import { equalBytes, fromHex, hex } from '../../protocol/hash.ts'
import { decodeCore } from '../../protocol/model/identity.ts'
import { recordsRootOf } from '../ledger/rows.ts'
import type { Agent } from './agent.ts'
import { type Case, caseName } from './cases.ts'
import type { Found, Mind } from './mind.ts'
import { auditSalt } from './secrets.ts'
import { evaluated } from './segments.ts'

interface Report {
  answer: string
  leaves: string[]
}

/** Does what is due of an audit; `one` is the job's claim, or host 0 of the session. Returns when to look again. */
export async function auditTurn(agent: Agent, one: Case, mind: Mind, found: Found | null, nowMs: number): Promise<number> {
  const { auditing } = one.audited.record
  const seat = auditing.audits.find(({ auditor }) => equalBytes(auditor, agent.account))
  if (!seat || seat.answer) return auditing.endsMs
  const key = `audit/${hex(one.id)}`
  const report = agent.journal.get<Report>(key) ?? (await reportOf(agent, one, mind, found))
  if (!report) return auditing.reportsFromMs
  agent.journal.put(key, report)
  const { chain } = await agent.options.client.chain()
  const salt = auditSalt(agent.options.secret, chain, one.id)
  const shown = { answer: fromHex(report.answer), leaves: report.leaves.map(fromHex), salt }
  if (!seat.commitment) {
    if (nowMs >= auditing.reportsFromMs) return auditing.endsMs
    await agent.attempt({ kind: 'audit.commit', claim: one.id, commitment: auditCommitmentOf(chain, one.id, agent.account, shown) }, null)
    return auditing.reportsFromMs
  }
  const all = auditing.audits.every(({ commitment }) => commitment)
  if (!all && nowMs < auditing.reportsFromMs) return auditing.reportsFromMs
  if (nowMs < auditing.endsMs) await agent.attempt({ kind: 'audit.report', claim: one.id, ...shown }, null)
  return auditing.endsMs
}

/** What the model says; null while it is being computed. */
async function reportOf(agent: Agent, one: Case, mind: Mind, found: Found | null): Promise<Report | null> {
  if (one.audited.kind === 'session') return sessionReport(agent, one, one.audited.record.hosts.length)
  if (!found) return null
  const leaves = leavesOf(one, () => (found.clean === false && found.wrong === null ? null : found.trace))
  const { stop } = one.question
  const rowsOnly = one.machine.boundary !== null && !choosesTokens(one.machine)
  if (found.clean !== false && rowsOnly) return { answer: hex(one.facts.out.outRoot), leaves }
  if (found.clean !== false) return { answer: hex(answerOf(one.tokenKey, one.facts.job.id, stop, one.out.tokens)), leaves }
  // The claim is false: what would have been right has to be generated.
  const name = `answer ${caseName(one.id, 0)}`
  if (agent.failure(name)) return null
  const { sampler, noise } = one.claimFacts
  agent.work.add(name, one.audited.record.auditing.reportsFromMs, async (signal) => {
    const { maxTokens, stopIds } = one.question
    if (one.machine.boundary) {
      const { from, to } = one.machine
      const question = { from, to, last: !rowsOnly, prompt: one.prompt.tokens, rows: one.entering, sampler, noise, stopIds }
      const { tokens, stop, segment } = await evaluated(mind, one.facts.job.id, question, signal)
      const root = recordsRootOf(new Uint8Array(Buffer.from(segment.records, 'base64')))
      agent.journal.put(`audit/${hex(one.id)}`, { answer: hex(rowsOnly ? root : answerOf(one.tokenKey, one.facts.job.id, stop, tokens)), leaves })
      return
    }
    const right = await mind.answer({ prompt: one.prompt.tokens, sampler, noise, maxTokens, stopIds }, signal)
    const answer = hex(answerOf(one.tokenKey, one.facts.job.id, stopCodeOf(right.stop), right.tokens))
    agent.journal.put(`audit/${hex(one.id)}`, { answer, leaves })
  })
  return null
}

/** All hosts of a session together: the root over what each should have signed; a false receipt has no place in it. */
function sessionReport(agent: Agent, one: Case, hosts: number): Report | null {
  const all = Array.from({ length: hosts }, (_, i) => agent.sessionPart(caseName(one.id, i)))
  if (!all.every((part) => part !== undefined)) return null
  const answer = receiptsRoot(all.map(({ claim, found }) => (found.clean === false ? new Uint8Array() : claim)))
  const traceAt = (layer: number): Trace | null =>
    all.find(({ found: { trace } }) => trace.machine.from <= layer && layer < trace.machine.to)?.found.trace ?? null
  return { answer: hex(answer), leaves: leavesOf(one, traceAt) }
}

function leavesOf(one: Case, traceAt: (layer: number) => Trace | null): string[] {
  const { drawn } = one.audited.record.auditing
  const { layers } = decodeCore(one.facts.model.core)
  return probedUnits(drawn, layers, one.machine.positions).flatMap(({ layer, position }) => {
    const trace = traceAt(layer)
    // A segment has leaves of its own layers only.
    return trace && trace.machine.from <= layer && layer < trace.machine.to ? [hex(unitHash(layer, position, trace.leaf({ layer, position })))] : []
  })
}
