// Kernels: which .wgsl files make one, its bindings, its compiled pipeline. Layouts are explicit (layout 'auto' drops unused bindings), compilation is parallel.
import { EngineError } from '../engine.ts'
import type { Tuning } from './tuning.ts'

export type Kernel =
  | 'embed'
  | 'rmsnorm'
  | 'quantise'
  | 'gate'
  | 'rope'
  | 'attention'
  | 'matmul8_one'
  | 'matmul8_many'
  | 'matmul4_one'
  | 'matmul4_pair'
  | 'matmul4_many'
  | 'matmulg_one'
  | 'matmulg_pair'
  | 'matmulg_many'
  | 'argmax'
  | 'sample_adjust'
  | 'sample_radix'
  | 'sample_noise'

/** Files of a kernel in order; FORM = planes or wide, DOT = dot_packed or dot_plain, ROWS = rows_quad or rows_strided. Bindings in order: U uniform, R read-only storage, W storage. At most 8 storage buffers, WebGPU's default. */
const recipes: Record<Kernel, { files: string[]; bindings: string }> = {
  embed: { files: ['integer', 'embed'], bindings: 'RURRW' },
  rmsnorm: { files: ['integer', 'reduce', 'normal', 'DOT', 'FORM', 'activation', 'rmsnorm'], bindings: 'RUWWWWRW' },
  quantise: { files: ['integer', 'reduce', 'DOT', 'FORM', 'activation', 'quantise'], bindings: 'RUWWR' },
  gate: { files: ['integer', 'reduce', 'DOT', 'FORM', 'activation', 'gate'], bindings: 'RUWWRW' },
  rope: { files: ['integer', 'reduce', 'normal', 'DOT', 'FORM', 'rope'], bindings: 'RUWRRWWW' },
  attention: { files: ['integer', 'reduce', 'DOT', 'FORM', 'attention'], bindings: 'RURRRWW' },
  matmul8_one: { files: ['integer', 'DOT', 'FORM', 'ROWS', 'product', 'matmul8_one'], bindings: 'RURRRRW' },
  matmul8_many: { files: ['integer', 'DOT', 'FORM', 'ROWS', 'product', 'matmul8_many'], bindings: 'RURRRRW' },
  matmul4_one: { files: ['integer', 'DOT', 'FORM', 'ROWS', 'product', 'matmul4_one'], bindings: 'RURRRRW' },
  matmul4_pair: { files: ['integer', 'DOT', 'FORM', 'ROWS', 'product', 'matmul4_pair'], bindings: 'RURRRRW' },
  matmul4_many: { files: ['integer', 'DOT', 'FORM', 'ROWS', 'product', 'matmul4_many'], bindings: 'RURRRRW' },
  matmulg_one: { files: ['integer', 'DOT', 'FORM', 'ROWS', 'product', 'matmulg_one'], bindings: 'RURRRRW' },
  matmulg_pair: { files: ['integer', 'DOT', 'FORM', 'ROWS', 'product', 'matmulg_pair'], bindings: 'RURRRRW' },
  matmulg_many: { files: ['integer', 'DOT', 'FORM', 'ROWS', 'product', 'matmulg_many'], bindings: 'RURRRRW' },
  argmax: { files: ['argmax'], bindings: 'URWW' },
  sample_adjust: { files: ['integer', 'reduce', 'sampling', 'sample_adjust'], bindings: 'URWW' },
  sample_radix: { files: ['integer', 'sampling', 'sample_radix'], bindings: 'URWW' },
  sample_noise: { files: ['integer', 'sampling', 'sample_noise'], bindings: 'URWWW' },
}

/** Names of the .wgsl files (without extension) a host must pass in `shaders`. */
export const shaderNames: string[] = [
  ...new Set([...Object.values(recipes).flatMap((r) => r.files), 'dot_packed', 'dot_plain', 'planes', 'wide', 'rows_quad', 'rows_strided']),
].filter((name) => name !== name.toUpperCase())

const compute = 4 // GPUShaderStage.COMPUTE

/** A kernel with its compile-time constants, as one word: `rope:12`. The number is STAGES (rmsnorm, rope, attention, argmax), FORMAT (embed), GELU (gate) or MASS (sample_radix). */
export type Variant = `${Kernel}:${number}`
export const variantOf = (kernel: Kernel, constant: number): Variant => `${kernel}:${constant}`

/** The whole text of a kernel. Throws EngineError when the host did not pass one of its files. */
export function kernelText(variant: Variant, headDim: number, shaders: Record<string, string>, tuning: Tuning): string {
  const [kernel, constant] = variant.split(':') as [Kernel, string]
  const many = kernel.endsWith('_many')
  // Attention keeps 144 bytes a thread in workgroup memory and 32 bytes per dimension of a head: 16 KiB in all is WebGPU's default.
  const attentionThreads = Math.min(headDim > 128 ? 32 : 64, tuning.attentionThreads)
  const constants = {
    WG: kernel === 'attention' ? attentionThreads : tuning.threads,
    HEAD: headDim,
    LANES: many ? tuning.lanesMany : tuning.lanesOne,
    SPLIT: tuning.split,
    TOKENS: tuning.tokens,
    [kernel === 'embed' ? 'FORMAT' : kernel === 'gate' ? 'GELU' : kernel === 'sample_radix' ? 'MASS' : 'STAGES']: constant,
  }
  const files = recipes[kernel].files.map((file) => {
    const name = file === 'DOT' ? (tuning.packed ? 'dot_packed' : 'dot_plain') : file === 'FORM' ? tuning.form : file === 'ROWS' ? `rows_${tuning.rows}` : file
    if (shaders[name] === undefined) throw new EngineError(`the host passed no text for the shader ${name}.wgsl`, 'unsupported')
    return shaders[name]
  })
  const text = files.join('\n')
  const used = Object.entries(constants).filter(([name]) => new RegExp(`\\b${name}\\b`).test(text.replace(/\/\/.*/g, '')))
  return [...used.map(([name, value]) => `const ${name}: u32 = ${value}u;`), text].join('\n')
}

export interface Compiled {
  pipelines: Map<Variant, GPUComputePipeline>
  layouts: Map<Kernel, GPUBindGroupLayout>
}

/** What a device has compiled already, by text: the segments of a cut model, and a model opened again, share it. */
const caches = new WeakMap<GPUDevice, { layouts: Map<string, GPUBindGroupLayout>; pipelines: Map<string, Promise<GPUComputePipeline>> }>()

const bindingTypes: Record<string, GPUBufferBindingType> = { U: 'uniform', R: 'read-only-storage', W: 'storage' }

async function pipelineOf(device: GPUDevice, variant: Variant, code: string, layout: GPUBindGroupLayout): Promise<GPUComputePipeline> {
  const module = device.createShaderModule({ label: variant, code })
  try {
    return await device.createComputePipelineAsync({
      label: variant,
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: 'main' },
    })
  } catch (error) {
    const info = await module.getCompilationInfo?.().catch(() => null)
    const first = info?.messages.find((m) => m.type === 'error')
    throw new EngineError(`shader ${variant} does not compile: ${first ? `${first.message} (line ${first.lineNum})` : String(error)}`, 'unsupported')
  }
}

/** Compiles what `into` lacks, all at once. Throws EngineError with the compiler's first message. */
export async function compile(
  device: GPUDevice,
  variants: Iterable<Variant>,
  headDim: number,
  shaders: Record<string, string>,
  tuning: Tuning,
  into: Compiled,
): Promise<void> {
  const cache = caches.get(device) ?? { layouts: new Map(), pipelines: new Map() }
  caches.set(device, cache)
  device.pushErrorScope('validation')
  const all = Promise.all(
    [...new Set(variants)]
      .filter((v) => !into.pipelines.has(v))
      .map(async (variant) => {
        const kernel = variant.split(':')[0] as Kernel
        const { bindings } = recipes[kernel]
        let layout = cache.layouts.get(bindings)
        if (!layout) {
          const entries = [...bindings].map((letter, binding) => ({ binding, visibility: compute, buffer: { type: bindingTypes[letter] } }))
          layout = device.createBindGroupLayout({ label: bindings, entries })
          cache.layouts.set(bindings, layout)
        }
        into.layouts.set(kernel, layout)
        const code = kernelText(variant, headDim, shaders, tuning)
        let pipeline = cache.pipelines.get(code)
        if (!pipeline) {
          pipeline = pipelineOf(device, variant, code, layout)
          cache.pipelines.set(code, pipeline)
          pipeline.catch(() => cache.pipelines.delete(code))
        }
        into.pipelines.set(variant, await pipeline)
      }),
  )
  // The scope keeps a module's own error from the page's console: what counts is the pipeline that could not be made.
  device.popErrorScope().catch(() => {})
  await all
}
