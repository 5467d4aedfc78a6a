// `meadow serve`: a relay. The pages, the models, the mesh (bootstrap, signalling, gossip, tracker, seeder), the OpenAI door, and one host on this machine's CPU.

import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { keyOf } from '../../ledger/records.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { command, endSoon, integerOption, interrupted, printJson, say } from '../cli.ts'
import { isCancelled, messageOf, UsageError } from '../errors.ts'
import { type RunningLedger, startLedger } from '../ledger/start.ts'
import { fetchMeshJson, relayUrl } from '../mesh/address.ts'
import { readSecret } from '../mesh/identity.ts'
import { relayLimits, upgradeLimits } from '../mesh/limits.ts'
import { findOrAddModel } from '../models.ts'
import { checkPages, createApp, startServer } from '../server.ts'
import { openStore } from '../store.ts'
import { jsonOption, modelOption } from './options.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

export const serve = command({
  meta: { name: 'serve', description: 'Run a relay: serve the pages and the models to browsers, connect them to one mesh' },
  args: {
    port: { type: 'string', valueHint: 'n', description: 'Port (default: PORT, else 8787)' },
    host: { type: 'string', valueHint: 'address', default: 'localhost', description: 'Address to listen on; 0.0.0.0 lets other machines in' },
    'no-host': { type: 'boolean', description: 'Start no host on this machine: answers then come from others only' },
    watch: { type: 'boolean', default: true, description: 'Audit answers on the ledger when the account `host` has a stake (--no-watch)' },
    model: { ...modelOption, description: 'Model that must be there before the server starts (default: the default model)' },
    pages: { type: 'string', valueHint: 'folder', description: 'Folder of the built pages (default: build/web)' },
    join: { type: 'string', valueHint: 'url,…', description: 'Other relays to share one mesh with, with commas between' },
    ice: {
      type: 'string',
      valueHint: 'url,…',
      description: 'STUN or TURN servers for peers that cannot reach each other directly (default: none, no third party)',
    },
    peers: { type: 'string', valueHint: 'n', description: `Peers connected at once (default: ${relayLimits.connectionsMax})` },
    'peers-per-address': { type: 'string', valueHint: 'n', description: `Peers from one address at once (default: ${upgradeLimits.connectionsPerAddressMax})` },
    json: { ...jsonOption, description: 'Print the address as a JSON object' },
  },
  async run({ args, rawArgs }) {
    const port = integerOption('port', args.port ?? (process.env.PORT || undefined), 0, 65_535) ?? 8787
    const peersMax = integerOption('peers', args.peers, 1, 100_000)
    const perAddressMax = integerOption('peers-per-address', args['peers-per-address'], 1, 100_000)
    const iceServers = iceOption(args.ice)
    const pages = args.pages ?? `${root}build/web`
    // citty hears --no-host as "host is false": the address, if one was named too, stands in the raw arguments.
    const lends = !rawArgs.includes('--no-host')
    const address = lends ? args.host : addressIn(rawArgs)
    const { version } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as { version: string }
    checkPages(pages)
    const store = openStore()
    const others = await relaysAt(args.join)
    // Loaded only now: `meadow serve --help` brings no network.
    const { startRelayMesh } = await import('../mesh/relay.ts')
    const { createOpenAi } = await import('../openai.ts')
    const mesh = await startRelayMesh({
      store,
      version,
      direct: { address: address === 'localhost' ? '127.0.0.1' : address, port },
      others,
      iceServers,
      limits: {
        relay: { ...relayLimits, ...(peersMax === undefined ? {} : { connectionsMax: peersMax, reservationsMax: peersMax }) },
        upgrade: {
          ...upgradeLimits,
          ...(peersMax === undefined ? {} : { connectionsMax: peersMax * 2 }),
          ...(perAddressMax === undefined ? {} : { connectionsPerAddressMax: perAddressMax }),
        },
      },
    })
    const ledger = await startLedger(store.home).catch((error) => {
      // Another relay of this home orders it: this one still has the pages, the models and the mesh.
      say(`${messageOf(error)} Serving without a ledger.`)
      return null
    })
    try {
      // Listening before the model is there: a taken port should be said before a long download.
      const app = createApp({
        store,
        pages,
        version,
        mesh,
        openai: createOpenAi({ store, requester: mesh.requester, swarm: mesh.swarm }),
        ledger: ledger?.routes,
      })
      const server = await startServer(app, port, address, mesh.attach)
      let host: HostChild | undefined
      let watcher: HostChild | undefined
      try {
        await findOrAddModel(store, args.model).catch(async (error) => {
          const installed = await store.list()
          if (isCancelled(error, interrupted) || installed.length === 0) throw error
          say(`${messageOf(error)} Serving without it: ${installed.map((model) => model.manifest.core.name).join(', ')}.`)
        })
        for (const { manifest } of await store.list()) await ledger?.register(manifest)
        const shown = `http://${address === '0.0.0.0' || address === '::' ? 'localhost' : address}:${server.port}/`
        if (args.json) printJson({ address: shown, port: server.port, peer: mesh.key })
        else process.stdout.write(`Meadow is at ${shown} (stop with Ctrl-C)\n`)
        await mesh.seedStore(server.port)
        if (lends) host = startHostChild(shown)
        if (args.watch && ledger) watcher = startWatcher(shown, async () => hasStake(ledger, await readSecret(store.home, 'host')))
        await untilInterrupted()
      } finally {
        await Promise.all([host?.stop(), watcher?.stop()])
        await server.close()
        ledger?.close()
      }
    } finally {
      await mesh.close()
      endSoon()
    }
  },
})

function untilInterrupted(): Promise<void> {
  return new Promise((resolve) => {
    if (interrupted.aborted) resolve()
    else interrupted.addEventListener('abort', () => resolve(), { once: true })
  })
}

function addressIn(rawArgs: string[]): string {
  const at = rawArgs.indexOf('--host')
  return (at >= 0 ? rawArgs[at + 1] : rawArgs.find((arg) => arg.startsWith('--host='))?.slice('--host='.length)) ?? 'localhost'
}

function iceOption(text: string | undefined): { urls: string }[] {
  return (text?.split(',').filter(Boolean) ?? []).map((urls) => {
    if (!/^(stun|turns?):/.test(urls)) throw new UsageError(`--ice ${urls} is no STUN or TURN address, such as stun:host:3478.`)
    return { urls }
  })
}

/** Addresses of other relays; one that does not answer is said and left out. */
async function relaysAt(text: string | undefined): Promise<string[]> {
  const found: string[] = []
  for (const one of text?.split(',').filter(Boolean) ?? []) {
    const url = relayUrl(one)
    try {
      found.push(...(await fetchMeshJson(url)).relays.slice(0, 2))
    } catch (error) {
      say(messageOf(error))
    }
  }
  return found
}

interface HostChild {
  stop(): Promise<void>
}

/** How often the account is looked at that might begin to watch. */
const stakeLookMs = 30_000

const hasStake = ({ node }: RunningLedger, secret: Uint8Array): boolean => (node.get(keyOf.account(publicKeyOf(secret)))?.stake ?? 0n) > 0n

/** An auditor in a process of its own, from when its account has something at stake. */
function startWatcher(relay: string, staked: () => Promise<boolean>): HostChild {
  let child: HostChild | undefined
  const look = async (): Promise<void> => {
    if (child || !(await staked())) return
    clearInterval(timer)
    child = startChild('watcher', ['watch', '--relay', relay])
  }
  const timer = setInterval(() => void look(), stakeLookMs)
  void look()
  return {
    async stop() {
      clearInterval(timer)
      await child?.stop()
    },
  }
}

const startHostChild = (relay: string): HostChild => startChild('host', ['host', '--relay', relay])

/** A command in a process of its own: the relay must answer while it computes, and stand when it falls. Started again when it ends, ever later. */
function startChild(name: string, args: string[]): HostChild {
  let child: ChildProcess | undefined
  let stopped = false
  let waitMs = 1000
  let timer: ReturnType<typeof setTimeout> | undefined
  const start = (): void => {
    const startedMs = performance.now()
    child = spawn(process.execPath, [`${root}relay/main.ts`, ...args], { stdio: ['ignore', 2, 2, 'ipc'] })
    child.on('error', (error) => say(`The ${name} could not be started: ${error.message}.`))
    child.on('exit', () => {
      child = undefined
      if (stopped) return
      if (performance.now() - startedMs > 60_000) waitMs = 1000
      say(`The ${name} has ended; it is started again in ${waitMs / 1000} s.`)
      timer = setTimeout(start, waitMs)
      waitMs = Math.min(60_000, waitMs * 2)
    })
  }
  start()
  return {
    async stop() {
      stopped = true
      clearTimeout(timer)
      const running = child
      if (!running) return
      await new Promise<void>((resolve) => {
        running.once('exit', () => resolve())
        running.kill('SIGTERM')
        setTimeout(() => running.kill('SIGKILL'), 5000).unref()
      })
    },
  }
}
