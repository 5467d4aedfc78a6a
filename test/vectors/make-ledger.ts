// Makes test/vectors/ledger.json: bytes that must never change while their version stays: genesis, one transaction of every kind, the root of a state with records
// of most kinds, a header, a voucher, proofs.  node test/vectors/make-ledger.ts
import { writeFileSync } from 'node:fs'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { encodeHeader, headerHash, transactionRoot } from '../../ledger/block.ts'
import { chainNumber, encodeGenesis } from '../../ledger/genesis.ts'
import { decodeTransaction } from '../../ledger/transaction.ts'
import { hex } from '../../protocol/hash.ts'
import { Scene } from '../ledger/scene.ts'
import { credit, operator } from '../ledger/world.ts'

export function ledgerVectors() {
  const scene = new Scene()
  const root = scene.chain.state.root()
  const transactions = [...scene.good(), ...scene.early()].map(([by, body]) => {
    const bytes = scene.sign(by, body)
    return { kind: body.kind, bytes: hex(bytes), id: hex(decodeTransaction(bytes).id) }
  })
  const ids = transactions.map(({ bytes }) => decodeTransaction(Buffer.from(bytes, 'hex')).id)
  const header = {
    version: 1,
    chain: chainNumber(scene.name),
    height: 7,
    timeMs: scene.timeMs,
    previous: scene.name,
    stateRoot: root,
    transactionRoot: transactionRoot(ids),
    transactions: ids.length,
    producer: operator.id,
  }
  const key = `account/${hex(scene.who('bob').id)}`
  const present = scene.chain.state.prove(key)
  return {
    genesis: hex(encodeGenesis(scene.genesis)),
    genesisHash: hex(scene.name),
    transactions,
    header: hex(encodeHeader(header)),
    headerHash: hex(headerHash(header)),
    voucher: hex(scene.voucher('ann', 3, scene.terms, credit, true).voucher),
    stateRoot: hex(root),
    present: { key, value: hex(present.value!), proof: hex(present.proof) },
    absent: { key: 'account/00', proof: hex(scene.chain.state.prove('account/00').proof) },
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  writeFileSync(fileURLToPath(new URL('ledger.json', import.meta.url)), `${JSON.stringify(ledgerVectors(), null, 1)}\n`)
