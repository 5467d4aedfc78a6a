// `meadow model add | list | show | remove`.

import { defineCommand } from 'citty'
import { hex } from '../../protocol/hash.ts'
import type { Weights } from '../../protocol/model/import.ts'
import { catalogue, defaultModel } from '../catalogue.ts'
import { command, printJson, say } from '../cli.ts'
import { addModel, findOrAddModel } from '../models.ts'
import { formatBytes } from '../progress.ts'
import { openStore, type StoredModel } from '../store.ts'
import { jsonOption } from './options.ts'

const named = { type: 'positional', required: true, description: 'A name, an id or the beginning of one (4 digits or more)' } as const

const add = command({
  meta: { name: 'add', description: 'Add a model: a GGUF file becomes a canonical package, whose id is the same on every machine' },
  args: {
    source: {
      type: 'positional',
      required: false,
      default: defaultModel.name,
      description: `file.gguf, https URL, hf:owner/repo[@revision]/file.gguf, or a built-in name: ${catalogue.map((entry) => entry.name).join(', ')}`,
    },
    weights: {
      type: 'enum',
      options: ['auto', 'w4', 'g8', 'w8'],
      default: 'auto',
      description:
        'Formats of the matrices: auto (4-bit groups as shipped, 8-bit groups elsewhere), w4 (refuse other layers), g8 (8-bit groups), w8 (int8 rows for the matrices that bear it, the others as auto)',
    },
    keep: { type: 'boolean', description: 'Keep a downloaded GGUF in the downloads folder' },
    json: jsonOption,
  },
  async run({ args }) {
    const store = openStore()
    // By name, the work may have been done already; a file or address is always read, since only its bytes say which model it is.
    const known = catalogue.some((entry) => entry.name === args.source) && args.weights === 'auto' && !args.keep
    const model = known ? await findOrAddModel(store, args.source) : await addModel(store, args.source, { weights: args.weights as Weights, keep: args.keep })
    if (args.json) return printJson(describe(model))
    if (model.origin?.decision) say(model.origin.decision)
    process.stdout.write(`${model.manifest.core.name}  ${model.id}  ${formatBytes(model.bytes)}\n`)
  },
})

const list = command({
  meta: { name: 'list', description: 'Models on this machine, and built-in names that can be added' },
  args: { json: jsonOption },
  async run({ args }) {
    const models = await openStore().list()
    const addable = catalogue.filter((entry) => !models.some((model) => model.origin?.name === entry.name))
    if (args.json)
      return printJson({
        models: models.map(describe),
        builtIn: catalogue.map(({ name, title, licence, bytes, sha256 }) => ({ name, title, licence, bytes, sha256 })),
      })
    for (const model of models) {
      const { core } = model.manifest
      process.stdout.write(
        `${model.id.slice(0, 12)}  ${(model.origin?.name ?? core.name).padEnd(16)}  ${formatBytes(model.bytes).padStart(8)}  ${core.architecture}, ${core.layers} layers\n`,
      )
    }
    if (models.length === 0) process.stdout.write('No model is installed.\n')
    if (addable.length > 0) process.stdout.write(`\nCan be added by name: ${addable.map((entry) => entry.name).join(', ')}\n`)
  },
})

const show = command({
  meta: { name: 'show', description: 'One model: architecture, sizes, shards, id, licence' },
  args: { model: named, json: jsonOption },
  async run({ args }) {
    const model = await openStore().find(args.model)
    if (args.json) return printJson(describe(model))
    process.stdout.write(showText(model))
  },
})

const remove = command({
  meta: { name: 'remove', description: 'Delete a model from this machine' },
  args: { model: named, json: jsonOption },
  async run({ args }) {
    const store = openStore()
    const model = await store.find(args.model)
    await store.remove(model.id)
    if (args.json) return printJson({ removed: model.id, bytes: model.bytes })
    process.stdout.write(`Removed ${model.manifest.core.name} (${model.id.slice(0, 12)}), ${formatBytes(model.bytes)}.\n`)
  },
})

export const model = defineCommand({
  meta: { name: 'model', description: 'Models on this machine' },
  subCommands: { add, list, show, remove, register: () => import('./model-register.ts').then((module) => module.modelRegister) },
})

/** Everything `model show --json` says. */
function describe(model: StoredModel) {
  const { core, shards, tensors } = model.manifest
  const { name, architecture, licence, hidden, ffn, layers, heads, kvHeads, headDim, vocab, context } = core
  return {
    id: model.id,
    name,
    architecture,
    licence,
    bytes: model.bytes,
    hidden,
    ffn,
    layers,
    heads,
    kvHeads,
    headDim,
    vocab,
    context,
    parameters: parametersOf(model),
    formats: formatsOf(model),
    tensors: tensors.length,
    shards: shards.map((shard) => ({ name: shard.name, bytes: shard.bytes, sha256: hex(shard.sha256), root: hex(shard.root) })),
    origin: model.origin,
  }
}

const parametersOf = (model: StoredModel) => model.manifest.tensors.reduce((sum, tensor) => sum + tensor.rows * tensor.columns, 0)

/** Bytes by tensor format. */
function formatsOf(model: StoredModel): Record<string, number> {
  const bytes: Record<string, number> = {}
  for (const tensor of model.manifest.tensors) bytes[tensor.format] = (bytes[tensor.format] ?? 0) + tensor.bytes
  return bytes
}

function showText(model: StoredModel): string {
  const { core, shards } = model.manifest
  const rows: [string, string][] = [
    ['name', core.name],
    ['id', model.id],
    ['architecture', core.architecture],
    ['licence', core.licence || 'not stated by the file'],
    ['parameters', `${(parametersOf(model) / 1e6).toFixed(1)} million`],
    [
      'shape',
      `${core.layers} layers, hidden ${core.hidden}, feed-forward ${core.ffn}, ${core.heads} heads (${core.kvHeads} key-value) of ${core.headDim}, vocabulary ${core.vocab}`,
    ],
    ['context', `${core.context} tokens`],
    [
      'size',
      `${formatBytes(model.bytes)} (${Object.entries(formatsOf(model))
        .map(([format, bytes]) => `${format} ${formatBytes(bytes)}`)
        .join(', ')})`,
    ],
    ...(model.origin
      ? ([
          [
            'source',
            `${model.origin.source} (${{ 'built-in': 'SHA-256 built in', hub: 'SHA-256 stated by the hub', unpinned: 'unpinned', local: 'local file' }[model.origin.pinned]})`,
          ],
          ['formats', model.origin.decision],
        ] as [string, string][])
      : []),
  ]
  const width = Math.max(...shards.map((shard) => shard.name.length))
  const shardLines = shards.map((shard) => `  ${shard.name.padEnd(width)}  ${formatBytes(shard.bytes).padStart(8)}  ${hex(shard.sha256)}`)
  return `${rows.map(([name, value]) => `${name.padEnd(13)} ${value}`).join('\n')}\n${shards.length} shards\n${shardLines.join('\n')}\n`
}
