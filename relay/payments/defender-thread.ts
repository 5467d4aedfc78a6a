// The thread of defender.ts: an agent that looks at nothing but disputes about what this host has signed.
import { parentPort, workerData } from 'node:worker_threads'
import { LedgerClient } from '../ledger/client.ts'
import { openStore } from '../store.ts'
import { Agent } from '../watch/agent.ts'
import { mindsOf } from '../watch/held.ts'
import { Journal } from '../watch/journal.ts'
import type { DefenderSetup } from './defender.ts'
import { RetainedStore } from './retained.ts'

const { home, relay, secret, folder } = workerData as DefenderSetup
const ended = new AbortController()
parentPort!.on('message', () => ended.abort())

const retained = new RetainedStore(folder)
// What it finds out it can find out again: nothing to keep, and `meadow watch` may have this account's journal.
const journal = new Journal(null)
const agent = new Agent({
  client: new LedgerClient(relay),
  secret,
  journal,
  retained,
  // The host's own answers come first: one thread.
  mindOf: mindsOf(openStore(home), 1),
  share: null,
  onNotice: (notice) => parentPort!.postMessage(notice),
  signal: ended.signal,
})
try {
  await agent.run()
} finally {
  journal.close()
  retained.close()
  parentPort!.close()
}
