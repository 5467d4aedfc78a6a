// Kernels: which .wgsl files make one, its bindings, its compiled pipeline. Layouts are explicit (layout 'auto' drops unused bindings), compilation is parallel.
import { EngineError } from '../engine.ts'
import type { Tuning } from './tuning.ts'

export type Kernel = 'embed' | 'rmsnorm' | 'quantise' | 'gate' | 'rope' | 'attention' | 'matmul8_one' | 'matmul8_many' | 'matmul4_one' | 'matmul4_many' | 'matmulg_one' | 'matmulg_many' | 'argmax'

/** Files of a kernel in order; FORM = planes or wide, DOT = dot_packed or dot_plain. Bindings in order: U uniform, R read-only storage, W storage. At most 8 storage buffers, WebGPU's default. */
const recipes: Record<Kernel, { files: string[]; bindings: string }> = {
  embed: { files: ['integer', 'embed'], bindings: 'RURRW' },
  rmsnorm: { files: ['integer', 'reduce', 'normal', 'DOT', 'FORM', 'activation', 'rmsnorm'], bindings: 'RUWWWWRW' },
  quantise: { files: ['integer', 'reduce', 'DOT', 'FORM', 'activation', 'quantise'], bindings: 'RUWWR' },
  gate: { files: ['integer', 'reduce', 'DOT', 'FORM', 'activation', 'gate'], bindings: 'RUWWRW' },
  rope: { files: ['integer', 'reduce', 'normal', 'DOT', 'FORM', 'rope'], bindings: 'RUWRRWWW' },
  attention: { files: ['integer', 'reduce', 'DOT', 'FORM', 'attention'], bindings: 'RURRRWW' },
  matmul8_one: { files: ['integer', 'DOT', 'FORM', 'product', 'matmul8_one'], bindings: 'RURRRRW' },
  matmul8_many: { files: ['integer', 'DOT', 'FORM', 'product', 'matmul8_many'], bindings: 'RURRRRW' },
  matmul4_one: { files: ['integer', 'DOT', 'FORM', 'product', 'matmul4_one'], bindings: 'RURRRRW' },
  matmul4_many: { files: ['integer', 'DOT', 'FORM', 'product', 'matmul4_many'], bindings: 'RURRRRW' },
  matmulg_one: { files: ['integer', 'DOT', 'FORM', 'product', 'matmulg_one'], bindings: 'RURRRRW' },
  matmulg_many: { files: ['integer', 'DOT', 'FORM', 'product', 'matmulg_many'], bindings: 'RURRRRW' },
  argmax: { files: ['argmax'], bindings: 'URWW' },
}

/** Names of the .wgsl files (without extension) a host must pass in `shaders`. */
export const shaderNames: string[] = [...new Set([...Object.values(recipes).flatMap((r) => r.files), 'dot_packed', 'dot_plain', 'planes', 'wide'])].filter((name) => name !== 'DOT' && name !== 'FORM')

const compute = 4 // GPUShaderStage.COMPUTE

/** A kernel with its compile-time constants, as one word: `rope:12`. The number is STAGES (rmsnorm, rope, attention, argmax), FORMAT (embed) or GELU (gate). */
export type Variant = `${Kernel}:${number}`
export const variantOf = (kernel: Kernel, constant: number): Variant => `${kernel}:${constant}`

/** The whole text of a kernel. Throws EngineError when the host did not pass one of its files. */
export function kernelText(variant: Variant, shaders: Record<string, string>, tuning: Tuning): string {
  const [kernel, constant] = variant.split(':') as [Kernel, string]
  const many = kernel.endsWith('_many')
  const constants = { WG: kernel === 'attention' ? tuning.attentionThreads : tuning.threads, LANES: many ? tuning.lanesMany : tuning.lanesOne, SPLIT: tuning.split, TOKENS: tuning.tokens, [kernel === 'embed' ? 'FORMAT' : kernel === 'gate' ? 'GELU' : 'STAGES']: constant }
  const files = recipes[kernel].files.map((file) => {
    const name = file === 'DOT' ? (tuning.packed ? 'dot_packed' : 'dot_plain') : file === 'FORM' ? tuning.form : file
    if (shaders[name] === undefined) throw new EngineError(`the host passed no text for the shader ${name}.wgsl`, 'unsupported')
    return shaders[name]
  })
  return [...Object.entries(constants).map(([name, value]) => `const ${name}: u32 = ${value}u;`), ...files].join('\n')
}

export interface Compiled {
  pipelines: Map<Variant, GPUComputePipeline>
  layouts: Map<Kernel, GPUBindGroupLayout>
}

/** Compiles what `into` lacks, all at once. Throws EngineError with the compiler's first message. */
export async function compile(device: GPUDevice, variants: Iterable<Variant>, shaders: Record<string, string>, tuning: Tuning, into: Compiled): Promise<void> {
  const byBindings = new Map([...into.layouts].map(([kernel, layout]) => [recipes[kernel].bindings, layout]))
  const types: Record<string, GPUBufferBindingType> = { U: 'uniform', R: 'read-only-storage', W: 'storage' }
  device.pushErrorScope('validation')
  const all = Promise.all(
    [...new Set(variants)].filter((v) => !into.pipelines.has(v)).map(async (variant) => {
      const kernel = variant.split(':')[0] as Kernel
      const { bindings } = recipes[kernel]
      let layout = byBindings.get(bindings)
      if (!layout) {
        layout = device.createBindGroupLayout({ label: bindings, entries: [...bindings].map((letter, binding) => ({ binding, visibility: compute, buffer: { type: types[letter] } })) })
        byBindings.set(bindings, layout)
      }
      into.layouts.set(kernel, layout)
      const module = device.createShaderModule({ label: variant, code: kernelText(variant, shaders, tuning) })
      try {
        into.pipelines.set(variant, await device.createComputePipelineAsync({ label: variant, layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }), compute: { module, entryPoint: 'main' } }))
      } catch (error) {
        const info = await module.getCompilationInfo?.().catch(() => null)
        const first = info?.messages.find((m) => m.type === 'error')
        throw new EngineError(`shader ${kernel} does not compile: ${first ? `${first.message} (line ${first.lineNum})` : String(error)}`, 'unsupported')
      }
    }),
  )
  // The scope keeps a module's own error from the page's console: what counts is the pipeline that could not be made.
  device.popErrorScope().catch(() => {})
  await all
}
