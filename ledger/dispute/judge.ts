// The judge: is this one element what its inputs make it? Pure and total: a verdict for every byte string, from kilobytes, with no model at hand. The arithmetic is
// the stage table's (protocol/engine/proof), hence the reference's.
import { type Commitments, checkElement, EvidenceError, evidenceBytesMax } from '../../protocol/engine/proof/evidence.ts'
import { type ClaimFacts, machineOf } from '../../protocol/engine/proof/machine.ts'
import type { Machine } from '../../protocol/engine/proof/table.ts'
import { hex, sha256 } from '../../protocol/hash.ts'
import { decodeCore } from '../../protocol/model/identity.ts'
import type { Core } from '../../protocol/model/manifest.ts'

export type Verdict = { verdict: 'equal' | 'unequal' } | { verdict: 'invalid'; reason: string }

/** One element of one stage of a unit, with everything the game has fixed about it. */
export interface Accused extends Commitments {
  stage: number
  element: number
  /** The element's bytes as revealed; empty for a token, which the evidence opens. */
  claimed: Uint8Array
}

/** `invalid` refuses the move that brought the evidence; the others decide. */
export function judge(machine: Machine, accused: Accused, evidence: Uint8Array): Verdict {
  if (evidence.length > evidenceBytesMax)
    return { verdict: 'invalid', reason: `the evidence has ${evidence.length} bytes, at most ${evidenceBytesMax} are allowed` }
  try {
    const equal = checkElement(machine, accused, accused.stage, accused.element, accused.claimed, evidence)
    return { verdict: equal ? 'equal' : 'unequal' }
  } catch (error) {
    // Anything else than an EvidenceError would be our mistake; a ledger must not stop for it, and all its replicas make the same one.
    return { verdict: 'invalid', reason: error instanceof EvidenceError ? error.message : 'the evidence cannot be read' }
  }
}

/** What the registry keeps of a model: enough to judge it, and to see that it belongs to the id. */
export interface JudgedModel {
  /** Canonical dag-cbor of the core, at most 4 KiB. */
  core: Uint8Array
  tensorTableRoot: Uint8Array
  shardListHash: Uint8Array
}

/** Cores decoded lately, by hash: a game asks for the same one with every move. */
const cores = new Map<string, Core>()
const coresMax = 16

/** The machine of a claim about a registered model. Throws ModelError for a core that is none. */
export function machineOfModel(model: JudgedModel, claim: ClaimFacts): Machine {
  const name = hex(sha256(model.core))
  let core = cores.get(name)
  if (!core) {
    core = decodeCore(model.core)
    if (cores.size >= coresMax) cores.delete(cores.keys().next().value!)
    cores.set(name, core)
  }
  return machineOf(core, model.tensorTableRoot, claim)
}
