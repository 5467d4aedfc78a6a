// The defence that a host runs beside its work: a thread with nothing but the shards of its layers, on the disk as a host has them, and what it kept of its sessions.
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test, vi } from 'vitest'
import { PackageWeights } from '../../../protocol/engine/proof/weights.ts'
import { hex } from '../../../protocol/hash.ts'
import { encodeManifest, shardRootOf } from '../../../protocol/model/identity.ts'
import type { Retained } from '../../../protocol/peer/payment.ts'
import { startDefender } from '../../../relay/payments/defender.ts'
import { RetainedStore } from '../../../relay/payments/retained.ts'
import type { AgentNotice } from '../../../relay/watch/agent.ts'
import { readStanding } from '../../../relay/watch/rounds.ts'
import { ChainView } from '../../../relay/watch/view.ts'
import { smallCore, type TinyModel, tinyModel } from '../../ledger/dispute/tiny.ts'
import { person } from '../../ledger/world.ts'
import { accusing, playSession } from './session.ts'
import { Stage } from './stage.ts'

vi.setConfig({ testTimeout: 300_000 })

/** Some hundred are needed. */
const roundsMax = 5000

let home: string
let stage: Stage
afterEach(async () => {
  await stage?.close()
  rmSync(home, { recursive: true, force: true })
})

/** A tiny model whose manifest has the true hashes of its shards. */
async function hashedModel(): Promise<TinyModel> {
  const model = await tinyModel({ ...smallCore('llama'), layers: 3 })
  // Nobody opens the tokenizer; it only has to be there.
  const bytesOf = (i: number): Uint8Array => (model.manifest.shards[i].name === 'tokenizer' ? new Uint8Array(100) : model.shards[i])
  const shards = model.manifest.shards.map((shard, i) => ({
    ...shard,
    bytes: bytesOf(i).length,
    sha256: new Uint8Array(createHash('sha256').update(bytesOf(i)).digest()),
    root: shardRootOf(model.manifest.tensors.filter((tensor) => tensor.shard === i).map((tensor) => tensor.root)),
  }))
  const manifest = { ...model.manifest, shards }
  return { ...model, manifest, weights: new PackageWeights(manifest, (i) => model.shards[i]) }
}

test('a host that holds one layer of three on its disk answers for it by a thread of its own, to a verdict in its favour', async () => {
  home = mkdtempSync(join(tmpdir(), 'meadow-defender-'))
  const model = await hashedModel()
  stage = await Stage.open({ sessionGraceMs: 10_000 }, undefined, 1, 3, model)
  for (const name of ['bob', 'cat', 'eve']) await stage.stake(name)
  const shards = join(home, 'shards', stage.modelId)
  mkdirSync(shards, { recursive: true })
  writeFileSync(join(shards, 'manifest'), encodeManifest(model.manifest))
  writeFileSync(join(shards, 'layer-1'), model.shards[model.manifest.shards.findIndex(({ name }) => name === 'layer-1')])
  const { id, retained } = await playSession(stage, 0, [1])
  const folder = join(home, 'payments', 'host')
  const store = new RetainedStore(folder)
  store.retain(hex(id), retained[1])
  const notices: AgentNotice[] = []
  const defender = startDefender({ home, relay: stage.address, secret: person('cat').secret, folder }, store, (notice) => void notices.push(notice))
  try {
    stage.play('dan', { share: 1, mind: accusing(stage.mind), only: `${hex(id)}/1` })
    const view = new ChainView(stage.client())
    // Time passes only while the thread owes nothing: how fast it is makes no difference.
    for (let count = 0; stage.disputeOf(id, 1)?.verdict == null; count++) {
      if (count > roundsMax) throw new Error(`no verdict: ${JSON.stringify(notices)}`)
      const dispute = stage.disputeOf(id, 1)
      const standing = dispute && (await readStanding(view, dispute))?.standing
      const owes = standing && (standing.roots.length === 0 || standing.arguments.some(({ state, turn }) => state === 'live' && turn === 'defender'))
      await stage.poke()
      await stage.block(owes ? 1 : 6000)
      if (owes) await sleep(10)
    }
    expect(stage.disputeOf(id, 1)!.verdict).toBe('upheld')
    const sent = notices.filter(({ type }) => type === 'sent').map(({ move }) => move)
    expect(sent).toEqual(expect.arrayContaining(['defend', 'expand', 'open', 'prove']))
    expect(notices.filter(({ type }) => type === 'failed' || type === 'trouble')).toEqual([])
  } finally {
    await defender.close()
    store.close()
  }
})

test('what was kept is found again after a restart, as it was; the oldest goes when there is no room, and the old in time', () => {
  home = mkdtempSync(join(tmpdir(), 'meadow-retained-'))
  let nowMs = 1_000_000
  const one: Retained = {
    claim: Uint8Array.of(1, 2, 3),
    signature: new Uint8Array(64).fill(4),
    modelId: 'ab'.repeat(32),
    from: 3,
    to: 7,
    answer: {
      sampler: { temperature: 0, topK: 0, topP: 65536, minP: 0, repeatPenalty: 65536, repeatWindow: 0 },
      seed: 9,
      maxTokens: 2,
      stopIds: [2],
      prompt: [1, 2],
      tokens: [3, 4],
      stop: 'eos',
      tokenKey: new Uint8Array(32).fill(5),
    },
    records: new Uint8Array(192).fill(6),
    entering: Int32Array.of(-1, 2147483647, -2147483648),
  }
  const first = new RetainedStore(home, 2000, () => nowMs)
  first.retain('a', one)
  first.retain('b', { ...one, entering: null })
  first.close()
  const again = new RetainedStore(home, 2000, () => nowMs)
  expect(again.get('a')).toEqual(one)
  expect(again.get('b')).toEqual({ ...one, entering: null })
  expect([again.get('c'), again.has('a'), again.has('c')]).toEqual([null, true, false])
  nowMs += 1000
  again.retain('c', { ...one, entering: new Int32Array(300) })
  expect([again.legs(), again.dropped]).toEqual([['c'], 2])
  nowMs += 15 * 86_400_000
  again.retain('d', one)
  expect(again.legs()).toEqual(['d'])
  again.close()
})
