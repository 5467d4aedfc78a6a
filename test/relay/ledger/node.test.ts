import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { decodeSigned, headerHash, verifyHeader } from '../../../ledger/block.ts'
import { defaultGenesis, type Genesis, genesisHash } from '../../../ledger/genesis.ts'
import { keyOf } from '../../../ledger/records.ts'
import { signTransaction } from '../../../ledger/transaction.ts'
import { verify as verifyProof } from '../../../ledger/tree.ts'
import { equalBytes, hex } from '../../../protocol/hash.ts'
import { verify } from '../../../protocol/keys.ts'
import { LedgerNode } from '../../../relay/ledger/node.ts'
import { operator, person, startMs, word } from '../../ledger/world.ts'

const folders: string[] = []
const folder = (): string => {
  const path = mkdtempSync(join(tmpdir(), 'meadow-ledger-'))
  folders.push(path)
  return path
}
afterEach(() => {
  for (const path of folders.splice(0)) rmSync(path, { recursive: true, force: true })
})

const ann = person('ann')
const genesis: Genesis = {
  ...defaultGenesis(operator.id, startMs, 'meadow-test'),
  allocations: [
    { account: operator.id, amount: 1_000_000n },
    { account: ann.id, amount: 1_000_000_000n },
  ],
}
const name = genesisHash(genesis)
const pay = (nonce: number, to = word('bob'), amount = 1000n) =>
  signTransaction(ann.secret, name, nonce, 1000n, { kind: 'transfer', to, amount, note: new Uint8Array(0) })

/** A node whose clock is `clock.ms` and whose blocks are made only by seal(). */
function open(path: string, clock: { ms: number }): LedgerNode {
  return new LedgerNode({ folder: path, secret: operator.secret, genesis, now: () => clock.ms })
}

test('what was acknowledged is there after a crash, with the same roots', async () => {
  const path = folder()
  const clock = { ms: startMs }
  const node = open(path, clock)
  await Promise.all([0, 1, 2].map((nonce) => node.submit(pay(nonce))))
  clock.ms += 1000
  const first = node.seal()!
  await Promise.all([3, 4].map((nonce) => node.submit(pay(nonce))))
  const pending = node.chain.state.pendingRoot()
  node.abandon()

  const again = open(path, clock)
  expect(hex(headerHash(again.head!.header))).toBe(hex(headerHash(first.header)))
  expect(hex(again.chain.state.pendingRoot())).toBe(hex(pending))
  expect(again.get(keyOf.account(word('bob')))!.balance).toBe(5000n)
  await again.submit(pay(5))
  clock.ms += 1000
  const second = again.seal()!
  expect(second.header.height).toBe(2)
  expect(second.header.transactions).toBe(3)
  expect(equalBytes(second.header.previous, headerHash(first.header))).toBe(true)
  again.close()
})

test('a replayed, badly signed or unpaid transaction is refused and nothing is logged', async () => {
  const node = open(folder(), { ms: startMs })
  await node.submit(pay(0))
  await expect(node.submit(pay(0))).rejects.toMatchObject({ code: 'nonce' })
  const forged = pay(1)
  forged[forged.length - 1] ^= 1
  await expect(node.submit(forged)).rejects.toMatchObject({ code: 'signature' })
  await expect(node.submit(pay(1, word('bob'), 2_000_000_000n))).rejects.toMatchObject({ code: 'balance' })
  expect(node.store.lastSeq()).toBe(1)
  node.close()
})

test('several transactions of one account can be under way at once', async () => {
  const node = open(folder(), { ms: startMs })
  const all = await Promise.all(Array.from({ length: 300 }, (_, nonce) => node.submit(pay(nonce))))
  expect(all.map((one) => one.seq)).toEqual(all.map((_, i) => i + 1))
  node.close()
})

test('a record is proven under a header that the operator signed', async () => {
  const node = open(folder(), { ms: startMs })
  await node.submit(pay(0))
  node.seal()
  const key = keyOf.account(word('bob'))
  const { value, proof, header } = node.prove(key)
  expect(verifyHeader(verify, name, header!)).toBe(true)
  expect(verifyProof(header!.header.stateRoot, key, value, proof)).toBe(true)
  const stored = decodeSigned(node.store.block(1)!.header!)
  expect(hex(headerHash(stored.header))).toBe(hex(headerHash(header!.header)))
  expect(node.store.eventsOf(word('bob'), 1e15, 10)).toMatchObject([{ type: 'received', amount: 1000n, height: 1 }])
  node.close()
})

test('blocks come by themselves while there is something to put into them', async () => {
  const quick: Genesis = { ...genesis, parameters: { ...genesis.parameters, blockIntervalMs: 20 } }
  const node = new LedgerNode({ folder: ':memory:', secret: operator.secret, genesis: quick })
  const heights: number[] = []
  const two = new Promise<void>((resolve) => {
    node.subscribe((notice) => {
      if (notice.type === 'block' && heights.push(notice.block.header.height) === 2) resolve()
    })
  })
  const quickPay = (nonce: number) =>
    signTransaction(ann.secret, genesisHash(quick), nonce, 1000n, { kind: 'transfer', to: word('bob'), amount: 1n, note: new Uint8Array(0) })
  await node.submit(quickPay(0))
  const first = node.chain.height
  while ((node.head?.header.height ?? 0) < first) await new Promise((resolve) => setTimeout(resolve, 5))
  await node.submit(quickPay(1))
  await two
  expect(heights).toEqual([1, 2])
  node.close()
})

test('a second process cannot open the same ledger, and another genesis is refused', () => {
  const path = folder()
  const node = open(path, { ms: startMs })
  expect(() => new LedgerNode({ folder: path, secret: operator.secret, genesis })).toThrow(/another relay/)
  node.close()
  expect(() => new LedgerNode({ folder: path, secret: operator.secret, genesis: { ...genesis, chainId: 'other' } })).toThrow(/another genesis/)
})

test('a full block turns nobody away: what does not fit comes in the next one, and moves of disputes have room of their own', async () => {
  const { parameters } = genesis
  const small: Genesis = { ...genesis, parameters: { ...parameters, blockBytesMax: 2000, transactionBytesMax: 1400, blockIntervalMs: 60_000 } }
  const node = new LedgerNode({ folder: ':memory:', secret: operator.secret, genesis: small, now: () => startMs })
  const smallPay = (nonce: number) =>
    signTransaction(ann.secret, genesisHash(small), nonce, 1000n, { kind: 'transfer', to: word('bob'), amount: 1n, note: new Uint8Array(0) })
  const all = Array.from({ length: 25 }, (_, nonce) => node.submit(smallPay(nonce)))
  await all[0]
  // Three quarters of 2,000 bytes hold ten transfers; a dispute move still reaches its rule.
  const move = signTransaction(operator.secret, genesisHash(small), 0, 1000n, { kind: 'dispute.timeout', dispute: word('none') })
  await expect(node.submit(move)).rejects.toMatchObject({ code: 'missing' })
  let sealed = 0
  const done = Promise.all(all)
  let finished = false
  void done.then(() => {
    finished = true
  })
  while (!finished) {
    node.seal()
    sealed++
    await new Promise((resolve) => setImmediate(resolve))
  }
  const heights = (await done).map(({ height }) => height)
  expect(new Set(heights).size).toBe(3)
  expect(heights).toEqual([...heights].sort((a, b) => a - b))
  expect(sealed).toBeGreaterThan(1)
  node.close()
})
