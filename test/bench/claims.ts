// What a paid host does for being checkable, against what it computes: roots of every row that entered and left ten layers in the middle of the default model, the dearest
// place in a ring of three. `node test/bench/claims.ts [threads]`
import '../../relay/mesh/native-keys.ts'
import { readFileSync } from 'node:fs'
import { rootsFrom, rootsTogether } from '../../protocol/engine/proof/roots.ts'
import { openShards } from '../../relay/mesh/shards.ts'
import { openStore } from '../../relay/store.ts'
import { createNodeWasmEngine } from '../../relay/wasm-thread.ts'

const store = openStore()
const [model] = await store.list()
const source = await openShards(store.home, model!.id)
const threads = Number(process.argv[2] ?? 1)
const engine = await createNodeWasmEngine(source, { threads, segment: { from: 10, to: 20 } })
const roots = await rootsFrom(await WebAssembly.compile(readFileSync(new URL('../../build/roots.wasm', import.meta.url))))
const { hidden } = engine.manifest.core
const [prompt, answer] = [64, 64]
const entering = Int32Array.from({ length: prompt * hidden }, (_, i) => ((i * 7919) % 20_000) - 10_000)
for (let round = 0; round < 3; round++) {
  const began = performance.now()
  const list = Array.from({ length: prompt }, (_, position) => ({ sequence: 0, position, token: 1 }))
  await engine.run(list, Array(prompt).fill('nothing'), entering)
  for (let i = 0; i < answer; i++) await engine.run([{ sequence: 0, position: prompt + i, token: 1 }], ['nothing'], entering.subarray(0, hidden))
  const inferenceMs = performance.now() - began
  engine.truncate(0, 0)
  const start = performance.now()
  const rows = Array.from({ length: rootsTogether }, (_, i) => entering.subarray(i * hidden, (i + 1) * hidden))
  for (let done = 0; done < 2 * (prompt + answer); done += rootsTogether) roots(rows)
  const rootsMs = performance.now() - start
  console.log(
    JSON.stringify({
      threads,
      inferenceMs: Math.round(inferenceMs),
      rootsMs: Number(rootsMs.toFixed(2)),
      percent: Number(((rootsMs / inferenceMs) * 100).toFixed(2)),
    }),
  )
}
await engine.close()
