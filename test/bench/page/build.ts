// Bundles the bench's page into build/bench/page.

import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'
import { buildFolder } from '../model.ts'

export async function buildPage(): Promise<string> {
  const outDir = join(buildFolder, 'page')
  await build({
    root: fileURLToPath(new URL('.', import.meta.url)),
    configFile: false,
    logLevel: 'error',
    base: './',
    build: { outDir, emptyOutDir: true, target: 'es2024', assetsInlineLimit: 0 },
    worker: { format: 'es' },
  })
  return outDir
}
