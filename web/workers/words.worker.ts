// The words worker: a model's tokenizer, so that a page that asks the swarm needs no weights. What it fetches it keeps in memory only.
import { EngineError } from '../../protocol/engine/engine.ts'
import { hex } from '../../protocol/hash.ts'
import type { StreamDecoder } from '../../protocol/model/detokenise.ts'
import type { Manifest } from '../../protocol/model/manifest.ts'
import { openTokenizer, type Tokenizer } from '../../protocol/model/tokenizer.ts'
import { factsOf } from '../../protocol/peer/facts.ts'
import { wireError } from './messages.ts'
import { promptOf } from './prompt.ts'
import { openCatalogue } from './store/catalogue.ts'
import { StoreError } from './store/errors.ts'
import { openFiles } from './store/files.ts'
import { checkedManifest, digest, openSource } from './store/source.ts'
import type { OpenedWords, WordsReply, WordsRequest } from './words.ts'

const scope = self as unknown as DedicatedWorkerGlobalScope

interface Words {
  manifest: Manifest
  tokenizer: Tokenizer
}

const models = new Map<string, Promise<Words>>()
const streams = new Map<number, StreamDecoder>()

/** A manifest names shards; more of it than this is none. Tokenizers of 262,144 tokens have about 8 MB. */
const manifestBytesMax = 16 << 20
const tokenizerBytesMax = 64 << 20

async function fetchBytes(path: string, bytesMax: number): Promise<Uint8Array<ArrayBuffer>> {
  let response: Response
  try {
    response = await fetch(path)
  } catch {
    throw new StoreError('The relay cannot be reached, and this model’s words are not on this device.', 'network')
  }
  if (!response.ok) throw new StoreError(`The relay does not have this model’s words (status ${response.status}).`, 'relay')
  if (Number(response.headers.get('content-length') ?? 0) > bytesMax) throw new StoreError('The relay sent more than a tokenizer can have.', 'relay')
  return new Uint8Array(await response.arrayBuffer())
}

/** From this browser's store, when model and tokenizer are there. */
async function stored(modelId: string): Promise<Words | null> {
  try {
    const db = await openCatalogue()
    const source = await openSource(db, await openFiles(db), modelId)
    const index = source.manifest.shards.findIndex((shard) => shard.name === 'tokenizer')
    const record = await db.get('shards', [modelId, 'tokenizer'])
    if (!record?.complete) return null
    const bytes = new Uint8Array(source.manifest.shards[index].bytes)
    await source.readShard(index, bytes)
    return { manifest: source.manifest, tokenizer: openTokenizer(bytes) }
  } catch {
    // Not here, or storage is forbidden: the relay has it.
    return null
  }
}

async function fetched(modelId: string): Promise<Words> {
  const manifest = checkedManifest(await fetchBytes(`/models/${modelId}/manifest`, manifestBytesMax), modelId)
  const shard = manifest.shards.find((one) => one.name === 'tokenizer')!
  const bytes = await fetchBytes(`/models/${modelId}/tokenizer`, tokenizerBytesMax)
  if (hex(await digest(bytes)) !== hex(shard.sha256)) throw new StoreError('The tokenizer that the relay sent was refused: its SHA-256 is wrong.', 'hash')
  return { manifest, tokenizer: openTokenizer(bytes) }
}

function words(modelId: string, storage: boolean): Promise<Words> {
  let opening = models.get(modelId)
  if (!opening) {
    opening = storage ? stored(modelId).then((found) => found ?? fetched(modelId)) : fetched(modelId)
    opening.catch(() => models.delete(modelId))
    models.set(modelId, opening)
  }
  return opening
}

async function answer(request: WordsRequest): Promise<WordsReply> {
  const { id } = request
  const { manifest, tokenizer } = await words(request.modelId, request.kind === 'open' && request.storage)
  if (request.kind === 'open') {
    const opened: OpenedWords = { facts: factsOf(manifest, request.modelId), stopIds: tokenizer.stopIds }
    return { id, kind: 'opened', opened }
  }
  if (request.kind === 'prompt') {
    if (request.turns.length === 0) throw new EngineError('there is no question')
    return { id, kind: 'prompt', tokens: promptOf(tokenizer, request.turns, manifest.core.context, manifest.core.name) }
  }
  const { stream, tokens, end } = request
  const decoder = streams.get(stream) ?? tokenizer.decoder()
  streams.set(stream, decoder)
  let text = ''
  for (const token of tokens) text += decoder.push(token)
  if (end) {
    text += decoder.end()
    streams.delete(stream)
  }
  return { id, kind: 'text', text }
}

scope.onmessage = async ({ data }: MessageEvent<WordsRequest>) => {
  try {
    scope.postMessage(await answer(data))
  } catch (error) {
    scope.postMessage({ id: data.id, kind: 'failed', error: wireError(error) } satisfies WordsReply)
  }
}
