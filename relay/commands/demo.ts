// `meadow demo fraud`: a cheat is caught, by real processes and the real model.
import { fileURLToPath } from 'node:url'
import { defineCommand } from 'citty'
import { command, integerOption, interrupted, printJson } from '../cli.ts'
import { UsageError } from '../errors.ts'
import { findOrAddModel } from '../models.ts'
import { openStore } from '../store.ts'
import { jsonOption, modelOption } from './options.ts'

const pages = fileURLToPath(new URL('../../build/web', import.meta.url))

const fraud = command({
  meta: {
    name: 'fraud',
    description: 'A host alters one activation; an auditor catches it, the dispute runs through a relay, a judge without the model decides',
  },
  args: {
    prompt: { type: 'positional', required: false, default: 'Why is the sky blue?', description: 'The question' },
    layer: { type: 'string', valueHint: 'n', description: 'Alter what leaves this layer (default: one in the middle)' },
    position: { type: 'string', valueHint: 'n', description: 'At this position of the sequence (default: two tokens into the answer)' },
    'max-tokens': { type: 'string', valueHint: 'n', default: '24', description: 'Longest answer' },
    honest: { type: 'boolean', description: 'Nobody cheats; somebody challenges the true answer and loses its bond' },
    port: { type: 'string', valueHint: 'n', default: '0', description: "Port of the demonstration's relay (default: a free one)" },
    model: modelOption,
    json: { ...jsonOption, description: 'Print every event as a JSON object, the result last' },
  },
  async run({ args }) {
    const maxTokens = integerOption('max-tokens', args['max-tokens'], 4, 1024)!
    const port = integerOption('port', args.port, 0, 65_535)!
    const store = openStore()
    const model = await findOrAddModel(store, args.model)
    const { layers, context } = model.manifest.core
    if (layers < 2) throw new UsageError('This model has one layer: nothing comes after what is altered.')
    const layer = integerOption('layer', args.layer, 0, layers - 2) ?? Math.floor((layers - 1) / 2)
    const position = integerOption('position', args.position, 0, context - 1) ?? null
    if (args.honest && (args.layer !== undefined || args.position !== undefined)) throw new UsageError('With --honest nothing is altered.')
    const { runFraud } = await import('../demo/fraud.ts')
    const result = await runFraud({
      store,
      model,
      prompt: args.prompt,
      maxTokens,
      layer,
      position,
      honest: args.honest === true,
      port,
      pages,
      onLine: (line) => void (args.json || process.stdout.write(`${line}\n`)),
      onEvent: (event) => void (args.json && printJson(event)),
      signal: interrupted,
    })
    if (args.json) printJson({ type: 'result', ...result })
    else
      process.stdout.write(
        `\n${args.honest ? (result.justice ? 'The griefer lost.' : 'THE GRIEFER DID NOT LOSE.') : result.justice ? 'The cheat lost.' : 'THE CHEAT DID NOT LOSE.'}\n`,
      )
    if (!result.justice) process.exitCode = 1
  },
})

export const demo = defineCommand({
  meta: { name: 'demo', description: 'Demonstrations with real processes' },
  subCommands: { fraud },
})
