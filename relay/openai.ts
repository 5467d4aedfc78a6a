// The OpenAI door: POST /v1/chat/completions and GET /v1/models, answered through the swarm, in OpenAI's shapes, so that clients written for them work unchanged.
// What they can ask for and Meadow cannot do is refused by name, never passed over. Without a temperature the answer is greedy: the same question then has the
// same answer everywhere (OpenAI's own default is 1).
import { randomBytes, randomInt } from 'node:crypto'
import { type Context, Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { streamSSE } from 'hono/streaming'
import { AskError, type AskNotice, type Requester } from '../mesh/requester.ts'
import type { SwarmTable } from '../mesh/swarm.ts'
import { inputHash, outputHash } from '../protocol/engine/answer.ts'
import type { Stop } from '../protocol/engine/generate.ts'
import { hex } from '../protocol/hash.ts'
import { ModelError } from '../protocol/model/manifest.ts'
import { openTokenizer, type Tokenizer } from '../protocol/model/tokenizer.ts'
import { factsOf } from '../protocol/peer/facts.ts'
import type { Question } from '../protocol/peer/machine.ts'
import type { AnswerReceipt } from '../protocol/peer/receipt.ts'
import { catalogue } from './catalogue.ts'
import { type ChatRequest, chatRequest, messagesOf, samplerOf, stopsOf } from './openai-request.ts'
import { StopText } from './stop-text.ts'
import type { Store, StoredModel } from './store.ts'

export interface OpenAiOptions {
  store: Store
  requester: Requester
  swarm: () => Promise<SwarmTable>
  limits?: OpenAiLimits
}

export interface OpenAiLimits {
  bodyBytesMax: number
  /** Requests under way at once: of everyone, and of one address. */
  requestsMax: number
  requestsPerAddressMax: number
}

export const openAiLimits: OpenAiLimits = { bodyBytesMax: 1 << 20, requestsMax: 64, requestsPerAddressMax: 16 }

/** Tokens of an answer nobody set a limit for. */
const maxTokensDefault = 4096

/** An answer in OpenAI's error shape. */
class ApiError extends Error {
  readonly status: 400 | 404 | 413 | 415 | 429 | 500 | 503
  readonly type: string
  readonly code: string | null
  readonly param: string | null
  constructor(
    status: ApiError['status'],
    message: string,
    { type = 'invalid_request_error', code = null as string | null, param = null as string | null } = {},
  ) {
    super(message)
    this.status = status
    this.type = type
    this.code = code
    this.param = param
  }
  get body() {
    return { error: { message: this.message, type: this.type, param: this.param, code: this.code } }
  }
}

export function createOpenAi({ store, requester, swarm, limits = openAiLimits }: OpenAiOptions): Hono {
  const app = new Hono()
  const tokenizers = new Map<string, Promise<Tokenizer>>()
  const busy = new Map<string, number>()
  let total = 0

  app.onError((error, c) => {
    const known = error instanceof ApiError ? error : explain(error)
    if (known.status === 429 || known.status === 503) c.header('Retry-After', '2')
    return c.json(known.body, known.status, { 'Cache-Control': 'no-store' })
  })

  app.get('/models', async (c) => c.json({ object: 'list', data: (await runnable(store, swarm)).map(modelObject) }, 200, { 'Cache-Control': 'no-store' }))
  app.get('/models/:model', async (c) => {
    const model = (await runnable(store, swarm)).find((one) => isNamed(one.model, c.req.param('model')))
    if (!model) throw noModel(c.req.param('model'))
    return c.json(modelObject(model), 200, { 'Cache-Control': 'no-store' })
  })

  app.post(
    '/chat/completions',
    bodyLimit({
      maxSize: limits.bodyBytesMax,
      onError: () => {
        throw new ApiError(413, `The request is longer than ${limits.bodyBytesMax} bytes.`, { code: 'request_too_large' })
      },
    }),
    async (c) => {
      const address = addressOf(c)
      const own = busy.get(address) ?? 0
      if (total >= limits.requestsMax || own >= limits.requestsPerAddressMax)
        throw new ApiError(
          429,
          `${total >= limits.requestsMax ? 'This relay' : 'Your address'} has ${total >= limits.requestsMax ? total : own} requests under way, the limit.`,
          {
            type: 'requests',
            code: 'rate_limit_exceeded',
          },
        )
      total++
      busy.set(address, own + 1)
      let freed = false
      const free = (): void => {
        if (freed) return
        freed = true
        total--
        const left = (busy.get(address) ?? 1) - 1
        if (left > 0) busy.set(address, left)
        else busy.delete(address)
      }
      try {
        return await complete(c, free)
      } catch (error) {
        free()
        throw error
      }
    },
  )

  app.all('*', (c) => c.json(new ApiError(404, `Unknown request URL: ${c.req.method} ${c.req.path}.`, { code: 'unknown_url' }).body, 404))

  const complete = async (c: Context, free: () => void): Promise<Response> => {
    const request = await readRequest(c)
    const model = (await store.list()).find((one) => isNamed(one, request.model))
    if (!model) throw noModel(request.model)
    const tokenizer = await (tokenizers.get(model.id) ?? remember(tokenizers, model.id, openStoredTokenizer(store, model)))
    const { question, facts } = questionOf(request, model, tokenizer)
    // The client's leaving cancels the question: hosts are freed at once.
    const left = new AbortController()
    c.req.raw.signal.addEventListener('abort', () => left.abort(), { once: true })
    const notices = requester.ask(question, facts, { signal: left.signal })
    // A refusal (nobody hosts it, busy) must come as a status: wait for the route before anything is sent.
    const first = await notices.next()
    const head = {
      id: `chatcmpl-${randomBytes(12).toString('hex')}`,
      created: Math.floor(Date.now() / 1000),
      model: request.model,
      system_fingerprint: `meadow-${model.id.slice(0, 12)}`,
    }
    const answer = new Answer(question, tokenizer, stopsOf(request))
    const run = (async function* () {
      if (!first.done) yield* answer.take(first.value)
      while (!answer.ended) {
        const { value, done } = await notices.next()
        if (done) break
        yield* answer.take(value)
      }
      // Left early at a stop text: the question is cancelled. Otherwise the receipt has come.
      await notices.return(undefined)
      yield* answer.end()
    })()

    if (!request.stream) {
      try {
        let text = ''
        for await (const piece of run) text += piece
        return c.json(
          {
            ...head,
            object: 'chat.completion',
            choices: [{ index: 0, message: { role: 'assistant', content: text, refusal: null }, logprobs: null, finish_reason: answer.finish }],
            usage: answer.usage,
            meadow: answer.meadow(request.meadow?.receipt === true),
          },
          200,
          { 'Cache-Control': 'no-store' },
        )
      } finally {
        free()
      }
    }
    return streamSSE(c, async (stream) => {
      stream.onAbort(() => left.abort())
      const send = (choices: unknown[], rest: object = {}) =>
        stream.writeSSE({
          data: JSON.stringify({
            ...head,
            object: 'chat.completion.chunk',
            choices,
            ...(request.stream_options?.include_usage ? { usage: null } : {}),
            ...rest,
          }),
        })
      const choice = (delta: object, finish: string | null) => [{ index: 0, delta, logprobs: null, finish_reason: finish }]
      try {
        await send(choice({ role: 'assistant', content: '', refusal: null }, null))
        for await (const piece of run) if (piece !== '') await send(choice({ content: piece }, null))
        await send(choice({}, answer.finish), { meadow: answer.meadow(request.meadow?.receipt === true) })
        if (request.stream_options?.include_usage) await send([], { usage: answer.usage })
        await stream.writeSSE({ data: '[DONE]' })
      } catch (error) {
        // The status is sent already; OpenAI's clients throw what an `error` event holds.
        if (!left.signal.aborted) await stream.writeSSE({ data: JSON.stringify(explain(error).body) })
      } finally {
        free()
      }
    })
  }
  return app
}

/** Notices to text: tokens decoded, cut at the first stop text. */
class Answer {
  private readonly question: Question
  private readonly decoder: ReturnType<Tokenizer['decoder']>
  private readonly stops: StopText
  private readonly tokens: number[] = []
  private stop: Stop | null = null
  private receipt: AnswerReceipt | null = null
  ended = false

  constructor(question: Question, tokenizer: Tokenizer, stops: string[]) {
    this.question = question
    this.decoder = tokenizer.decoder()
    this.stops = new StopText(stops)
  }

  *take(notice: AskNotice): Generator<string> {
    if (notice.what === 'token') {
      this.tokens.push(notice.token)
      if (!this.question.stopIds.includes(notice.token)) yield this.stops.push(this.decoder.push(notice.token))
      this.ended = this.stops.found
    } else if (notice.what === 'stop') {
      this.stop = notice.stop
    } else if (notice.what === 'receipt') {
      this.receipt = notice.receipt
      this.ended = true
    }
  }

  *end(): Generator<string> {
    if (!this.stops.found) yield this.stops.push(this.decoder.end())
    yield this.stops.end()
  }

  get finish(): 'stop' | 'length' {
    return this.stops.found || this.stop === 'eos' ? 'stop' : 'length'
  }

  get usage() {
    const [prompt, made] = [this.question.prompt.length, this.tokens.length]
    return { prompt_tokens: prompt, completion_tokens: made, total_tokens: prompt + made }
  }

  /** What Meadow adds: names of question and answer, who computed them, and the whole receipt for those who asked for it. */
  meadow(withReceipt: boolean) {
    const input = inputHash(this.question)
    return {
      modelId: this.question.modelId,
      seed: this.question.seed,
      inputHash: hex(input),
      outputHash: this.stop === null ? null : hex(outputHash(input, this.tokens, this.stop)),
      hosts: this.receipt?.hosts.map(({ peer, from, to }) => ({ peer, from, to })) ?? [],
      ...(withReceipt ? { receipt: this.receipt } : {}),
    }
  }
}

async function readRequest(c: Context): Promise<ChatRequest> {
  // Any page may send text/plain without being asked; JSON makes its browser ask this relay first, and it says no.
  if (!/^application\/json\b/i.test(c.req.header('content-type') ?? ''))
    throw new ApiError(415, 'The request must have the content type application/json.', { code: 'unsupported_media_type' })
  const json: unknown = await c.req.json().catch(() => {
    throw new ApiError(400, 'The request is not JSON.')
  })
  const parsed = chatRequest.safeParse(json)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]!
  const param = issue.path.join('.') || null
  throw new ApiError(400, `${param ? `${param}: ` : ''}${issue.message}`, { param, code: 'invalid_value' })
}

function questionOf(request: ChatRequest, model: StoredModel, tokenizer: Tokenizer) {
  const facts = factsOf(model.manifest, model.id)
  let prompt: number[]
  try {
    prompt = tokenizer.encodeChat(messagesOf(request))
  } catch (error) {
    if (error instanceof ModelError) throw new ApiError(400, `${error.message}.`, { param: 'messages' })
    throw error
  }
  const room = facts.context - prompt.length
  if (room < 1)
    throw new ApiError(400, `The messages have ${prompt.length} tokens; the model's context holds ${facts.context}, and one must be left for the answer.`, {
      param: 'messages',
      code: 'context_length_exceeded',
    })
  const wanted = request.max_completion_tokens ?? request.max_tokens ?? maxTokensDefault
  const question: Question = {
    modelId: model.id,
    prompt,
    sampler: samplerOf(request),
    seed: request.seed ?? randomInt(2 ** 47),
    maxTokens: Math.min(wanted, room),
    stopIds: tokenizer.stopIds,
  }
  return { question, facts }
}

const titleOf = (model: StoredModel) => catalogue.find((entry) => entry.name === model.origin?.name)?.title ?? model.manifest.core.name
const nameOf = (model: StoredModel) => model.origin?.name ?? model.manifest.core.name
const isNamed = (model: StoredModel, wanted: string): boolean =>
  [model.id, nameOf(model), model.manifest.core.name, titleOf(model)].some((name) => name.toLowerCase() === wanted.toLowerCase())

/** Stored models that the swarm can run now. */
async function runnable(store: Store, swarm: () => Promise<SwarmTable>) {
  const table = await swarm()
  return (await store.list()).flatMap((model) => {
    const row = table.models.find((one) => one.id === model.id)
    return row?.runnable ? [{ model, row }] : []
  })
}

const modelObject = ({ model, row }: Awaited<ReturnType<typeof runnable>>[number]) => ({
  id: nameOf(model),
  object: 'model',
  created: Math.floor(Date.parse(model.origin?.addedAt ?? '') / 1000) || 0,
  owned_by: 'meadow',
  meadow: {
    modelId: model.id,
    title: titleOf(model),
    licence: model.manifest.core.licence,
    context: model.manifest.core.context,
    slotsFree: row.slotsFree,
    tokensPerSecond: row.tokensPerSecond,
  },
})

const noModel = (name: string) =>
  new ApiError(404, `The model ${JSON.stringify(name)} does not exist here or cannot run now; GET /v1/models lists those that can.`, {
    code: 'model_not_found',
    param: 'model',
  })

function remember<T>(map: Map<string, Promise<T>>, key: string, value: Promise<T>): Promise<T> {
  map.set(key, value)
  value.catch(() => map.delete(key))
  return value
}

async function openStoredTokenizer(store: Store, model: StoredModel): Promise<Tokenizer> {
  const index = model.manifest.shards.findIndex((shard) => shard.name === 'tokenizer')
  const bytes = new Uint8Array(model.manifest.shards[index]!.bytes)
  await store.source(model.id).readShard(index, bytes)
  return openTokenizer(bytes)
}

function explain(error: unknown): ApiError {
  if (error instanceof ApiError) return error
  if (error instanceof AskError) {
    if (error.reason === 'input') return new ApiError(400, error.message)
    return new ApiError(503, error.message, {
      type: 'server_error',
      code: { nobody: 'no_hosts', busy: 'overloaded', differs: 'hosts_differ', lost: 'hosts_lost', cancelled: 'cancelled' }[error.reason],
    })
  }
  console.error(`/v1: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
  return new ApiError(500, 'The relay could not answer this.', { type: 'server_error' })
}

/** Who asks, for the limit: the socket's other end. Behind a proxy all are one, as for everything else here. */
function addressOf(c: Context): string {
  const incoming = (c.env as { incoming?: { socket?: { remoteAddress?: string } } } | undefined)?.incoming
  return incoming?.socket?.remoteAddress ?? ''
}
