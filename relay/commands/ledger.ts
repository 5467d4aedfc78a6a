// `meadow ledger status | export | snapshot | replay | faucet`.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { defineCommand } from 'citty'
import { z } from 'zod'
import { formatAmount } from '../../ledger/amount.ts'
import { keyOf } from '../../ledger/records.ts'
import { State } from '../../ledger/state.ts'
import { command, printJson } from '../cli.ts'
import { RelayError, UsageError } from '../errors.ts'
import { exportLog, exportSnapshot, type Replayed, readLog, replay, replayStore } from '../ledger/archive.ts'
import { LedgerClient } from '../ledger/client.ts'
import { LedgerStore } from '../ledger/store.ts'
import { formatBytes } from '../progress.ts'
import { homeFolder } from '../store.ts'
import { act, credits, moneyOptions } from './ledger-options.ts'
import { jsonOption, relayOption } from './options.ts'

const statusJson = z.looseObject({
  chain: z.string(),
  chainId: z.string(),
  height: z.number(),
  root: z.string(),
  records: z.number(),
  stopped: z.string().nullable(),
  supply: z.looseObject({ genesis: z.string(), emitted: z.string(), burned: z.string(), treasury: z.string() }),
})

const status = command({
  meta: { name: 'status', description: 'Height, root and supply of a relay' },
  args: { relay: relayOption, json: jsonOption },
  async run({ args }) {
    const raw = await new LedgerClient(args.relay).json('status')
    const now = statusJson.parse(raw)
    if (args.json) return printJson(raw)
    const { supply } = now
    const there = BigInt(supply.genesis) + BigInt(supply.emitted) - BigInt(supply.burned)
    const lines = [
      `chain    ${now.chainId}, ${now.chain}`,
      `block    ${now.height}, ${now.records} records`,
      `root     ${now.root}`,
      `supply   ${formatAmount(there)}, emitted ${formatAmount(BigInt(supply.emitted))}, burned ${formatAmount(BigInt(supply.burned))}`,
      ...(now.stopped ? [`stopped  ${now.stopped}`] : []),
    ]
    process.stdout.write(`${lines.join('\n')}\n`)
  },
})

/** The ledger of this machine's relay, which must not be running. */
function ownStore(): LedgerStore {
  const folder = join(homeFolder(), 'ledger')
  if (!existsSync(join(folder, 'ledger.sqlite'))) throw new RelayError(`There is no ledger in ${folder}.`)
  return new LedgerStore(folder)
}

const fileOption = { type: 'positional', required: true, description: 'File to write' } as const

const exportCommand = command({
  meta: { name: 'export', description: "Write this machine's ledger, all blocks with their transactions, into one file (stop the relay first)" },
  args: { file: fileOption, json: jsonOption },
  async run({ args }) {
    const store = ownStore()
    try {
      const written = exportLog(store, args.file)
      if (args.json) return printJson({ file: args.file, ...written })
      process.stdout.write(`${written.blocks} blocks, ${formatBytes(written.bytes)}.\n`)
    } finally {
      store.close()
    }
  },
})

const snapshot = command({
  meta: { name: 'snapshot', description: 'Write the state of the last block into one file (stop the relay first)' },
  args: { file: fileOption, json: jsonOption },
  async run({ args }) {
    const store = ownStore()
    try {
      const written = exportSnapshot(store, State.restore(store.state()), args.file)
      if (args.json) return printJson({ file: args.file, ...written })
      process.stdout.write(`${written.records} records, ${formatBytes(written.bytes)}.\n`)
    } finally {
      store.close()
    }
  },
})

const replayCommand = command({
  meta: { name: 'replay', description: 'Run every block again, check every signature and compare every root' },
  args: {
    file: { type: 'positional', required: false, description: "A file of `ledger export` (default: this machine's ledger; stop the relay first)" },
    json: jsonOption,
  },
  async run({ args }) {
    const began = performance.now()
    let done: Replayed
    if (args.file) {
      const { genesis, blocks } = readLog(args.file)
      done = replay(genesis, blocks)
    } else {
      const store = ownStore()
      try {
        done = replayStore(store)
      } finally {
        store.close()
      }
    }
    const seconds = (performance.now() - began) / 1000
    const { blocks, transactions, root } = done
    if (args.json) return printJson({ blocks, transactions, root, seconds })
    process.stdout.write(`${blocks} blocks, ${transactions} transactions: every root is what its header says.\nroot ${root}\n`)
  },
})

const faucet = command({
  meta: { name: 'faucet', description: 'Open or close the faucet, as the operator of the chain' },
  args: {
    state: { type: 'positional', required: true, description: 'open or closed' },
    grant: { type: 'string', valueHint: 'credits', description: 'What a newcomer gets (default: as before)' },
    ...moneyOptions,
    as: { ...moneyOptions.as, default: 'relay' },
  },
  async run({ args }) {
    if (args.state !== 'open' && args.state !== 'closed') throw new UsageError(`The faucet can be open or closed, not ${args.state}.`)
    const client = new LedgerClient(args.relay)
    const { genesis } = await client.chain()
    // Before the first block the rules are those of genesis.
    const { parameters } = (await client.record(keyOf.rules).catch(() => null)) ?? genesis
    const next = { open: args.state === 'open', grant: args.grant === undefined ? parameters.faucet.grant : credits(args.grant) }
    await act(args, { kind: 'parameters.set', parameters: { ...parameters, faucet: next } }, `The faucet is ${args.state}.`)
  },
})

export const ledger = defineCommand({
  meta: { name: 'ledger', description: 'The ledger: status, export, snapshot, replay, faucet' },
  subCommands: { status, export: exportCommand, snapshot, replay: replayCommand, faucet },
})
