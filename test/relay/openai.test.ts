// The official client against a relay whose swarm is one host with a tiny model: what it says is noise, its form is what counts.
import OpenAI from 'openai'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openTokenizer } from '../../protocol/model/tokenizer.ts'
import { StopText } from '../../relay/stop-text.ts'
import { type LocalPeer, type LocalRelay, localAnswer, localEngines, localPeer, localRelay, questionOf } from '../mesh/local-swarm.ts'

let relay: LocalRelay
let host: LocalPeer
let client: OpenAI
const model = 'smollm2-135m'
const messages = [{ role: 'user' as const, content: 'hello' }]

beforeAll(async () => {
  relay = await localRelay()
  host = await localPeer({
    relays: [relay.address],
    engines: localEngines(relay.source),
    lend: { facts: relay.facts, segment: { from: 0, to: relay.facts.layers } },
  })
  await host.notice((notice) => notice.of === 'host' && notice.what === 'state' && notice.state === 'serving')
  while (!(await relay.mesh.swarm()).models[0]!.runnable) await new Promise((resolve) => setTimeout(resolve, 20))
  client = new OpenAI({ baseURL: `${relay.url}/v1`, apiKey: 'none', maxRetries: 0 })
}, 120_000)
afterAll(async () => {
  await host.close()
  await relay.close()
}, 60_000)

async function expected(maxTokens: number): Promise<{ text: string; promptTokens: number }> {
  const index = relay.specimen.manifest.shards.findIndex((shard) => shard.name === 'tokenizer')
  const tokenizer = openTokenizer(relay.specimen.shards[index]!)
  const prompt = tokenizer.encodeChat(messages)
  const tokens = await localAnswer(relay.source, questionOf(relay.facts, { prompt, maxTokens, stopIds: tokenizer.stopIds }))
  return { text: tokenizer.decode(tokens.filter((token) => !tokenizer.stopIds.includes(token))), promptTokens: prompt.length }
}

test('models that can run now are listed, and described one by one', async () => {
  const list = await client.models.list()
  expect(list.data).toMatchObject([{ id: model, object: 'model', owned_by: 'meadow' }])
  expect(await client.models.retrieve(model)).toMatchObject({ id: model })
  await expect(client.models.retrieve('gpt-4')).rejects.toBeInstanceOf(OpenAI.NotFoundError)
})

test('a completion is the answer this machine gives alone, in the shapes of the client', async () => {
  const { text, promptTokens } = await expected(12)
  const completion = await client.chat.completions.create({ model, messages, max_tokens: 12 })
  expect(completion).toMatchObject({
    object: 'chat.completion',
    model,
    choices: [{ index: 0, message: { role: 'assistant', content: text }, finish_reason: 'length' }],
    usage: { prompt_tokens: promptTokens, completion_tokens: 12, total_tokens: promptTokens + 12 },
  })
  expect(completion.id).toMatch(/^chatcmpl-/)
  const { meadow } = completion as unknown as { meadow: { modelId: string; outputHash: string; hosts: { peer: string }[] } }
  expect(meadow).toMatchObject({ modelId: relay.specimen.id, hosts: [{ peer: host.key, from: 0, to: relay.facts.layers }] })
  expect(meadow.outputHash).toMatch(/^[0-9a-f]{64}$/)
}, 60_000)

test('a stream carries the same words, its usage when asked for, and the receipt when asked for', async () => {
  const { text } = await expected(10)
  const stream = await client.chat.completions.create({
    model,
    messages: [{ role: 'user', content: [{ type: 'text', text: 'hello' }] }],
    max_completion_tokens: 10,
    stream: true,
    stream_options: { include_usage: true },
    ...{ meadow: { receipt: true } },
  })
  let words = ''
  let finish: string | null = null
  let usage: unknown
  let receipt: unknown
  for await (const chunk of stream) {
    words += chunk.choices[0]?.delta.content ?? ''
    finish = chunk.choices[0]?.finish_reason ?? finish
    usage = chunk.usage ?? usage
    receipt = (chunk as unknown as { meadow?: { receipt: unknown } }).meadow?.receipt ?? receipt
  }
  expect({ words, finish }).toEqual({ words: text, finish: 'length' })
  expect(usage).toMatchObject({ completion_tokens: 10 })
  expect(receipt).toMatchObject({ version: 1, question: { modelId: relay.specimen.id }, hosts: [{ peer: host.key }] })
}, 60_000)

test('an answer ends before the first stop text', async () => {
  const { text } = await expected(12)
  const stop = text.slice(4, 6)
  const completion = await client.chat.completions.create({ model, messages, max_tokens: 12, stop: [stop, 'never said'] })
  expect(completion.choices[0]).toMatchObject({ message: { content: text.slice(0, text.indexOf(stop)) }, finish_reason: 'stop' })
}, 60_000)

test.for<[object, number, RegExp, string | null]>([
  [{ model: 'gpt-4' }, 404, /does not exist here or cannot run now/, 'model'],
  [{ messages: [] }, 400, /messages: must hold a message/, 'messages'],
  [{ messages: [{ role: 'robot', content: 'x' }] }, 400, /must be system, developer, user or assistant/, 'messages.0.role'],
  [
    { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] },
    400,
    /must be a text, or a list of text parts/,
    'messages.0.content',
  ],
  [{ temperature: 3 }, 400, /temperature/, 'temperature'],
  [{ n: 2 }, 400, /more than one answer is not possible here/, 'n'],
  [{ tools: [{ type: 'function', function: { name: 'f' } }] }, 400, /calling tools is not possible here/, 'tools'],
  [{ response_format: { type: 'json_object' } }, 400, /only text answers/, 'response_format.type'],
  [{ max_tokens: 0 }, 400, /max_tokens/, 'max_tokens'],
  [{ messages: Array(99).fill({ role: 'user', content: 'hi' }) }, 400, /the model's context holds 512/, 'messages'],
])('what cannot be done is refused by name: status %#', async ([change, status, message, param]) => {
  const error = await client.chat.completions.create({ model, messages, max_tokens: 4, ...change } as never).then(
    () => null,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(OpenAI.APIError)
  expect(error).toMatchObject({ status, param, message: expect.stringMatching(message) })
})

test('a request that a page of another site could send without asking is refused', async () => {
  const body = JSON.stringify({ model, messages })
  const plain = await fetch(`${relay.url}/v1/chat/completions`, { method: 'POST', body, headers: { 'content-type': 'text/plain' } })
  expect(plain.status).toBe(415)
  const long = await fetch(`${relay.url}/v1/chat/completions`, { method: 'POST', body: 'x'.repeat(2 << 20), headers: { 'content-type': 'application/json' } })
  expect(long.status).toBe(413)
  expect(await long.json()).toMatchObject({ error: { code: 'request_too_large' } })
  expect(await (await fetch(`${relay.url}/v1/nothing`)).json()).toMatchObject({ error: { code: 'unknown_url' } })
})

test('a client that hangs up frees the host', async () => {
  const stop = new AbortController()
  // A connection of its own: the refusals before may have closed the others.
  const patient = new OpenAI({ baseURL: `${relay.url}/v1`, apiKey: 'none', maxRetries: 2 })
  const stream = await patient.chat.completions.create({ model, messages, max_tokens: 400, stream: true }, { signal: stop.signal })
  for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break
  stop.abort()
  const opened = host.notices.filter((notice) => notice.of === 'host' && notice.what === 'opened').at(-1) as { session: string }
  await host.notice((notice) => notice.of === 'host' && notice.what === 'closed' && notice.session === opened.session)
}, 60_000)

test('stop texts are found across pieces, and nothing is shown that could still become one', () => {
  const stops = new StopText(['END', 'EOS!'])
  expect(['a', 'bE', 'N', 'xE', 'ND', 'more'].map((piece) => stops.push(piece))).toEqual(['a', 'b', '', 'ENx', '', ''])
  expect([stops.found, stops.end()]).toEqual([true, ''])
  const held = new StopText(['END'])
  expect([held.push('the E'), held.end()]).toEqual(['the ', 'E'])
})
