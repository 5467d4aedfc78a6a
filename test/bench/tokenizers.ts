// Tokenizers of real models against llama.cpp: it publishes vocabularies of Llama, Qwen and others as GGUF files without weights, beside texts and the ids it gives them.
// `node test/bench/tokenizers.ts [--from FOLDER] [--json]`. Without a folder the source package of llama-cpp-python, which carries them, is fetched by pip (77 MB).
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openGguf } from '../../protocol/model/gguf.ts'
import { encodeTokenizer, openTokenizer } from '../../protocol/model/tokenizer.ts'
import { tokenizerFromGguf } from '../../protocol/model/vocabulary-gguf.ts'
import { atLeast, type Bar } from './bars/bar.ts'
import { barTable } from './table.ts'

/** The pinned release: its texts and ids are the reference. */
const source = 'llama-cpp-python==0.3.36'
const separator = '\n__ggml_vocab_test__\n'

/** Vocabularies whose word rules Meadow knows. Of the folder's others deepseek-llm and gemma-4 are refused by name, and the rest has no texts or is of BERT. */
const supported = ['llama-bpe', 'llama-spm', 'qwen2', 'qwen35', 'phi-3', 'gpt-2', 'falcon', 'starcoder', 'command-r', 'mpt', 'refact', 'deepseek-coder']

const { values } = parseArgs({ options: { from: { type: 'string' }, json: { type: 'boolean' } } })
const temporary = values.from ? null : mkdtempSync(join(tmpdir(), 'meadow-tokenizers-'))
try {
  const folder = values.from ?? fetchVocabularies(temporary!)
  const bars: Bar[] = []
  for (const name of supported) bars.push(await compare(folder, name))
  console.log(barTable(bars))
  if (values.json) console.log(JSON.stringify({ rows: [], bars }))
  process.exitCode = bars.every((bar) => bar.ok) ? 0 : 1
} finally {
  if (temporary) rmSync(temporary, { recursive: true })
}

function fetchVocabularies(into: string): string {
  execFileSync('pip', ['download', '--quiet', '--no-deps', '--no-binary', ':all:', '--dest', into, source], { stdio: ['ignore', 'ignore', 'inherit'] })
  const archive = readdirSync(into).find((name) => name.endsWith('.tar.gz'))
  if (!archive) throw new Error(`pip brought no source archive of ${source}`)
  execFileSync('tar', ['xzf', join(into, archive), '--strip-components=4', '-C', into, '--wildcards', '*/vendor/llama.cpp/models/ggml-vocab-*'])
  return into
}

/** Texts that get the very ids of llama.cpp, of all. */
async function compare(folder: string, name: string): Promise<Bar> {
  const path = join(folder, `ggml-vocab-${name}.gguf`)
  const bytes = readFileSync(path)
  const gguf = await openGguf([{ name, size: bytes.length, read: async (offset, length) => new Uint8Array(bytes.subarray(offset, offset + length)) }])
  const tokenizer = openTokenizer(encodeTokenizer(tokenizerFromGguf(gguf.metadata)))
  const texts = readFileSync(`${path}.inp`, 'utf8').split(separator)
  const wanted = readFileSync(`${path}.out`, 'utf8').split('\n')
  let equal = 0
  texts.forEach((text, i) => {
    const ids = tokenizer.encode(text).join(' ')
    if (ids === (wanted[i] ?? '').trim()) equal++
    else console.error(`${name}: ${JSON.stringify(text)} gives ${ids} instead of ${wanted[i]}`)
  })
  return atLeast(`${name}, ${tokenizer.vocab} tokens: texts with the ids of llama.cpp`, equal, 'texts', texts.length)
}
