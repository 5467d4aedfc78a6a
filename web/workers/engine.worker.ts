// The engine worker: owns the GPUDevice and the WASM memory. One model at a time, one request at a time; the page restarts the whole worker when a device is lost.

import { encodeSampler, inputHash, noiseKey, outputHash } from '../../protocol/engine/answer.ts'
import { EngineError } from '../../protocol/engine/engine.ts'
import { Session, type Stop } from '../../protocol/engine/generate.ts'
import { hex } from '../../protocol/hash.ts'
import { type LoadedModel, loadModel } from './load.ts'
import { type AnswerStats, type Ask, type EngineReply, type EngineRequest, wireError } from './messages.ts'
import { promptOf } from './prompt.ts'

const scope = self as unknown as DedicatedWorkerGlobalScope
const reply = (message: EngineReply): void => scope.postMessage(message)

let model: LoadedModel | null = null
let session: Session | null = null
const running = new Map<number, AbortController>()

/** Lets messages in: awaiting an engine that never leaves this thread would not. A message to oneself waits for its turn behind the others, without the 4 ms of setTimeout. */
const breath = (() => {
  const { port1, port2 } = new MessageChannel()
  let waiting: (() => void) | null = null
  port2.onmessage = () => waiting?.()
  return () =>
    new Promise<void>((resolve) => {
      waiting = resolve
      port1.postMessage(null)
    })
})()

async function unload(): Promise<void> {
  const old = model
  model = null
  session = null
  await old?.close()
}

async function answer(id: number, ask: Ask, signal: AbortSignal): Promise<void> {
  if (!model || !session) throw new EngineError('no model is loaded')
  const { engine, tokenizer, modelId, batchRows } = model
  const asked = performance.now()
  encodeSampler(ask.sampler)
  const prompt = ask.resume?.prompt ?? promptOf(tokenizer, ask.turns, engine.manifest.core.context, model.name)
  const made = ask.resume?.tokens.slice() ?? []
  reply({ id, kind: 'prompt', tokens: prompt })
  const decoder = tokenizer.decoder()
  let text = ''
  for (const token of made) text += decoder.push(token)

  const { stopIds } = tokenizer
  const request = {
    prompt: [...prompt, ...made],
    sampler: ask.sampler,
    key: noiseKey(ask.seed),
    maxTokens: ask.maxTokens - made.length,
    stopIds,
    batch: batchRows,
  }
  let stop: Stop | null = null
  let prefilled = 0
  let prefillEnd = asked
  let firstTokenMs = 0
  let timed = 0
  for await (const step of session.generate(request, signal)) {
    if (step.kind === 'prefill') {
      prefilled = step.total
      prefillEnd = performance.now()
      reply({ id, ...step })
    } else if (step.kind === 'token') {
      const piece = decoder.push(step.token)
      made.push(step.token)
      text += piece
      timed++
      if (timed === 1) firstTokenMs = performance.now() - asked
      reply({ id, kind: 'token', token: step.token, text: piece })
    } else stop = step.stop
    await breath()
  }
  const now = performance.now()
  text += decoder.end()
  const question = { modelId, sampler: ask.sampler, seed: ask.seed, maxTokens: ask.maxTokens, stopIds, prompt }
  const input = inputHash(question)
  const stats: AnswerStats = {
    backend: engine.backend,
    threads: engine.threads,
    promptTokens: prompt.length,
    tokens: made.length,
    prefillTokensPerSecond: prefilled > 1 ? (prefilled * 1000) / (prefillEnd - asked) : null,
    // The first token comes from the prefill's logits; the others each cost a run.
    decodeTokensPerSecond: timed > 1 ? ((timed - 1) * 1000) / (now - asked - firstTokenMs) : null,
    firstTokenMs,
    stop: stop!,
    seed: ask.seed,
    modelId,
    inputHash: hex(input),
    outputHash: hex(outputHash(input, made, stop!)),
  }
  reply({ id, kind: 'answered', text, stats })
}

async function handle(request: EngineRequest, signal: AbortSignal): Promise<void> {
  const { id } = request
  if (request.kind === 'unload') await unload()
  if (request.kind === 'load') {
    await unload()
    model = await loadModel(request, signal, (progress) => reply({ id, kind: 'loading', ...progress }))
    session = new Session(model.engine)
    return reply({ id, kind: 'loaded', report: model.report })
  }
  if (request.kind === 'ask') return answer(id, request.ask, signal)
  reply({ id, kind: 'done' })
}

scope.onmessage = async ({ data }: MessageEvent<EngineRequest>) => {
  if (data.kind === 'stop') return running.get(data.target)?.abort()
  const controller = new AbortController()
  running.set(data.id, controller)
  try {
    await handle(data, controller.signal)
  } catch (error) {
    reply({ id: data.id, kind: 'failed', error: wireError(error) })
  } finally {
    running.delete(data.id)
  }
}
