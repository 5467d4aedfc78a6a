// One bit altered in what a host sends on, or in the weights in its memory after their check, a thousand times: `meadow verify`'s computation must notice, and name
// that host and nobody else. The hosts are live peers that sign receipts; some of the trials run them as processes and check with the command itself.

import { createRequester } from '../../../mesh/requester.ts'
import { createShell, type Engines } from '../../../mesh/shell.ts'
import type { Segment } from '../../../protocol/engine/engine.ts'
import { createReferenceEngine } from '../../../protocol/engine/reference.ts'
import { hex } from '../../../protocol/hash.ts'
import { publicKeyOf } from '../../../protocol/keys.ts'
import type { ModelSource } from '../../../protocol/model/manifest.ts'
import { blame, edgesOf, parseReceipt, recompute } from '../../../protocol/peer/blame.ts'
import { factsOf } from '../../../protocol/peer/facts.ts'
import type { Question } from '../../../protocol/peer/machine.ts'
import { Peer } from '../../../protocol/peer/peer.ts'
import type { AnswerReceipt } from '../../../protocol/peer/receipt.ts'
import '../../../relay/mesh/native-keys.ts'
import { chatSpecimen } from '../../browser/specimen.ts'
import { until } from '../../mesh/local-swarm.ts'
import { atLeast, atMost, type Bar } from '../bars/bar.ts'
import { type AlteringEngines, alteringEngines, drawAlteration, tensorAt } from './altering.ts'
import { type BenchModel, randomFrom } from './fleet.ts'
import { MemoryBus } from './memory-network.ts'
import { processAlterations } from './process-alterations.ts'
import { count, newTally, type Tally, tallyLine } from './tally.ts'

const promptTokens = 10
const answerTokens = 5
export const greedy = { temperature: 0, topK: 0, topP: 65536, minP: 0, repeatPenalty: 65536, repeatWindow: 0 }

export async function alterationBars(model: BenchModel, trials: number, inProcesses: number, seed: number, say: (line: string) => void): Promise<Bar[]> {
  const live = await liveAlterations(trials, seed, say)
  const processes = await processAlterations(model, inProcesses, seed, say)
  const bars = ({ noticed, named, honestNamed, controls, activation, shard, without, withoutEqual }: Tally, of: number, where: string): Bar[] => [
    atLeast(`one-bit alterations noticed${where}`, (noticed / of) * 100, '%', 100),
    atLeast(`alterations whose host was named${where}`, (named / of) * 100, '%', 100),
    atMost(`honest hosts named${where}`, honestNamed + controls[1] - controls[0] + [...without.values()].reduce((a, b) => a + b, 0) - withoutEqual, 'hosts', 0),
    atLeast(`of them bits of a shard in memory${where}`, (shard / Math.max(1, activation + shard)) * 100, '%', 50),
  ]
  return [...(trials > 0 ? bars(live, trials, '') : []), ...(inProcesses > 0 ? bars(processes, inProcesses, ', host processes and the command') : [])]
}

/** An answer of live peers waits on timers most of its time: so many rings at once. */
const rings = 4

async function liveAlterations(trials: number, seed: number, say: (line: string) => void): Promise<Tally> {
  const tally = newTally()
  const shares = Array.from({ length: rings }, (_, i) => Math.floor(((i + 1) * trials) / rings) - Math.floor((i * trials) / rings))
  await Promise.all(shares.map((share, i) => ringOfAlterations(tally, share, seed * rings + i)))
  say(`live peers: ${tallyLine(tally)}`)
  return tally
}

/** Three hosts and a requester on a network of their own. */
async function ringOfAlterations(tally: Tally, trials: number, seed: number): Promise<void> {
  const random = randomFrom(seed)
  const below = (n: number): number => Math.floor(random() * n)
  const specimen = await chatSpecimen({ layers: 6, context: 64 })
  const source: ModelSource = { manifest: specimen.manifest, readShard: async (index, into) => into.set(specimen.shards[index]!) }
  const facts = factsOf(specimen.manifest, specimen.id)
  const { layers } = facts
  const bus = new MemoryBus()
  const peer = (engines?: Engines) => {
    const secret = crypto.getRandomValues(new Uint8Array(32))
    const machine = new Peer({ secret, seed: crypto.getRandomValues(new Uint8Array(32)), boot: 1 })
    const key = hex(publicKeyOf(secret))
    return { key, machine, shell: createShell({ network: bus.join(key), machine, ...(engines ? { engines } : {}) }) }
  }
  const asker = peer()
  const segments: Segment[] = [0, 2, 4].map((from) => ({ from, to: from + 2 }))
  const hosts = segments.map((segment) => {
    const engines: AlteringEngines = alteringEngines(source, (from, wanted) => createReferenceEngine(from, { segment: wanted, kvTokensMax: 256 }))
    const host = peer(engines)
    host.shell.command({
      kind: 'lend',
      lending: { models: [facts], memoryBytes: 1 << 30, fixed: [{ modelId: facts.modelId, segment }] },
    })
    return { ...host, engines, segment }
  })
  await until(() => asker.machine.table.all().filter((one) => one.held.some((held) => held.ready)).length === hosts.length)
  const requester = createRequester(asker.shell)
  // What `meadow verify` opens: its own copy of the model, cut where the hosts were.
  const judges = await Promise.all(segments.map((segment) => createReferenceEngine(source, { segment, kvTokensMax: 256 })))
  const receiptOf = async (): Promise<AnswerReceipt> => {
    const question: Question = {
      modelId: specimen.id,
      prompt: Array.from({ length: promptTokens }, () => below(300)),
      sampler: greedy,
      seed: below(1 << 30),
      maxTokens: answerTokens,
      stopIds: [],
    }
    for await (const notice of requester.ask(question, facts, { draft: false })) if (notice.what === 'receipt') return notice.receipt
    throw new Error('an answer ended without a receipt')
  }
  /** With all three signatures: on a machine that does much else, a host may be silent for so long that the ring goes on without what it would have signed. */
  const wholeReceipt = async (): Promise<AnswerReceipt> => {
    for (;;) {
      const receipt = await receiptOf()
      if (receipt.hosts.length === hosts.length) return receipt
      tally.incomplete++
    }
  }
  const verify = async (receipt: AnswerReceipt) => {
    const read = parseReceipt(JSON.parse(JSON.stringify(receipt)))
    if (edgesOf(read, layers).length !== judges.length + 1) throw new Error('the ring is not the three hosts')
    return blame(read, await recompute(read, judges), layers)
  }
  for (let trial = 0; trial < trials; ) {
    const host = hosts[below(hosts.length)]!
    const kind = (trial + seed) % 2 === 0 ? 'activation' : 'shard'
    const alteration = drawAlteration(source, host.segment, kind, promptTokens + answerTokens - 1, below)
    await host.engines.arm(alteration)
    const verdict = await verify(await wholeReceipt())
    const where = alteration.kind === 'shard' ? tensorAt(source, alteration.shard, alteration.at) : 'activation'
    if (count(tally, kind, host.engines.effective(), host.key, verdict, where)) trial++
    await host.engines.arm(null)
    if (trial % 25 === 0) {
      tally.controls[1]++
      const control = await verify(await wholeReceipt())
      if (control.equal) tally.controls[0]++
    }
  }
  await requester.close()
  for (const { shell } of [...hosts, asker]) await shell.leave()
}
