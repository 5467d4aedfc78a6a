// A small random model with a working tokenizer and chat template, as a relay offers it: what the chat page is tested on. Its answers are noise, which is enough.
import { createHash } from 'node:crypto'
import { specimenCore, specimenPackage } from '../../protocol/engine/specimen.ts'
import { modelIdOf, shardRootOf } from '../../protocol/model/identity.ts'
import type { Core, Manifest } from '../../protocol/model/manifest.ts'
import { bytesRoot } from '../../protocol/model/merkle.ts'
import { tensorRoot } from '../../protocol/model/tiles.ts'
import { encodeTokenizer, type TokenizerData } from '../../protocol/model/tokenizer.ts'
import type { Store } from '../../relay/store.ts'

/** GPT-2's letters for bytes: printable ones are themselves, the others follow from U+0100. */
function byteLetters(): string[] {
  const printable = (b: number): boolean => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174
  let next = 256
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(printable(b) ? b : next++))
}

const template =
  "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"

function tokenizer(vocab: number): TokenizerData {
  const words = [...byteLetters(), '<|im_start|>', '<|im_end|>']
  // The rest are words the model may say but nobody can type as one token.
  for (let i = words.length; i < vocab; i++) words.push(`Ġmeadow${i}`)
  const types = Uint8Array.from(words, (word) => (word.startsWith('<|im') ? 3 : 1))
  return {
    kind: 'bpe',
    pre: 'gpt-2',
    tokens: words,
    types,
    merges: new Uint32Array(),
    scores: new Uint32Array(),
    bos: null,
    eos: 257,
    eot: null,
    eom: null,
    unknown: null,
    padding: null,
    addBos: false,
    addSpacePrefix: false,
    template,
  }
}

export interface Specimen {
  id: string
  manifest: Manifest
  /** By shard index. */
  shards: Uint8Array[]
}

export async function chatSpecimen(change: Partial<Core> = {}, seed = 7): Promise<Specimen> {
  const source = specimenPackage(specimenCore('llama', { name: 'Specimen', ...change }), seed)
  const { core } = source.manifest
  const shards = await Promise.all(
    source.manifest.shards.map(async (shard, index) => {
      if (shard.name === 'tokenizer') return encodeTokenizer(tokenizer(core.vocab))
      const bytes = new Uint8Array(shard.bytes)
      await source.readShard(index, bytes)
      return bytes
    }),
  )
  const tensors = source.manifest.tensors.map((t) => ({ ...t, root: tensorRoot(t, shards[t.shard].subarray(t.offset, t.offset + t.bytes)) }))
  const manifest: Manifest = {
    core,
    tensors,
    shards: source.manifest.shards.map(({ name }, index) => ({
      name,
      bytes: shards[index].length,
      sha256: new Uint8Array(createHash('sha256').update(shards[index]).digest()),
      root: name === 'tokenizer' ? bytesRoot(shards[index]) : shardRootOf(tensors.filter((t) => t.shard === index).map((t) => t.root)),
    })),
  }
  return { id: modelIdOf(manifest), manifest, shards }
}

export async function install(store: Store, { manifest, shards }: Specimen): Promise<void> {
  await store.install(
    async (sink) => {
      for (const [index, shard] of manifest.shards.entries()) {
        const file = await sink.open(shard.name)
        await file.write(shards[index])
        await file.close()
      }
      return manifest
    },
    { name: null, source: 'test', pinned: 'local' },
    () => 'test',
  )
}
