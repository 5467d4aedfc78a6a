// How text is cut into words before pairs are merged, by the name a GGUF gives in tokenizer.ggml.pre.
// Patterns are those of llama.cpp (src/llama-vocab.cpp, llm_tokenizer_bpe); where llama.cpp had to approximate a model's own tokenizer.json
// (its regex engine has no \p{Lu}) the model's own pattern stands here. Each pattern isolates its matches; the next one cuts what is left.
// Text is not normalised: llama.cpp does not either, and so every text survives encoding and decoding.
// \p{...} means what the host's Unicode version says; letters assigned since may be cut differently by older browsers. Nothing rests on it: what is
// computed, hashed and disputed are token ids, and whoever asks makes them once.
import { ModelError } from './manifest.ts'

const contractions = "'(?:[sS]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])"
const gpt2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
// "\\p{N}" and then gpt2 in one pass: white space before a digit stands at the end of what the first would have cut off.
// 1.5x as fast on digits, measured.
const digits = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+|\\s+(?![^\\s\\p{N}])|\\s+"
const llama3 = `${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`
const qwen2 = `${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`
const qwen35 = `${contractions}|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`
const upper = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]'
const lower = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]'
const rest = ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'
const tekken = `[^\\r\\n\\p{L}\\p{N}]?${upper}*${lower}+|[^\\r\\n\\p{L}\\p{N}]?${upper}+${lower}*|\\p{N}|${rest}`
const gpt4o = `[^\\r\\n\\p{L}\\p{N}]?${upper}*${lower}+(?:${contractions})?|[^\\r\\n\\p{L}\\p{N}]?${upper}+${lower}*(?:${contractions})?|\\p{N}{1,3}|${rest}`
const deepseek3 =
  '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'

export interface WordRule {
  /** Regular expressions (ECMAScript syntax, read with the meaning they have in Rust: \s is White_Space), applied in turn. */
  patterns: string[]
  /** A word that is a token as it stands is that token, whatever the merges would make of it. */
  wholeWords: boolean
  /** Prompts start with BOS unless the file says otherwise. */
  addBos: boolean
}

const rule = (patterns: string[], options: { wholeWords?: boolean; addBos?: boolean } = {}): WordRule => ({
  patterns,
  wholeWords: false,
  addBos: false,
  ...options,
})

const groups: [string[], WordRule][] = [
  [['default'], rule(['[\\p{P}\\$\\+<=>\\^~\\|]+', gpt2, '\\p{N}+', '[0-9][0-9][0-9]'])],
  [['gpt-2', 'phi-2', 'mpt', 'olmo', 'jais', 'trillion', 'exaone4', 'a.x-4.0', 'mellum', 'modern-bert', 'granite-docling', 'gigachat'], rule([gpt2])],
  [['smollm', 'starcoder', 'refact', 'command-r', 'codeshell', 'exaone', 'minerva-7b', 'mellum2'], rule([digits])],
  [['llama-bpe', 'llama3', 'llama-v3', 'falcon3', 'falcon-h1', 'pixtral', 'midm-2.0', 'lfm2'], rule([llama3], { wholeWords: true, addBos: true })],
  [['smaug-bpe', 'dbrx', 'chatglm-bpe', 'glm4'], rule([llama3])],
  [['qwen2', 'deepseek-r1-qwen', 'megrez', 'stablelm2', 'hunyuan', 'grok-2', 'solar-open', 'kormo', 'f2llmv2'], rule([qwen2])],
  [['qwen35'], rule([qwen35])],
  [['tekken'], rule([tekken], { wholeWords: true, addBos: true })],
  [['gpt-4o', 'llama4', 'kanana2'], rule([gpt4o])],
  [['deepseek-v3', 'hunyuan-dense'], rule(['\\p{N}{1,3}', '[一-龥぀-ゟ゠-ヿ]+', deepseek3])],
  [['deepseek-coder'], rule(['[\\r\\n]', '\\s?\\p{L}+', '\\s?\\p{P}+', '[一-龥ࠀ-一가-퟿]+', '\\p{N}'])],
  [['falcon'], rule(['[\\p{P}\\$\\+<=>\\^~\\|`]+', gpt2, '[0-9][0-9][0-9]'])],
]

const rules = new Map(groups.flatMap(([names, value]) => names.map((name) => [name, value] as const)))

/** The rule of a tokenizer.ggml.pre value. Throws ModelError for a value that is not known. */
export function wordRule(pre: string): WordRule {
  const found = rules.get(pre)
  if (!found) throw new ModelError(`the pre-tokenizer ${JSON.stringify(pre.slice(0, 64))} is not supported; supported are ${[...rules.keys()].join(', ')}`)
  return found
}
