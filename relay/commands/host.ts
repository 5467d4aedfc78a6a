// `meadow host`: lends this machine's CPU to a relay's mesh, until Ctrl-C.

import type { Settled } from '../../ledger/settling.ts'
import { command, endSoon, integerOption, interrupted, printJson, say } from '../cli.ts'
import { UsageError } from '../errors.ts'
import { relayUrl } from '../mesh/address.ts'
import { readSecret, takeIdentity } from '../mesh/identity.ts'
import { hostLine, settledJson, settledLine } from '../mesh/lines.ts'
import { awaitOffers, chooseOffer } from '../mesh/offers.ts'
import { homeFolder } from '../store.ts'
import { agentLine } from '../watch/start.ts'
import { inviteOption, jsonOption, relayOption } from './options.ts'

export const host = command({
  meta: { name: 'host', description: "Lend this machine's CPU to the mesh of a relay" },
  args: {
    relay: relayOption,
    model: { type: 'string', valueHint: 'name|id,…', description: 'Models to lend, with commas between (default: all the relay offers)' },
    layers: { type: 'string', valueHint: 'a-b|auto', default: 'auto', description: 'Layers a to b, the last included, or auto: what the swarm needs most' },
    threads: { type: 'string', valueHint: 'n', description: 'Threads (default: one per core, at most 8)' },
    memory: { type: 'string', valueHint: 'MB', description: 'Megabytes for weights and caches (default: half of what the machine has, of what is free)' },
    sessions: { type: 'string', valueHint: 'n', description: 'Answers at once (default: 16)' },
    invite: inviteOption,
    free: {
      type: 'boolean',
      description: 'Take no payment; by default hosts are paid into the account of this machine, and serve who pays nothing after those who do',
    },
    'paid-only': { type: 'boolean', description: 'Serve strangers only when they pay' },
    json: { ...jsonOption, description: 'Print every notice as a JSON object' },
  },
  async run({ args }) {
    const relay = relayUrl(args.relay)
    const layers = layersOption(args.layers)
    const threads = integerOption('threads', args.threads, 1, 64)
    const memory = integerOption('memory', args.memory, 16, 1 << 20)
    const sessionsMax = integerOption('sessions', args.sessions, 1, 1024)
    const wanted = args.model?.split(',').filter(Boolean)
    if (args.free && args['paid-only']) throw new UsageError('--free and --paid-only exclude each other.')
    if (layers && wanted && wanted.length > 1) throw new UsageError('--layers names layers of one model: name one with --model.')
    endWithParent()

    const offers = await awaitOffers(relay, say, interrupted)
    const models = wanted || layers ? (wanted ?? [undefined]).map((name) => chooseOffer(offers, name)) : offers
    // Loaded only now: `meadow host --help` brings no network.
    const { startHost } = await import('../mesh/host.ts')
    const home = homeFolder()
    const account = args.free ? null : await readSecret(home, 'host')
    const identity = await takeIdentity(home, 'host')
    if (!identity.kept) say('Another host of this MEADOW_HOME is running: this one has a key for its own lifetime only.')
    try {
      const running = await startHost({
        home,
        relay,
        identity,
        modelIds: models.map((model) => model.id),
        ...(layers ? { segment: layers } : {}),
        ...(threads === undefined ? {} : { threads }),
        ...(memory === undefined ? {} : { memoryBytes: memory * 1_000_000 }),
        ...(sessionsMax === undefined ? {} : { sessionsMax }),
        ...(args.invite === undefined ? {} : { invitation: args.invite }),
        ...(account
          ? {
              pay: {
                secret: account,
                only: args['paid-only'] ?? false,
                onSettled: (settled: Settled) => {
                  if (args.json) return printJson({ of: 'host', what: 'settled', ...settledJson(settled) })
                  say(settledLine(settled))
                },
                onDefence: (notice) => {
                  if (args.json) return printJson({ of: 'host', what: 'defence', ...notice })
                  const line = agentLine(notice)
                  if (line) say(line)
                },
              },
            }
          : {}),
        onLine: say,
        onNotice: (notice) => {
          if (args.json) return printJson(notice)
          const line = hostLine(notice, (id) => models.find((model) => model.id === id)?.title ?? id.slice(0, 12))
          if (line) say(line)
        },
      })
      running.peer.network.subscribe((event) => {
        if (event.kind === 'relay')
          say(event.up ? `Connected to the relay at ${relay.origin}.` : `The relay at ${relay.origin} is gone (${event.reason}); trying again.`)
      })
      say(`Hosting as ${identity.key.slice(0, 12)} (stop with Ctrl-C).`)
      try {
        await new Promise<void>((resolve) => {
          if (interrupted.aborted) resolve()
          interrupted.addEventListener('abort', () => resolve(), { once: true })
        })
      } finally {
        await running.close()
      }
    } finally {
      await identity.release()
      endSoon()
    }
  },
})

/** `3-9` as the segment [3, 10); undefined for `auto`. */
function layersOption(text: string): { from: number; to: number } | undefined {
  if (text === 'auto') return undefined
  const match = /^(\d{1,3})-(\d{1,3})$/.exec(text)
  const from = Number(match?.[1])
  const to = Number(match?.[2]) + 1
  if (!match || from >= to) throw new UsageError(`--layers is ${text}, must be auto or two numbers such as 0-9.`)
  return { from, to }
}

/** A host that a relay started ends with it. */
function endWithParent(): void {
  if (process.channel) process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'))
}
