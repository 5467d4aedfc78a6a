// Builds the WASM engine from protocol/engine/wasm/machine.as.ts: build/engine.wasm (shared memory, threads) and build/engine-single.wasm (for pages that are not cross-origin isolated).
// The same sources; the threads feature decides at compile time. Refuses nothing: asc's messages are the errors.
import { mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import asc from 'assemblyscript/asc'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
process.chdir(root)
mkdirSync('build', { recursive: true })

const common = ['-O3', '--noAssert', '--runtime', 'stub']
const engine = ['protocol/engine/wasm/machine.as.ts', '--importMemory', '--maximumMemory', '65536', '--memoryBase', '8192']
const variants = [
  { file: 'build/engine.wasm', flags: [...engine, '--enable', 'simd,threads', '--sharedMemory', '--initialMemory', '2'] },
  { file: 'build/engine-single.wasm', flags: [...engine, '--enable', 'simd', '--disable', 'threads', '--initialMemory', '2'] },
  // Roots of boundaries, for the thread that speaks with peers (protocol/engine/proof/roots.ts).
  { file: 'build/roots.wasm', flags: ['protocol/engine/proof/roots.as.ts', '--enable', 'simd', '--disable', 'threads', '--initialMemory', '4'] },
]
for (const { file, flags } of variants) {
  const { error, stderr } = await asc.main([...flags, ...common, '--outFile', file])
  process.stderr.write(stderr.toString())
  if (error) {
    console.error(`${file}: ${error.message}`)
    process.exit(1)
  }
}
