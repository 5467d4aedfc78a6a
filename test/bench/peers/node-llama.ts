// node-llama-cpp (native llama.cpp) as a contestant: its own process, CPU only, tokens through the sequence's evaluate loop, greedy.
import { answerCalls } from '../child.ts'

const { getLlama, LlamaLogLevel } = await import('node-llama-cpp')

type Sequence = import('node-llama-cpp').LlamaContextSequence
let sequence: Sequence
let tokens: import('node-llama-cpp').Token[]

await answerCalls({
  async open({ model, threads, prompt }: { model: string; threads: number; prompt: string }) {
    const llama = await getLlama({ gpu: false, build: 'never', skipDownload: true, maxThreads: threads, logLevel: LlamaLogLevel.error })
    const loaded = await llama.loadModel({ modelPath: model, gpuLayers: 0 })
    const context = await loaded.createContext({ contextSize: 1024, batchSize: 512, threads: { ideal: threads, min: threads }, sequences: 1 })
    sequence = context.getSequence()
    tokens = loaded.tokenize(prompt, false)
    return { threads: context.currentThreads }
  },
  async run({ count }: { count: number }) {
    await sequence.clearHistory()
    const started = performance.now()
    let first = 0
    let made = 0
    for await (const _ of sequence.evaluate(tokens, { temperature: 0, yieldEogToken: true })) {
      if (made++ === 0) first = performance.now()
      if (made > count) break
    }
    return { promptTokens: tokens.length, prefillMs: first - started, decodedTokens: made - 1, decodeMs: performance.now() - first }
  },
})
