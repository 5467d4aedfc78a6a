// The device self-test: before a device answers, earns or signs, its engine runs specimen models whose logits are known (golden, made by
// test/vectors/make-selftest.ts with the reference). A device that fails is told where and stays idle.

import { hex, sha256 } from '../hash.ts'
import type { Architecture, ModelSource } from '../model/manifest.ts'
import type { Row, SegmentEngine, StepValues } from './engine.ts'
import { createReferenceEngine } from './reference.ts'
import { specimenCore, specimenPackage } from './specimen.ts'
import { type Divergence, firstDivergence } from './trace.ts'

const promptTokens = 24
const answerTokens = 4

/** SHA-256 over all logits (i32 little-endian) of the specimen's run. */
const golden: Record<Architecture, string> = {
  llama: '4f62598aa4a024192bc2b8e544247d73d66c34dff2aeaaf9ff418ccc4dc616e8',
  qwen2: 'a1f2f09d7cb26adac7b2bf8371a3418a3681d2aa1123f0d59bab15fd599d9653',
  qwen3: '2dbdd4f4632304859470bf18c38d7cb965a9c215e190169262dd7c6499ddbb50',
  gemma3: '16caf2666483d74dabbab376fe4faea31f7c2d358cf1bd43c9156c0c045c3b3a',
}

export const selfTestSource = (architecture: Architecture): ModelSource => specimenPackage(specimenCore(architecture), 20_26)

const rowsOf = (from: number, count: number): Row[] =>
  Array.from({ length: count }, (_, i) => ({ sequence: 0, position: from + i, token: ((from + i) * 137 + 11) % 301 }))

/** Prefill in one batch, then single rows, as people use it: SHA-256 over the logits. */
export async function selfTestHash(engine: SegmentEngine): Promise<string> {
  const { vocab } = engine.manifest.core
  const all = new Uint8Array(vocab * 4 * (promptTokens + answerTokens))
  const view = new DataView(all.buffer)
  let at = 0
  const keep = (logits: (Int32Array | null)[]): void => {
    for (const row of logits) for (const v of row!) view.setInt32(at++ * 4, v, true)
  }
  const prompt = rowsOf(0, promptTokens)
  keep(
    (
      await engine.run(
        prompt,
        prompt.map(() => 'logits'),
      )
    ).logits,
  )
  for (let i = 0; i < answerTokens; i++) keep((await engine.run(rowsOf(promptTokens + i, 1), ['logits'])).logits)
  return hex(sha256(all))
}

export interface SelfTest {
  passed: boolean
  /** Where the device first differs from the reference, when it does. */
  divergence: Divergence | null
}

async function traceOf(engine: SegmentEngine): Promise<StepValues[]> {
  const steps: StepValues[] = []
  const rows = rowsOf(0, promptTokens)
  await engine.run(
    rows,
    rows.map(() => 'logits'),
    undefined,
    (s) => steps.push({ label: s.label, values: Array.from(s.values) }),
  )
  return steps
}

/**
 * Tests an engine on the specimen of an architecture. `create` opens the device's engine on a source; it is called again to name the first divergence when the hash differs.
 */
export async function selfTest(create: (source: ModelSource) => Promise<SegmentEngine>, architecture: Architecture): Promise<SelfTest> {
  const source = selfTestSource(architecture)
  const engine = await create(source)
  let hash: string
  try {
    hash = await selfTestHash(engine)
  } finally {
    await engine.close()
  }
  if (hash === golden[architecture]) return { passed: true, divergence: null }
  const device = await create(source)
  try {
    const divergence = firstDivergence(await traceOf(await createReferenceEngine(source)), await traceOf(device))
    return { passed: false, divergence: divergence ?? { label: 'decode', index: -1, expected: golden[architecture], actual: hash } }
  } finally {
    await device.close()
  }
}
