// `npm run -s meadow -- …`: the `meadow` command, from a fresh clone too.
import { ensureBuilt, ensureInstalled, main, node24, root, run } from './bootstrap.mjs'

await main(async () => {
  await ensureInstalled()
  // Only these run the engine; the others must not wait for a build. `serve` needs the pages as well.
  const command = process.argv.slice(2).find((argument) => !argument.startsWith('-')) ?? ''
  const help = process.argv.some((argument) => argument === '--help' || argument === '-h')
  if (!help && ['ask', 'eval', 'bench', 'serve', 'host', 'verify'].includes(command)) await ensureBuilt({ pages: command === 'serve' || command === 'bench' })
  // npm runs scripts in the project's root; paths on the command line are meant from where the user stands.
  return run(node24, [`${root}/relay/main.ts`, ...process.argv.slice(2)], { cwd: process.env.INIT_CWD ?? process.cwd() })
})
