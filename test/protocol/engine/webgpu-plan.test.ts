// The pure parts of the WebGPU engine: where weights lie, which dispatches a program becomes, which pages a sequence has. The kernels themselves: webgpu.real.test.ts.
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { programOf } from '../../../protocol/engine/program.ts'
import { specimenCore, specimenPackage } from '../../../protocol/engine/specimen.ts'
import { batchesOf, batchWords, headerWords } from '../../../protocol/engine/webgpu/batch.ts'
import { bindingAlign, placeWeights, segmentSteps, vectorLayout } from '../../../protocol/engine/webgpu/layout.ts'
import { kernelText, shaderNames, type Variant } from '../../../protocol/engine/webgpu/pipelines.ts'
import { planOf, variantsOf } from '../../../protocol/engine/webgpu/plan.ts'
import { Sequences } from '../../../protocol/engine/webgpu/sequences.ts'
import { isSoftware, tuningOf } from '../../../protocol/engine/webgpu/tuning.ts'
import { architectures, tensorBytes } from '../../../protocol/model/manifest.ts'

const ops = new URL('../../../protocol/engine/ops/', import.meta.url)
const shaders = Object.fromEntries(shaderNames.map((name) => [name, readFileSync(new URL(`${name}.wgsl`, ops), 'utf8')]))
const tuning = tuningOf({ vendor: 'nvidia' }, new Set(['packed_4x8_integer_dot_product']))
const mebibyte = 1 << 20

function planned(architecture: (typeof architectures)[number], traced: boolean) {
  const { manifest } = specimenPackage(specimenCore(architecture))
  const program = programOf(manifest)
  const segment = { from: 0, to: manifest.core.layers }
  const weights = placeWeights(program, segment, 128 * mebibyte, 32 * mebibyte)
  const plan = planOf({
    program,
    segment,
    weights,
    vectors: vectorLayout(manifest.core),
    tuning,
    actBase: 256,
    frequencyAt: { global: 4096, local: 4128 },
    traced,
  })
  return { program, segment, weights, plan }
}

describe('placing weights', () => {
  it('cuts the largest supported matrices by panels into parts no larger than asked, at aligned places, without gaps in the panels', () => {
    const core = specimenCore('llama', { hidden: 8192, ffn: 28672, vocab: 262144, heads: 64, kvHeads: 8, headDim: 128, layers: 2 })
    const none = new Uint8Array(32)
    const { manifest: small } = specimenPackage(specimenCore('llama', { layers: 2 }))
    const shapes: Record<string, [number, number]> = {
      embed: [262144, 8192],
      wq: [8192, 8192],
      wk: [1024, 8192],
      wv: [1024, 8192],
      wo: [8192, 8192],
      w_gate: [28672, 8192],
      w_up: [28672, 8192],
      w_down: [8192, 28672],
    }
    const tensors = small.tensors.map((t) => {
      const [rows, columns] = shapes[t.name.split('.').at(-1)!] ?? [8192, 1]
      const format = columns === 1 ? 'v32' : t.name === 'embed' ? 'g8' : 'w4'
      return { ...t, format, rows, columns, bytes: tensorBytes(format, rows, columns), root: none } as typeof t
    })
    const weights = placeWeights(programOf({ core, tensors, shards: small.shards }), { from: 0, to: 2 }, 128 * mebibyte, 32 * mebibyte)
    for (const bytes of weights.chunks) expect(bytes).toBeLessThanOrEqual(128 * mebibyte)
    for (const matrix of weights.matrices.values()) {
      let next = 0
      for (const part of matrix.parts) {
        expect(part.panelFrom).toBe(next)
        expect(part.offset & (bindingAlign - 1)).toBe(0)
        expect(part.bytes).toBe(part.panels * matrix.panelBytes)
        expect(part.bytes).toBeLessThanOrEqual(32 * mebibyte)
        expect(part.offset + part.bytes).toBeLessThanOrEqual(weights.chunks[part.chunk])
        next += part.panels
      }
      expect(next).toBe(matrix.panels)
    }
    expect(weights.matrices.get('layers.0.wq')!.tensors.map((t) => t.name)).toEqual(['layers.0.wq', 'layers.0.wk', 'layers.0.wv'])
    expect(weights.matrices.get('embed')!.parts.length).toBeGreaterThan(60)
  })
})

describe('plans', () => {
  for (const architecture of architectures) {
    for (const traced of [false, true]) {
      it(`cover every step of ${architecture} exactly once${traced ? ' when traced' : ''}`, () => {
        const { program, segment, plan } = planned(architecture, traced)
        const { steps, tail } = segmentSteps(program, segment)
        const short = [...plan.main, ...plan.tail].filter((d) => d.when !== 'long').flatMap((d) => d.steps.map((s) => s.label))
        expect([...short].sort()).toEqual([...steps, ...tail].map((s) => s.label).sort())
        const long = [...plan.main, ...plan.tail].filter((d) => d.when !== 'short').flatMap((d) => d.steps.map((s) => s.label))
        expect([...long].sort()).toEqual([...short].sort())
      })
    }
  }

  it('need ten dispatches a layer of llama, not twenty-four', () => {
    const { plan, program } = planned('llama', false)
    expect(program.layers[1].length).toBe(24)
    expect(plan.main.filter((d) => d.layer === 1 && d.when !== 'long').length).toBe(10)
  })

  it('write each exact step of a trace before another dispatch overwrites it', () => {
    const { plan } = planned('qwen2', true)
    expect(plan.main.find((d) => d.kernel === 'rope')!.steps.map((s) => s.op)).toEqual(['bias', 'bias', 'bias'])
    expect(new Set(variantsOf(plan.main).filter((v) => v.startsWith('attention')))).toEqual(new Set<Variant>(['attention:1', 'attention:2', 'attention:4']))
  })
})

describe('sequences', () => {
  it('give each its own pages, take them back and hand them out again', () => {
    const sequences = new Sequences()
    sequences.reserve(1, 65)
    sequences.setLength(1, 65)
    sequences.reserve(2, 64)
    sequences.setLength(2, 64)
    expect([sequences.pagesOf(1), sequences.pagesOf(2), sequences.pageCount]).toEqual([[0, 1], [2], 3])
    sequences.truncate(1, 64)
    sequences.reserve(2, 70)
    expect(sequences.pagesOf(2)).toEqual([2, 1])
    sequences.trim()
    expect(sequences.pagesOf(2)).toEqual([2])
    sequences.truncate(1, 0)
    expect([...sequences.lengths()]).toEqual([[2, 64]])
    sequences.reserve(3, 128)
    expect([sequences.pagesOf(3).length, sequences.pageCount]).toEqual([2, 3])
  })
})

describe('batches', () => {
  it('hold fewer rows the more positions they see, never none, and keep the order', () => {
    const rows = Array.from({ length: 300 }, (_, i) => ({ sequence: 0, position: i * 100, token: 1 }))
    const cut = batchesOf(rows, [0], 32, { ...tuning, rowsMax: 256, scratchBytesMax: 8 * mebibyte })
    expect(cut.flatMap((b) => b.rows)).toEqual(rows)
    for (const b of cut) expect(b.rows.length === 1 || b.rows.length * 32 * b.scratchStride * 4 <= 8 * mebibyte).toBe(true)
    expect(cut[0].rows.length).toBeGreaterThan(cut.at(-1)!.rows.length)
    expect(batchesOf(rows, [64], 32, { ...tuning, rowsMax: 256, scratchBytesMax: 8 * mebibyte })[0].visible).toBe(64)
  })

  it('name each row its page table', () => {
    const [batch] = batchesOf(
      [
        { sequence: 7, position: 64, token: 5 },
        { sequence: 8, position: 0, token: 6 },
      ],
      [0],
      2,
      tuning,
    )
    const words = batchWords(batch, 4, (id) => (id === 7 ? [3, 9] : [4]))
    expect([...words.subarray(0, 3)]).toEqual([2, 4, 4 + 128])
    expect([words[words[headerWords + 2] + 1], words[words[headerWords + 4 + 2]]]).toEqual([9, 4])
  })
})

describe('shaders', () => {
  it('have no floating-point number and no remainder', () => {
    for (const name of readdirSync(ops).filter((n) => n.endsWith('.wgsl'))) {
      const code = readFileSync(new URL(name, ops), 'utf8').replace(/\/\/.*/g, '')
      expect(code, name).not.toMatch(/\bf32\b|\bf16\b|%|\d\.\d|\b\d+[fh]\b/)
    }
  })

  it('use dot4I8Packed only where the language has it', () => {
    for (const kernel of ['matmul4_one:0', 'attention:7', 'rope:12'] as const) {
      expect(kernelText(kernel, 64, shaders, { ...tuning, packed: false })).not.toMatch(/^[^/]*dot4I8Packed\(/m)
    }
    expect(kernelText('matmul4_one:0', 64, shaders, tuning)).toMatch(/return dot4I8Packed/)
  })

  it('that a host forgot are named', () => {
    expect(() => kernelText('embed:0', 64, {}, tuning)).toThrow('integer.wgsl')
  })
})

describe('tuning', () => {
  it('tells programs on the processor from graphics cards', () => {
    expect(isSoftware({ vendor: 'google', architecture: 'swiftshader' })).toBe(true)
    expect(isSoftware({ description: 'llvmpipe (LLVM 15.0.6, 256 bits)' })).toBe(true)
    expect(isSoftware({ vendor: 'apple', architecture: 'metal-3' })).toBe(false)
    expect(tuningOf({ vendor: 'apple' }, undefined)).toMatchObject({ form: 'wide', packed: false })
  })
})
