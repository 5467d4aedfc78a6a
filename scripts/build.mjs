// `npm run build`: the WASM engine and the pages, when they are older than their sources.
import { ensureBuilt, ensureInstalled, main } from './bootstrap.mjs'

await main(async () => {
  await ensureInstalled()
  await ensureBuilt()
  return 0
})
