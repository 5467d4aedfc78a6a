// Tiny models with random weights as real GGUF files: every architecture, every tensor format, tokenizers that work. From a seed alone.
import { random } from '../../protocol/engine/specimen.ts'
import type { Architecture } from '../../protocol/model/manifest.ts'
import { type FormatName, isKQuant, randomNorm, randomWeights, typeId } from './formats.ts'
import type { Entry, GgufContents, WrittenTensor } from './gguf-writer.ts'

export interface TinyOptions {
  architecture: Architecture
  /** Of all matrices, unless `embed` says otherwise for embedding and head. */
  format: FormatName
  embed?: FormatName
  seed?: number
  layers?: number
  /** Llama 3's rope_freqs.weight. */
  llama3?: boolean
  /** Linear rotary scaling. */
  linear?: number
  tied?: boolean
  tokenizer?: 'bpe' | 'spm'
  hidden?: number
  ffn?: number
  heads?: number
  kvHeads?: number
  headDim?: number
  context?: number
  vocab?: number
}

export const vocab = 320

/** GPT-2's names of bytes. */
const byteNames = ((): string[] => {
  let spare = 256
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174 ? b : spare++))
})()

const template =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

/** Byte-level BPE: three control tokens, 256 bytes, and words that merges build. */
function bpe(pre: string, count: number): Entry[] {
  const words = ['he', 'th', 'the', 'in', 'an', 'and', 'Ġt', 'Ġthe', 'er', 'on', 'at', 'ou', 'you', 'Ġa', 'is', 'Ġis']
  const merges = ['h e', 't h', 'th e', 'i n', 'a n', 'an d', 'Ġ t', 'Ġt he', 'e r', 'o n', 'a t', 'o u', 'y ou', 'Ġ a', 'i s', 'Ġ is']
  const control = ['<|endoftext|>', '<|im_start|>', '<|im_end|>']
  const real = [...control, ...byteNames, ...words]
  const tokens = [...real, ...Array.from({ length: count - real.length }, (_, i) => `[PAD${real.length + i}]`)]
  return [
    ['tokenizer.ggml.model', 'text', 'gpt2'],
    ['tokenizer.ggml.pre', 'text', pre],
    ['tokenizer.ggml.tokens', 'text[]', tokens],
    ['tokenizer.ggml.token_type', 'i32[]', tokens.map((_, i) => (i < 3 ? 3 : i < real.length ? 1 : 5))],
    ['tokenizer.ggml.merges', 'text[]', merges],
    ['tokenizer.ggml.bos_token_id', 'u32', 1],
    ['tokenizer.ggml.eos_token_id', 'u32', 2],
    ['tokenizer.ggml.add_bos_token', 'bool', false],
    ['tokenizer.chat_template', 'text', template],
  ]
}

/** SentencePiece: unknown, begin, end, bytes as a fallback, letters and some words with scores. */
function spm(count: number): Entry[] {
  const words = ['▁', ...'etaoinshrdlu', '▁t', 'he', '▁the', 'in', 'an', 'er', '▁a', 'is', 'on', 'ou']
  const real = ['<unk>', '<s>', '</s>', ...Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`), ...words]
  const tokens = [...real, ...Array.from({ length: count - real.length }, (_, i) => `<unused${i}>`)]
  const type = (i: number): number => (i === 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : i < real.length ? 1 : 5)
  return [
    ['tokenizer.ggml.model', 'text', 'llama'],
    ['tokenizer.ggml.tokens', 'text[]', tokens],
    ['tokenizer.ggml.scores', 'f32[]', tokens.map((_, i) => (i < 259 ? 0 : -i))],
    ['tokenizer.ggml.token_type', 'i32[]', tokens.map((_, i) => type(i))],
    ['tokenizer.ggml.bos_token_id', 'u32', 1],
    ['tokenizer.ggml.eos_token_id', 'u32', 2],
    ['tokenizer.ggml.add_bos_token', 'bool', true],
  ]
}

/** The parts of a tiny GGUF; writeGguf makes the file. */
export function tinyContents(options: TinyOptions): GgufContents {
  const { architecture, format, seed = 1, llama3 = false, linear } = options
  const next = random(seed)
  const gemma = architecture === 'gemma3'
  const large = isKQuant(format) || (options.embed !== undefined && isKQuant(options.embed))
  const hidden = options.hidden ?? (large ? 256 : 64)
  const ffn = options.ffn ?? (large ? 512 : 96)
  const heads = options.heads ?? 4
  const kvHeads = options.kvHeads ?? 2
  const headDim = options.headDim ?? (large ? 64 : 32)
  const layers = options.layers ?? (gemma ? 6 : 2)
  const count = options.vocab ?? vocab
  const tied = options.tied ?? architecture !== 'llama'
  const tokenizer = options.tokenizer ?? (gemma ? 'spm' : 'bpe')

  const tensors: WrittenTensor[] = []
  const matrix = (name: string, rows: number, columns: number, type = format): void => {
    tensors.push({ name, dims: [columns, rows], type: typeId(type), data: randomWeights(type, rows, columns, 1 / Math.sqrt(columns), next) })
  }
  const norm = (name: string, length: number): void => {
    tensors.push({ name, dims: [length], type: 0, data: randomNorm(length, next) })
  }
  const bias = (name: string, length: number): void => {
    tensors.push({ name, dims: [length], type: 0, data: randomWeights('F32', 1, length, 0.3, next) })
  }
  if (llama3)
    tensors.push({
      name: 'rope_freqs.weight',
      dims: [headDim / 2],
      type: 0,
      data: new Uint8Array(Float32Array.from({ length: headDim / 2 }, (_, i) => (i * 2 < headDim / 2 ? 1 : 1 + i)).buffer),
    })
  matrix('token_embd.weight', count, hidden, options.embed)
  for (let l = 0; l < layers; l++) {
    const at = (name: string): string => `blk.${l}.${name}`
    norm(at('attn_norm.weight'), hidden)
    matrix(at('ffn_down.weight'), hidden, ffn)
    matrix(at('ffn_gate.weight'), ffn, hidden)
    matrix(at('ffn_up.weight'), ffn, hidden)
    norm(at('ffn_norm.weight'), hidden)
    matrix(at('attn_k.weight'), kvHeads * headDim, hidden)
    matrix(at('attn_output.weight'), hidden, heads * headDim)
    matrix(at('attn_q.weight'), heads * headDim, hidden)
    matrix(at('attn_v.weight'), kvHeads * headDim, hidden)
    if (architecture === 'qwen2') {
      bias(at('attn_q.bias'), heads * headDim)
      bias(at('attn_k.bias'), kvHeads * headDim)
      bias(at('attn_v.bias'), kvHeads * headDim)
    }
    if (gemma || architecture === 'qwen3') {
      norm(at('attn_q_norm.weight'), headDim)
      norm(at('attn_k_norm.weight'), headDim)
    }
    if (gemma) {
      norm(at('post_attention_norm.weight'), hidden)
      norm(at('post_ffw_norm.weight'), hidden)
    }
  }
  norm('output_norm.weight', hidden)
  if (!tied) matrix('output.weight', count, hidden, options.embed)

  const own = (key: string): string => `${architecture}.${key}`
  const metadata: Entry[] = [
    ['general.architecture', 'text', architecture],
    ['general.name', 'text', `Tiny ${architecture} ${format}`],
    ['general.license', 'text', 'apache-2.0'],
    [own('block_count'), 'u32', layers],
    [own('context_length'), 'u32', options.context ?? 512],
    [own('embedding_length'), 'u32', hidden],
    [own('feed_forward_length'), 'u32', ffn],
    [own('attention.head_count'), 'u32', heads],
    [own('attention.head_count_kv'), 'u32', kvHeads],
    [own('attention.key_length'), 'u32', headDim],
    [own('attention.value_length'), 'u32', headDim],
    [own('attention.layer_norm_rms_epsilon'), 'f32', gemma ? 1e-6 : 1e-5],
    [own('rope.freq_base'), 'f32', gemma ? 1e6 : 1e4],
    ...(gemma ? ([[own('attention.sliding_window'), 'u32', 16]] as Entry[]) : []),
    ...(linear
      ? ([
          [own('rope.scaling.type'), 'text', 'linear'],
          [own('rope.scaling.factor'), 'f32', linear],
        ] as Entry[])
      : []),
    ['general.quantization_version', 'u32', 2],
    ...(tokenizer === 'spm' ? spm(count) : bpe(architecture === 'llama' ? (llama3 ? 'llama-bpe' : 'smollm') : 'qwen2', count)),
  ]
  return { metadata, tensors }
}
