// wllama as a contestant in a tab: CPU only (no layers on a GPU), greedy, its own prompt cache off. Times are taken where a page would take them: as pieces of text arrive.
import { LoggerWithoutDebug, Wllama } from '/peers/@wllama/wllama/esm/index.js'

let engine
let prompt

globalThis.bench = {
  async open({ model, threads, prompt: text }) {
    engine = new Wllama({ default: '/peers/@wllama/wllama/esm/wasm/wllama.wasm' }, { logger: LoggerWithoutDebug, suppressNativeLog: true })
    prompt = text
    const blob = await (await fetch(model)).blob()
    await engine.loadModel([blob], { n_threads: threads, n_ctx: 1024, n_gpu_layers: 0, n_parallel: 1 })
    return { threads: engine.getNumThreads(), multi: engine.isMultithread(), isolated: crossOriginIsolated }
  },
  async run({ count }) {
    const started = performance.now()
    let first = 0
    let last = 0
    let timings
    const stream = await engine.createCompletion({
      prompt,
      max_tokens: count + 1,
      temperature: 0,
      top_k: 1,
      ignore_eos: true,
      cache_prompt: false,
      stream: true,
      timings_per_token: true,
    })
    for await (const piece of stream) {
      last = performance.now()
      if (!first) first = last
      timings = piece.timings ?? timings
    }
    return { promptTokens: timings.prompt_n, prefillMs: first - started, decodedTokens: timings.predicted_n - 1, decodeMs: last - first, timings }
  },
}
