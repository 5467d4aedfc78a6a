// The judge of `meadow demo fraud` in a process of its own:   node relay/demo/judge-process.ts JSON
// It loads what judging takes and nothing else, so that its memory is the judge's.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { LedgerClient } from '../ledger/client.ts'
import type { ChildSetup } from './child.ts'
import { judgeChain } from './judge.ts'

const { home, relay } = JSON.parse(process.argv[2]) as ChildSetup
try {
  const report = await judgeChain(new LedgerClient(relay))
  process.stdout.write(`${JSON.stringify({ type: 'judged', ...report, models: existsSync(join(home, 'models')) ? 1 : 0 })}\n`)
} catch (error) {
  process.stdout.write(`${JSON.stringify({ type: 'crashed', reason: error instanceof Error ? (error.stack ?? error.message) : String(error) })}\n`)
  process.exitCode = 1
}
