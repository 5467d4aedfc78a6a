// `meadow watch`: an auditor. It re-runs what it is drawn for and a share of everything, challenges what is false and defends what is true, until Ctrl-C.
import { keyOf } from '../../ledger/records.ts'
import { role } from '../../ledger/transaction.ts'
import { hex } from '../../protocol/hash.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { command, integerOption, say } from '../cli.ts'
import { UsageError } from '../errors.ts'
import { LedgerClient } from '../ledger/client.ts'
import { runCommandAgent } from '../watch/start.ts'
import { moneyOptions, secretFor } from './ledger-options.ts'
import { engineOptions, jsonOption } from './options.ts'

export const watch = command({
  meta: { name: 'watch', description: 'Audit answers on the ledger: run them again, challenge false ones, defend true ones' },
  args: {
    share: { type: 'string', valueHint: '0-1', default: '0.1', description: 'Part of all claims that is run again, besides those the account is drawn for' },
    model: { type: 'string', valueHint: 'name|id,…', description: 'Models to watch, with commas between (default: all that are installed)' },
    jobs: { type: 'boolean', description: 'Answer open jobs too, as `meadow job solve` does' },
    demand: { type: 'boolean', default: true, description: 'Demand tokens that nobody shows, for a fee (--no-demand)' },
    threads: engineOptions.threads,
    ...moneyOptions,
    as: { ...moneyOptions.as, default: 'host' },
    json: { ...jsonOption, description: 'Print every notice as a JSON object' },
  },
  async run({ args }) {
    const share = shareOption(args.share)
    const threads = integerOption('threads', args.threads, 1, 64)
    const secret = await secretFor(args)
    const client = new LedgerClient(args.relay)
    const account = await client.record(keyOf.account(publicKeyOf(secret))).catch(() => null)
    if (!account || account.balance === 0n) say('This account has no credits: it can look, but neither audit nor challenge (`meadow account grant host`).')
    else if (!(account.roles & role.auditor)) say('This account is drawn for no audits: `meadow stake 20 --as host --roles host,auditor` changes that.')
    say(`Watching ${share * 100} % of all claims as ${hex(publicKeyOf(secret)).slice(0, 12)} (stop with Ctrl-C).`)
    endWithParent()
    await runCommandAgent({
      ...(args.relay === undefined ? {} : { relay: args.relay }),
      ...(args.model === undefined ? {} : { models: args.model }),
      ...(threads === undefined ? {} : { threads }),
      secret,
      share,
      demand: args.demand,
      solve: args.jobs ? { feeMin: 0n } : false,
      json: args.json ?? false,
    })
  },
})

function shareOption(text: string): number {
  const share = /^\d*\.?\d+$/.test(text) ? Number(text) : Number.NaN
  if (!(share >= 0 && share <= 1)) throw new UsageError(`--share is ${text}, must be a number from 0 to 1.`)
  return share
}

/** A watcher that a relay started ends with it. */
function endWithParent(): void {
  if (process.channel) process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'))
}
