// `meadow eval --text FILE`: how well a model predicts a text, exactly.
import { readFile } from 'node:fs/promises'
import { evaluate, type Loss, lossBits } from '../../protocol/engine/loss.ts'
import { command, integerOption, interrupted, printJson, say } from '../cli.ts'
import { openModel } from '../engine.ts'
import { codeOf, messageOf, RelayError } from '../errors.ts'
import { findOrAddModel } from '../models.ts'
import { openStore } from '../store.ts'
import { engineChoice, engineOptions, jsonOption, modelOption } from './options.ts'

export const evaluateText = command({
  meta: { name: 'eval', description: 'Perplexity of a text file under a model; the summed loss is exact, the same on every device' },
  args: {
    text: { type: 'string', required: true, valueHint: 'file', description: 'Text file, UTF-8' },
    model: modelOption,
    context: { type: 'string', valueHint: 'n', default: '256', description: 'Tokens in a window; windows follow each other, a last partial one is dropped' },
    ...engineOptions,
    json: { ...jsonOption, description: 'Print one JSON object: tokens, perplexity, lossFixed, tokensPerSecond' },
  },
  async run({ args }) {
    const context = integerOption('context', args.context, 2, 1 << 20)!
    const choice = engineChoice(args)
    const text = await readText(args.text)
    const store = openStore()
    const model = await findOrAddModel(store, args.model)
    const { engine, tokenizer } = await openModel(store, model, choice.backend, choice.threads)
    try {
      const ids = tokenizer.encode(text)
      const windows = Math.floor(ids.length / context)
      let loss: Loss = { tokens: 0, lossFixed: 0 }
      let done = 0
      const startMs = performance.now()
      for await (loss of evaluate(engine, ids, context, tokenizer.addsBos ? tokenizer.bos : null, interrupted)) {
        done++
        if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2KWindow ${done} of ${windows}, perplexity ${perplexityOf(loss).toFixed(4)}`)
      }
      if (process.stderr.isTTY) process.stderr.write('\n')
      const tokensPerSecond = Math.round((loss.tokens / (performance.now() - startMs)) * 10_000) / 10
      const perplexity = perplexityOf(loss)
      if (args.json) {
        printJson({
          tokens: loss.tokens,
          perplexity,
          lossFixed: loss.lossFixed,
          lossBits,
          tokensPerSecond,
          context,
          windows,
          modelId: model.id,
          backend: engine.backend,
          threads: engine.threads,
        })
      } else {
        process.stdout.write(`perplexity ${perplexity.toFixed(4)} over ${loss.tokens} predicted tokens (${windows} windows of ${context})\n`)
        process.stdout.write(`summed loss ${loss.lossFixed} / 2^${lossBits} nats, exact\n`)
        say(`${tokensPerSecond} tokens/s`)
      }
    } finally {
      await engine.close()
    }
  },
})

/** For people: the one floating-point number here. What is compared exactly is lossFixed. */
const perplexityOf = (loss: Loss) => Math.exp(loss.lossFixed / 2 ** lossBits / loss.tokens)

async function readText(path: string): Promise<string> {
  let bytes: Uint8Array
  try {
    bytes = await readFile(path)
  } catch (error) {
    throw new RelayError(codeOf(error) === 'ENOENT' ? `There is no file ${path}.` : `${path} cannot be read: ${messageOf(error)}.`)
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new RelayError(`${path} is not UTF-8 text.`)
  }
}
