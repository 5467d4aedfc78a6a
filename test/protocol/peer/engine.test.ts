// The machines over the reference engine and a specimen model of every kind of layer, instead of the toy.
import { describe, expect, test } from 'vitest'
import { noiseKey } from '../../../protocol/engine/answer.ts'
import type { SegmentEngine } from '../../../protocol/engine/engine.ts'
import { Session } from '../../../protocol/engine/generate.ts'
import { createReferenceEngine } from '../../../protocol/engine/reference.ts'
import { samplerOf } from '../../../protocol/engine/sampler.ts'
import { specimenCore, specimenPackage } from '../../../protocol/engine/specimen.ts'
import { blame, edgesOf, recompute } from '../../../protocol/peer/blame.ts'
import { factsOf } from '../../../protocol/peer/facts.ts'
import { World } from '../../sim/world.ts'
import { lending, question, start } from './mesh.ts'

const source = specimenPackage(specimenCore('gemma3'), 7)
const facts = factsOf(source.manifest, 'ab'.repeat(32))
const q = question({
  modelId: facts.modelId,
  prompt: [5, 9, 200, 31, 7, 44, 120, 9, 200, 31],
  sampler: samplerOf({ temperature: 0.8, topK: 40, topP: 0.95, minP: 0.01, repeatPenalty: 1.1 }),
  seed: 3,
  maxTokens: 24,
})

async function truth(): Promise<number[]> {
  const tokens: number[] = []
  for await (const p of new Session(await createReferenceEngine(source)).generate({ ...q, key: noiseKey(q.seed) })) if (p.kind === 'token') tokens.push(p.token)
  return tokens
}

describe('three hosts with a part of a specimen model each', () => {
  const cuts = [0, 2, 5, facts.layers]
  for (const kill of [false, true])
    test(kill ? 'one of them dies: the same tokens, and the receipt holds' : 'the tokens of one device, and a receipt that holds', async () => {
      const engines = new Map<string, SegmentEngine>()
      for (const [i, to] of cuts.slice(1).entries())
        for (const copy of [0, 1]) engines.set(`${cuts[i]}-${to}-${copy}`, await createReferenceEngine(source, { segment: { from: cuts[i], to } }))
      const world = new World(2, [facts])
      const asker = world.add('asker')
      const hosts = [0, 1].flatMap((copy) =>
        cuts.slice(1).map((to, i) => {
          const node = world.add(`host${i}-${copy}`, { engine: () => engines.get(`${cuts[i]}-${to}-${copy}`)! })
          world.step(node, { kind: 'lend', lending: lending(cuts[i], to, {}, facts) })
          return node
        }),
      )
      world.run(10_000, () => asker.peer.table.all().filter((one) => one.held[0]?.ready).length === 6)
      const { got } = start({ world, hosts, asker }, q, { model: facts })
      await world.runWith(60_000, () => got.tokens.length >= 9)
      if (kill) {
        const route = asker.notices.find((n) => n.of === 'ask' && n.what === 'route')!
        world.kill(hosts.find((host) => 'chain' in route && host.key === route.chain[1].peer)!)
      }
      await world.runWith(60_000, () => got.receipt !== null || got.failed !== null)
      expect(got.tokens).toEqual(await truth())
      expect(got.repairs).toBe(kill ? 1 : 0)
      const edges = edgesOf(got.receipt!, facts.layers)
      expect(edges).toEqual(cuts)
      const again = await Promise.all(edges.slice(1).map((to, i) => createReferenceEngine(source, { segment: { from: edges[i], to } })))
      expect(blame(got.receipt!, await recompute(got.receipt!, again), facts.layers)).toMatchObject({ equal: true, named: [], faults: [] })
    })
})
