// Agents in processes of their own, killed at bad moments: nothing staked is lost, and what was begun is brought to its end.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { keyOf } from '../../../ledger/records.ts'
import { stubborn } from '../../../relay/demo/cheat.ts'
import type { AgentNotice } from '../../../relay/watch/agent.ts'
import type { Mind } from '../../../relay/watch/mind.ts'
import { person } from '../../ledger/world.ts'
import { Stage } from './stage.ts'

let stage: Stage
let home: string
const children: ChildProcess[] = []
beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'meadow-restart-'))
  stage = await Stage.open()
})
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  await stage.close()
  rmSync(home, { recursive: true, force: true })
})

interface Spawned {
  notices: AgentNotice[]
  kill(): Promise<void>
}

function start(name: string, part: 'solve' | 'watch'): Spawned {
  const program = join(import.meta.dirname, 'restart-child.ts')
  const child = spawn(process.execPath, [program, stage.address, home, name, part], { stdio: ['ignore', 'pipe', 'inherit'] })
  children.push(child)
  const notices: AgentNotice[] = []
  createInterface({ input: child.stdout! }).on('line', (line) => notices.push(JSON.parse(line) as AgentNotice))
  return {
    notices,
    kill: () =>
      new Promise((resolve) => {
        child.once('close', () => resolve())
        child.kill('SIGKILL')
      }),
  }
}

/** Blocks of a second of chain time until `done`. Another process has no way to say that it has settled: the chain waits for it a little. */
async function until(done: () => boolean, what: string, blockMs = 1000): Promise<void> {
  for (let count = 0; !done(); count++) {
    if (count > 3000) throw new Error(`${what} did not come`)
    await stage.poke()
    await stage.block(blockMs)
    await sleep(60)
  }
}

test('a solver that is killed after its commit reveals when it comes back, and nothing staked is lost', async () => {
  await stage.stake('bob')
  await stage.block()
  const first = start('bob', 'solve')
  const { job } = await stage.ask('ann', [3, 14, 15, 9])
  await until(() => stage.node.get(keyOf.commit(job, person('bob').id)) !== undefined, 'the commit')
  await first.kill()
  expect(stage.claimOf(job)).toBe(null)
  expect(stage.account('bob').locked).toBeGreaterThan(0n)
  const second = start('bob', 'solve')
  await until(() => stage.claimOf(job) !== null, 'the reveal')
  // Its answer came from the journal: nothing was computed again.
  expect(second.notices.some(({ type }) => type === 'answered')).toBe(false)
  await until(() => stage.node.get(keyOf.job(job)) === undefined, 'the pay', 60_000)
  expect(stage.account('bob').locked).toBe(0n)
  expect(stage.wealth('bob')).toBeGreaterThan(10_000_000_000n)
}, 300_000)

test('a watcher that is killed in the middle of a dispute goes on where it was, and the cheat falls', async () => {
  await stage.stake('bob')
  await stage.block()
  const liar: Mind = {
    answer: async (question, signal) => {
      const { tokens, stop } = await stage.mind.answer(question, signal)
      return { tokens: tokens.map((token, i) => (i === 1 ? (token + 1) % 70 : token)), stop }
    },
    evaluate: (question, signal) => stage.mind.evaluate(question, signal),
    witness: async (one, signal) => ({ ...(await stage.mind.witness(one, signal)), wrong: null, clean: true }),
  }
  stage.play('bob', { solve: { feeMin: 0n }, mind: liar, strategy: stubborn })
  const first = start('dan', 'watch')
  const { job } = await stage.ask('ann', [3, 14, 15, 9])
  await until(() => stage.claimOf(job) !== null, 'the answer')
  const claim = stage.claimOf(job)!
  await until(() => first.notices.some(({ move }) => move === 'unit' || move === 'path'), 'an argument')
  expect(stage.disputeOf(claim)!.verdict).toBe(null)
  await first.kill()
  for (let i = 0; i < 3; i++) await stage.block(1000)
  const second = start('dan', 'watch')
  await until(() => stage.disputeOf(claim)!.verdict !== null, 'the verdict')
  expect(stage.disputeOf(claim)!.verdict).toBe('fallen')
  expect(second.notices.some(({ type, move }) => type === 'sent' && move === 'pick')).toBe(true)
  await stage.block()
  expect(stage.wealth('dan')).toBeGreaterThan(10_000_000_000n)
}, 300_000)
