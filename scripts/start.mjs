// `npm start`: installs, builds, gets the default model, serves the pages.
import { ensureBuilt, ensureInstalled, main, node24, run } from './bootstrap.mjs'

await main(async () => {
  await ensureInstalled()
  await ensureBuilt()
  return run(node24, ['relay/main.ts', 'serve', ...process.argv.slice(2)])
})
