// The `meadow` command.
import { readFileSync } from 'node:fs'
import { runCli } from './cli.ts'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

process.exitCode = await runCli(
  {
    meta: { name: 'meadow', version, description: 'AI models run in integers, so that anyone can check an answer' },
    // Loaded when named: `meadow --help` reads no engine.
    subCommands: {
      ask: () => import('./commands/ask.ts').then((module) => module.ask),
      model: () => import('./commands/model.ts').then((module) => module.model),
      eval: () => import('./commands/eval.ts').then((module) => module.evaluateText),
      bench: () => import('./commands/bench.ts').then((module) => module.bench),
      serve: () => import('./commands/serve.ts').then((module) => module.serve),
    },
  },
  process.argv.slice(2),
  version,
)
