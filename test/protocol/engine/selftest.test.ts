import { expect, test } from 'vitest'
import { createReferenceEngine } from '../../../protocol/engine/reference.ts'
import { selfTest } from '../../../protocol/engine/selftest.ts'
import { architectures, type ModelSource } from '../../../protocol/model/manifest.ts'

test.each(architectures)('the reference passes the self-test of %s', async (architecture) => {
  expect(await selfTest(createReferenceEngine, architecture)).toEqual({ passed: true, divergence: null })
})

test('a device with one wrong bit is told the step where it first differs', async () => {
  const broken = async (source: ModelSource) =>
    createReferenceEngine({
      manifest: source.manifest,
      async readShard(index, into) {
        await source.readShard(index, into)
        const wv = source.manifest.tensors.find((t) => t.name === 'layers.0.wv')!
        if (index === wv.shard) into[wv.offset + 256] ^= 0x40
      },
    })
  const { passed, divergence } = await selfTest(broken, 'llama')
  expect(passed).toBe(false)
  expect(divergence?.label).toBe('0.wv')
  expect(divergence?.index).toBeGreaterThanOrEqual(0)
})
