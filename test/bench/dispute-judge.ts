// A judge in a process of its own, with no model: reads one case from each file, judges it, prints a line of JSON about each and at the end its memory.
//   node test/bench/dispute-judge.ts FILE…
import { createHash, hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { decode } from '@ipld/dag-cbor'
import { judge, machineOfModel } from '../../ledger/dispute/judge.ts'
import { setSha256 } from '../../protocol/hash.ts'
import type { Case } from './dispute-tiles.ts'

setSha256(
  (bytes) => hash('sha256', bytes, 'buffer'),
  () => createHash('sha256'),
)

const rounds = 15
for (const path of process.argv.slice(2)) {
  const { core, one } = decode(readFileSync(path)) as { core: Uint8Array; one: Case }
  const times: number[] = []
  let verdict = ''
  for (let round = 0; round < rounds; round++) {
    const began = performance.now()
    const machine = machineOfModel({ core, tensorTableRoot: one.tensorTableRoot, shardListHash: new Uint8Array(32) }, one.facts)
    const found = judge(machine, { ...one.commitments, stage: one.stage, element: one.element, claimed: one.claimed }, one.evidence)
    times.push(performance.now() - began)
    verdict = found.verdict === 'invalid' ? `invalid: ${found.reason}` : found.verdict
  }
  const sorted = times.slice().sort((a, b) => a - b)
  console.log(
    JSON.stringify({ label: one.label, bytes: one.evidence.length, firstMs: times[0], medianMs: sorted[rounds >> 1], mostMs: sorted.at(-1), verdict }),
  )
}
// The most this process has held. Not ru_maxrss: Linux counts in it what the parent held when it forked.
const peak = /VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))
console.log(JSON.stringify({ rssMB: Number(peak![1]) / 1024 }))
