// `meadow verify RECEIPT.json`: puts a question and its answer through the model again, on this machine, and compares what every host signed for.
import { readFile } from 'node:fs/promises'
import { MessageError } from '../../protocol/codec.ts'
import type { SegmentEngine } from '../../protocol/engine/engine.ts'
import { blame, edgesOf, parseReceipt, recompute, type Verdict } from '../../protocol/peer/blame.ts'
import type { AnswerReceipt } from '../../protocol/peer/receipt.ts'
import { command, interrupted, printJson } from '../cli.ts'
import { openSegment } from '../engine.ts'
import { codeOf, messageOf, RelayError } from '../errors.ts'
import '../mesh/native-keys.ts'
import { createProgress } from '../progress.ts'
import { openStore } from '../store.ts'
import { engineChoice, engineOptions, jsonOption } from './options.ts'

export const verify = command({
  meta: { name: 'verify', description: 'Compute an answer again and say whether it was right, and if not, which host is to blame' },
  args: {
    receipt: { type: 'positional', required: true, description: 'The receipt: `meadow ask --swarm --receipt FILE` writes it, the chat page downloads it' },
    ...engineOptions,
    json: jsonOption,
  },
  async run({ args }) {
    const { threads, backend } = engineChoice(args)
    const receipt = await readReceipt(args.receipt)
    const store = openStore()
    const model = await store.find(receipt.question.modelId)
    const { layers } = model.manifest.core
    // Cut where hosts were: what passed between them is compared, not only what came out.
    const edges = edgesOf(receipt, layers)
    const engines: SegmentEngine[] = []
    const progress = createProgress('Computing again')
    let verdict: Verdict
    try {
      for (let i = 0; i + 1 < edges.length; i++)
        engines.push(await openSegment(store.source(model.id), { from: edges[i]!, to: edges[i + 1]! }, backend, threads))
      const onProgress = process.stderr.isTTY ? progress.update : undefined
      const recomputed = await recompute(receipt, engines, { signal: interrupted, ...(onProgress ? { onProgress } : {}) }).finally(
        () => onProgress && progress.end(),
      )
      verdict = blame(receipt, recomputed, layers)
    } finally {
      for (const engine of engines) await engine.close()
    }
    if (args.json) printJson({ ...verdict, modelId: model.id, tokens: receipt.tokens.length })
    else process.stdout.write(describe(receipt, verdict))
    if (!verdict.equal) process.exitCode = 1
  },
})

async function readReceipt(path: string): Promise<AnswerReceipt> {
  const text = await readFile(path, 'utf8').catch((error) => {
    throw new RelayError(codeOf(error) === 'ENOENT' ? `There is no file ${path}.` : `${path} cannot be read: ${messageOf(error)}.`)
  })
  try {
    return parseReceipt(JSON.parse(text))
  } catch (error) {
    if (error instanceof SyntaxError) throw new RelayError(`${path} is not JSON.`)
    if (error instanceof MessageError) throw new RelayError(`${path} is no receipt: ${error.message}.`)
    throw error
  }
}

const words = { right: 'right', wrong: 'WRONG', unclear: 'unclear', invalid: 'not signed' }

function describe(receipt: AnswerReceipt, { equal, firstDifference, hosts, named, faults }: Verdict): string {
  const lines = [
    equal
      ? `Equal: all ${receipt.tokens.length} tokens are what the model says, and every host signed for the right rows.`
      : firstDifference
        ? `Different from token ${firstDifference.index + 1} on: the answer has ${firstDifference.token}, the model says ${firstDifference.expected}.`
        : 'The tokens are what the model says, but not everything around them holds.',
    ...faults.map((fault) => `${fault.charAt(0).toUpperCase()}${fault.slice(1)}.`),
    ...hosts.map((host) => `${host.peer.slice(0, 12)}  layers ${host.from}–${host.to - 1}  ${words[host.verdict]}: ${host.why}.`),
    ...(named.length > 0 ? [`To blame, by its own signature: ${named.join(', ')}.`] : []),
  ]
  return `${lines.join('\n')}\n`
}
