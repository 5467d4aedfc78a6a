// Builds build/*.wasm when a test needs them and they are missing or older than their sources.
import { execFileSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = new URL('..', import.meta.url)
const changed = (path: string): number => statSync(new URL(path, root), { throwIfNoEntry: false })?.mtimeMs ?? 0

export function ensureWasm(): void {
  const sources = ['protocol/engine/ops/', 'protocol/engine/proof/', 'protocol/engine/wasm/'].flatMap((folder) =>
    readdirSync(new URL(folder, root))
      .filter((name) => name.endsWith('.as.ts') || name === 'layout.ts')
      .map((name) => changed(folder + name)),
  )
  if (Math.min(...['engine', 'engine-single', 'roots'].map((name) => changed(`build/${name}.wasm`))) > Math.max(...sources)) return
  execFileSync(process.execPath, [fileURLToPath(new URL('scripts/build-wasm.mjs', root))], { stdio: 'inherit' })
}
