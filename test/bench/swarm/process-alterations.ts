// The same with the real model, three host processes over real connections, receipts as files, and the command: `meadow verify RECEIPT --json`.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Segment } from '../../../protocol/engine/engine.ts'
import { root } from '../../code/sources.ts'
import { drawAlteration, tensorAt } from './altering.ts'
import { answer, ask, type BenchModel, randomFrom, startFleet } from './fleet.ts'
import { count, newTally, type Tally, tallyLine } from './tally.ts'

const answerTokens = 6

interface Verified {
  equal: boolean
  named: string[]
}

export async function processAlterations(model: BenchModel, trials: number, seed: number, say: (line: string) => void): Promise<Tally> {
  const tally = newTally()
  if (trials === 0) return tally
  const random = randomFrom(seed + 1)
  const below = (n: number): number => Math.floor(random() * n)
  const source = model.store.source(model.id)
  const fleet = await startFleet(model)
  const folder = mkdtempSync(join(tmpdir(), 'meadow-receipts-'))
  try {
    const { layers } = model.facts
    const segments: Segment[] = [0, 1, 2].map((i) => ({ from: Math.round((layers * i) / 3), to: Math.round((layers * (i + 1)) / 3) }))
    const hosts = []
    for (const { from, to } of segments) hosts.push(await fleet.host(from, to, { alters: true }))
    const peer = await fleet.requester(3)
    const question = ask(model, 'Name three colours.', answerTokens)
    const rows = question.prompt.length + answerTokens - 1
    const verify = async (): Promise<Verified> => {
      const { receipt } = await answer(peer, question, model.facts, false)
      if (!receipt) throw new Error('an answer ended without a receipt')
      const file = join(folder, 'receipt.json')
      writeFileSync(file, JSON.stringify(receipt))
      return new Promise((resolve, reject) => {
        execFile(
          process.execPath,
          [join(root, 'relay/main.ts'), 'verify', file, '--json'],
          { env: { ...process.env, MEADOW_HOME: model.store.home } },
          (_error, stdout, stderr) => {
            // It ends with 1 when the answer was not equal.
            try {
              resolve(JSON.parse(stdout) as Verified)
            } catch {
              reject(new Error(`meadow verify: ${stderr}`))
            }
          },
        )
      })
    }
    tally.controls = [(await verify()).equal ? 1 : 0, 1]
    for (let trial = 0; trial < trials; ) {
      const which = below(hosts.length)
      const host = hosts[which]!
      const kind = trial % 2 === 0 ? 'activation' : 'shard'
      const alteration = drawAlteration(source, segments[which]!, kind, rows, below)
      await host.arm(alteration)
      const verdict = await verify()
      const where = alteration.kind === 'shard' ? tensorAt(source, alteration.shard, alteration.at) : 'activation'
      if (count(tally, kind, await host.effective(), host.key, verdict, where)) trial++
      await host.arm(null)
    }
    tally.controls[1]++
    if ((await verify()).equal) tally.controls[0]++
    say(`host processes and the command: ${tallyLine(tally)}`)
  } finally {
    await fleet.close()
    rmSync(folder, { recursive: true, force: true })
  }
  return tally
}
