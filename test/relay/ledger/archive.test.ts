import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { hex } from '../../../protocol/hash.ts'
import { exportLog, exportSnapshot, readLog, readSnapshot, replay, replayStore } from '../../../relay/ledger/archive.ts'
import { LedgerNode } from '../../../relay/ledger/node.ts'
import { accountsOf, genesisOf, transferOf } from '../../bench/ledger-load.ts'

let folder: string
let node: LedgerNode
const people = accountsOf(4)
const clock = { ms: 1_790_000_000_000 }

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'meadow-archive-'))
  node = new LedgerNode({ folder, secret: people[0].secret, genesis: genesisOf(people), now: () => clock.ms })
  for (let nonce = 0; nonce < 5; nonce++) {
    await Promise.all(people.map((one, i) => node.submit(transferOf(node.name, one, nonce, people[(i + 1) % 4].id))))
    clock.ms += 1000
    node.seal()
  }
})
afterAll(() => {
  node.close()
  rmSync(folder, { recursive: true, force: true })
})

test('a replay of the log reproduces every root', () => {
  expect(replayStore(node.store)).toMatchObject({ blocks: 5, transactions: 20, root: hex(node.chain.state.root()) })
})

test('an exported log replays to the same root, and not when a byte of it is changed', () => {
  const path = join(folder, 'log')
  expect(exportLog(node.store, path).blocks).toBe(5)
  const { genesis, blocks } = readLog(path)
  expect(replay(genesis, blocks).root).toBe(hex(node.chain.state.root()))
  const bytes = readFileSync(path)
  for (const at of [bytes.length - 1, bytes.length - 100, Math.floor(bytes.length / 2)]) {
    const changed = Buffer.from(bytes)
    changed[at] ^= 1
    writeFileSync(path, changed)
    expect(() => {
      const read = readLog(path)
      replay(read.genesis, read.blocks)
    }).toThrow()
  }
  writeFileSync(path, bytes.subarray(0, bytes.length - 3))
  expect(() => [...readLog(path).blocks]).toThrow(/ends in the middle/)
})

test('a snapshot restores the state of its signed header, and not when a byte is changed', () => {
  const path = join(folder, 'snapshot')
  expect(exportSnapshot(node.store, node.chain.state, path).records).toBe(node.chain.state.size)
  const { header, state } = readSnapshot(path)
  expect(hex(state.root())).toBe(hex(header!.header.stateRoot))
  const bytes = readFileSync(path)
  bytes[bytes.length - 20] ^= 1
  writeFileSync(path, bytes)
  expect(() => readSnapshot(path)).toThrow()
})
