// The process that ledger-kill.ts kills: a ledger node under load. It reports what it found on the disk, then every acknowledgement as soon as it has it, with writes
// that do not wait in this process.
import { writeSync } from 'node:fs'
import { hex } from '../../protocol/hash.ts'
import { LedgerNode } from '../../relay/ledger/node.ts'
import { accountsOf, genesisOf, transferOf } from './ledger-load.ts'

const [folder, seed] = process.argv.slice(2) as [string, string]
const started = performance.now()
const people = accountsOf(32)
const genesis = genesisOf(people)
const node = new LedgerNode({ folder, secret: people[0].secret, genesis })
const nonces = people.map(({ id }) => node.chain.state.account(id).nonce)
writeSync(
  1,
  `${JSON.stringify({ ready: { ms: performance.now() - started, nonces, height: node.chain.height, root: hex(node.chain.state.pendingRoot()) } })}\n`,
)

let counter = Number(seed)
await Promise.all(
  people.map(async (person, i) => {
    for (let nonce = nonces[i]; ; nonce++) {
      await node.submit(transferOf(node.name, person, nonce, people[counter++ % people.length].id))
      writeSync(1, `${JSON.stringify({ acknowledged: [i, nonce] })}\n`)
    }
  }),
)
