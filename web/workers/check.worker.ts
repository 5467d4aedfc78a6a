// The check worker: puts an answer of the swarm through the model again on this device, cut where rows passed from host to host, and judges what each host signed.
// On the processor only: the check of a check is that it runs on what passed the self-test a moment ago. Ends with its page's wish; holds nothing afterwards.
import type { SegmentEngine } from '../../protocol/engine/engine.ts'
import { blame, edgesOf, parseReceipt, recompute } from '../../protocol/peer/blame.ts'
import type { CheckReply, CheckRequest } from './check.ts'
import { openWasm } from './devices.ts'
import { openTested } from './load.ts'
import { wireError } from './messages.ts'
import { openCatalogue } from './store/catalogue.ts'
import { openFiles } from './store/files.ts'
import { openSource } from './store/source.ts'

const scope = self as unknown as DedicatedWorkerGlobalScope
const reply = (message: CheckReply): void => scope.postMessage(message)

/** Loading takes about as long as computing a short answer. */
const loadingShare = 0.4

async function check(id: number, json: unknown): Promise<void> {
  const say = (doing: string, share: number): void => reply({ id, kind: 'progress', doing, share })
  const receipt = parseReceipt(json)
  say('Opening the model…', 0)
  const db = await openCatalogue()
  const source = await openSource(db, await openFiles(db), receipt.question.modelId)
  const { layers } = source.manifest.core
  const edges = edgesOf(receipt, layers)
  const stretches = edges.slice(1).map((to, index) => ({ from: edges[index], to }))
  // Engines take turns, and a waiting thread spins: several engines get one thread each.
  const wasm = await openWasm(stretches.length > 1 ? 1 : 0)
  const engines: SegmentEngine[] = []
  for (const [index, segment] of stretches.entries()) {
    const kvTokensMax = receipt.question.prompt.length + receipt.tokens.length
    const onProgress = (loaded: number, total: number): void => say('Loading the model…', (loadingShare * (index + loaded / total)) / stretches.length)
    const options = { segment, kvTokensMax, onProgress }
    // The first opening tests the device: one that computes wrongly must blame nobody.
    engines.push(index === 0 ? (await openTested({ device: wasm, reason: '' }, wasm, source, options)).engine : await wasm.open(source, options))
  }
  const recomputed = await recompute(receipt, engines, {
    onProgress: (done, total) => say(`Computing it again: ${done} of ${total} tokens`, loadingShare + ((1 - loadingShare) * done) / total),
  })
  reply({ id, kind: 'checked', verdict: blame(receipt, recomputed, layers) })
}

scope.onmessage = async ({ data }: MessageEvent<CheckRequest>) => {
  try {
    await check(data.id, data.receipt)
  } catch (error) {
    reply({ id: data.id, kind: 'failed', error: wireError(error) })
  }
}
