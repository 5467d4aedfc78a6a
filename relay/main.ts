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
      host: () => import('./commands/host.ts').then((module) => module.host),
      swarm: () => import('./commands/swarm.ts').then((module) => module.swarm),
      verify: () => import('./commands/verify.ts').then((module) => module.verify),
      identity: () => import('./commands/identity.ts').then((module) => module.identity),
      account: () => import('./commands/account.ts').then((module) => module.account),
      transfer: () => import('./commands/transfer.ts').then((module) => module.transfer),
      stake: () => import('./commands/stake.ts').then((module) => module.stake),
      unstake: () => import('./commands/unstake.ts').then((module) => module.unstake),
      channel: () => import('./commands/channel.ts').then((module) => module.channel),
      watch: () => import('./commands/watch.ts').then((module) => module.watch),
      dispute: () => import('./commands/dispute.ts').then((module) => module.dispute),
      demo: () => import('./commands/demo.ts').then((module) => module.demo),
      job: () => import('./commands/job.ts').then((module) => module.job),
      ledger: () => import('./commands/ledger.ts').then((module) => module.ledger),
      serve: () => import('./commands/serve.ts').then((module) => module.serve),
    },
  },
  process.argv.slice(2),
  version,
)
