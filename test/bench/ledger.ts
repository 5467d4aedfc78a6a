// What the ledger costs: durable transfers and settlements a second, time to acknowledgement at a steady load, proofs, bytes of a paid answer, replay, restart.
//   node test/bench/ledger.ts [--json] [--seconds 5] [--no-browsers] [--only-browsers]
import { createHash, hash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { sha256 } from '@noble/hashes/sha2.js'
import { formatAmount } from '../../ledger/amount.ts'
import { modelIdFrom } from '../../ledger/apply/model.ts'
import { encodeSigned } from '../../ledger/block.ts'
import { checkHeader, checkRecord } from '../../ledger/light.ts'
import { keyOf } from '../../ledger/records.ts'
import { othersOf, type SessionTerms, signEnd, signTransaction, signVoucher, termsHash } from '../../ledger/transaction.ts'
import { hashTagged, setSha256, u32 } from '../../protocol/hash.ts'
import { setEd25519, verify } from '../../protocol/keys.ts'
import { replayStore } from '../../relay/ledger/archive.ts'
import { LedgerNode } from '../../relay/ledger/node.ts'
import { nativeEd25519 } from '../../relay/mesh/native-keys.ts'
import { testCore } from '../ledger/world.ts'
import { atLeast, atMost, type Bar } from './bars/bar.ts'
import { proofBars } from './bars/proof-tab.ts'
import { accountsOf, genesisOf, type LoadAccount, transferOf } from './ledger-load.ts'

const accounts = 1000

/** Keeps `width` submissions under way until all are acknowledged; returns acknowledgements a second. */
async function drive(node: LedgerNode, list: readonly Uint8Array[], width: number): Promise<number> {
  const began = performance.now()
  let next = 0
  await Promise.all(
    Array.from({ length: width }, async () => {
      while (next < list.length) await node.submit(list[next++])
    }),
  )
  return list.length / ((performance.now() - began) / 1000)
}

/** Submits at a steady rate, whatever the answers take; returns each time to acknowledgement in ms, ascending. */
async function steady(node: LedgerNode, list: readonly Uint8Array[], perSecond: number): Promise<number[]> {
  const began = performance.now()
  const waits: Promise<number>[] = []
  for (let sent = 0; sent < list.length; ) {
    // A transaction's clock starts when it should have been sent: a late sender would otherwise hide what it waited for.
    for (const due = Math.min(list.length, Math.floor(((performance.now() - began) / 1000) * perSecond)); sent < due; sent++) {
      const at = began + (sent / perSecond) * 1000
      waits.push(node.submit(list[sent]).then(() => performance.now() - at))
    }
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  return (await Promise.all(waits)).sort((a, b) => a - b)
}

/** Ends of `count` sessions between people, each with its terms, its last voucher and the word of all hosts, each by a host without a balance of its own. */
function settlements(
  name: Uint8Array,
  model: Uint8Array,
  people: readonly LoadAccount[],
  hosts: readonly LoadAccount[],
  count: number,
  untilMs: number,
): Uint8Array[] {
  const nonces = hosts.map(() => 0)
  return Array.from({ length: count }, (_, i) => {
    const owner = people[i % people.length]
    const ring = [0, 1, 2].map((k) => hosts[(i + k) % hosts.length])
    const terms: SessionTerms = { model, hosts: ring.map(({ id }, k) => ({ account: id, from: k, to: k === 2 ? 4 : k + 1 })), limit: 200_000n, untilMs }
    const session = Math.floor(i / people.length)
    const receipt = hashTagged('bench-receipt', u32(i))
    const last = { owner: owner.id, channel: 0, session, terms: termsHash(terms), amount: 100_000n, last: true, receipt }
    const host = i % hosts.length
    const ends = othersOf(terms.hosts, hosts[host].id).map((id) => signEnd(ring.find((one) => one.id === id)!.secret, name, last))
    return signTransaction(hosts[host].secret, name, nonces[host]++, 1000n, {
      kind: 'channel.end',
      owner: owner.id,
      channel: 0,
      session,
      terms,
      amount: last.amount,
      receipt,
      voucher: signVoucher(owner.secret, name, last),
      ends,
    })
  })
}

export interface LedgerBench {
  bars: Bar[]
  details: Record<string, number | string>
}

export async function benchLedger(seconds = 5): Promise<LedgerBench> {
  const folder = mkdtempSync(join(tmpdir(), 'meadow-bench-'))
  const people = accountsOf(accounts)
  const hosts = accountsOf(accounts + 100).slice(accounts)
  const genesis = genesisOf(people, { timeMs: Date.now() - 60_000 })
  const node = new LedgerNode({ folder, secret: people[0].secret, genesis, queueMax: 1e6 })
  const details: LedgerBench['details'] = {}
  try {
    const nonces = people.map(() => 0)
    const transfers = (count: number): Uint8Array[] =>
      Array.from({ length: count }, (_, i) => transferOf(node.name, people[i % accounts], nonces[i % accounts]++, people[(i * 7 + 1) % accounts].id))

    // Signed beforehand: signing is the senders' work.
    await drive(node, transfers(2000), 500)
    const many = transfers(4000 * seconds)
    const transfersPerSecond = await drive(node, many, 1000)
    details.transferBytes = many[0].length

    const waits = await steady(node, transfers(1000 * seconds), 1000)
    const p99 = waits[Math.floor(waits.length * 0.99)]
    details.p50Ms = waits[waits.length >> 1]

    const core = testCore('bench')
    const [a, b, c] = [1, 2, 3].map((n) => hashTagged('bench', u32(n)))
    const registration = {
      kind: 'model.register',
      core,
      tensorTableRoot: a,
      constTablesRoot: b,
      shardListHash: c,
      price: 1000n,
      split: { owner: 300, trainer: 200 },
    } as const
    await node.submit(signTransaction(people[0].secret, node.name, nonces[0]++, 20_000n, { ...registration, trainer: people[0].id, auditRate: 500 }))
    const openings = people.map((one, i) =>
      signTransaction(one.secret, node.name, nonces[i]++, 1000n, { kind: 'channel.open', number: 0, deposit: 10_000_000n }),
    )
    await drive(node, openings, 500)
    const settled = settlements(node.name, modelIdFrom(core, a, b, c), people, hosts, 2000 * seconds, Date.now() + 86_400_000)
    // One client a host, so that a host's settlements arrive in its order.
    const receiptsPerSecond = await drive(node, settled, hosts.length)
    details.settlementBytes = settled[0].length
    // The wallet opens a channel for ten answers (ledger/wallet.ts).
    const answerBytes = settled[0].length + openings[0].length / 10
    details.answerBytesWithAChannelOfItsOwn = settled[0].length + openings[0].length

    node.seal()
    const key = keyOf.account(people[7].id)
    const { value, proof, header } = node.prove(key)
    // As a tab does it, with portable SHA-256 and Ed25519: the header's signature, the proof, the record.
    setSha256(sha256)
    setEd25519(null)
    const signed = encodeSigned(header!)
    const times = Array.from({ length: 100 }, () => {
      const began = performance.now()
      checkRecord(checkHeader({ chain: node.name, producers: [people[0].id] }, signed, verify), key, value, proof)
      return performance.now() - began
    }).sort((x, y) => x - y)
    setEd25519(nativeEd25519)
    setSha256(
      (bytes) => hash('sha256', bytes, 'buffer'),
      () => createHash('sha256'),
    )
    details.records = node.chain.state.size
    details.balance = formatAmount(node.get(keyOf.account(people[7].id))!.balance)

    const root = Buffer.from(node.chain.state.root()).toString('hex')
    node.close()
    const openedAt = performance.now()
    const again = new LedgerNode({ folder, secret: people[0].secret, genesis })
    const restartMs = performance.now() - openedAt
    const replayAt = performance.now()
    const replayed = replayStore(again.store)
    details.replayedPerSecond = replayed.transactions / ((performance.now() - replayAt) / 1000)
    details.replayedTransactions = replayed.transactions
    const same = replayed.root === root
    again.abandon()

    const bars = [
      atLeast('transfers, signed and durable', transfersPerSecond, '/s', 3000),
      atLeast('sessions settled and ended, four signatures each', receiptsPerSecond, '/s', 1000),
      atMost('time to acknowledgement at 1,000/s, p99', p99, 'ms', 250),
      atMost('proof of an account', value!.length + proof.length, 'bytes', 4096),
      atMost('account checked as in a tab (header signature, proof, record; portable code), median', times[50], 'ms', 5),
      atMost('ledger bytes of a paid 100-token answer by three hosts, its unused part returned, a tenth of a channel included', answerBytes, 'bytes', 600),
      atMost('restart', restartMs, 'ms', 5000),
      atLeast('replay reaches the same root', same ? 1 : 0, 'times', 1),
    ]
    return { bars, details }
  } finally {
    node.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { values } = parseArgs({
    options: {
      json: { type: 'boolean' },
      seconds: { type: 'string', default: '5' },
      'no-browsers': { type: 'boolean' },
      'only-browsers': { type: 'boolean' },
    },
  })
  const result: LedgerBench = values['only-browsers'] ? { bars: [], details: {} } : await benchLedger(Number(values.seconds))
  if (!values['no-browsers']) result.bars.push(...(await proofBars(result.details)))
  if (values.json) console.log(JSON.stringify(result))
  else {
    for (const bar of result.bars) console.log(`${bar.ok ? 'ok  ' : 'MISS'} ${bar.name}: ${bar.value} ${bar.unit} (bar ${bar.bar})`)
    console.log(JSON.stringify(result.details))
  }
  process.exitCode = result.bars.every((bar) => bar.ok) ? 0 : 1
}
