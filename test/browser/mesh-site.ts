// A relay with its mesh for one test file: real server, libp2p node, tracker; and hosts in this process that lend fixed layers, which a test can kill.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Hono } from 'hono'
import { startHost } from '../../relay/mesh/host.ts'
import { takeIdentity } from '../../relay/mesh/identity.ts'
import { type RelayMesh, startRelayMesh } from '../../relay/mesh/relay.ts'
import { checkPages, createApp, type RunningServer, startServer } from '../../relay/server.ts'
import { openStore } from '../../relay/store.ts'
import { install, type Specimen } from './specimen.ts'

const pages = process.env.MEADOW_PAGES ?? fileURLToPath(new URL('../../build/web', import.meta.url))

export interface MeshHost {
  key: string
  /** Says goodbye. */
  close(): Promise<void>
  /** Is gone without a word, as a tab that crashed. */
  kill(): Promise<void>
}

export interface MeshSite {
  url: string
  mesh: RelayMesh
  /** Lends layers [from, to) of a specimen; resolves when the relay's table says so. `invitation`: in a private group, of which the relay knows nothing. */
  host(specimen: Specimen, from: number, to: number, invitation?: string): Promise<MeshHost>
  closeHosts(): Promise<void>
  /** The web server stops answering and its sockets end; the mesh behind it lives on. */
  goAway(): Promise<void>
  comeBack(): Promise<void>
  close(): Promise<void>
}

/** `ledger`: routes of one, mounted as on a relay (ledger-site.ts). */
export async function openMeshSite(specimens: Specimen[], ledger?: Hono): Promise<MeshSite> {
  checkPages(pages)
  const homes: string[] = []
  const newHome = async (): Promise<string> => {
    const home = await mkdtemp(join(tmpdir(), 'meadow-mesh-'))
    homes.push(home)
    return home
  }
  const store = openStore(await newHome())
  for (const specimen of specimens) await install(store, specimen)
  const mesh = await startRelayMesh({ store, version: 'test', direct: null, seed: false })
  const app = createApp({ store, pages, version: 'test', mesh, ledger })
  let server: RunningServer | null = await startServer(app, 0, '127.0.0.1', mesh.attach)
  const { port } = server
  const hosts = new Set<MeshHost>()
  /** Hosts that were killed: the relay's table keeps them until their records run out. */
  let ghosts = 0

  return {
    url: `http://localhost:${port}`,
    mesh,
    async host({ id }, from, to, invitation) {
      const home = await newHome()
      let serving = (): void => {}
      const served = new Promise<void>((resolve) => {
        serving = resolve
      })
      const running = await startHost({
        home,
        relay: new URL(`http://127.0.0.1:${port}`),
        identity: await takeIdentity(home, 'host'),
        modelIds: [id],
        segment: { from, to },
        threads: 1,
        memoryBytes: 512e6,
        onNotice: (notice) => {
          if (notice.of === 'host' && notice.what === 'state' && notice.state === 'serving') serving()
        },
        ...(invitation === undefined ? {} : { invitation }),
      })
      const key = running.peer.network.self
      const host: MeshHost = {
        key,
        async close() {
          if (hosts.delete(host)) await running.close()
        },
        async kill() {
          hosts.delete(host)
          ghosts++
          // Stopping the node may abort this very process, see Network.close.
          await running.peer.network.close(false)
        },
      }
      hosts.add(host)
      await served
      if (invitation === undefined)
        await until(async () => (await mesh.swarm()).models.some((model) => model.hosts.some((one) => one.peer === key && one.state === 'serving')))
      return host
    },
    async closeHosts() {
      for (const host of [...hosts]) await host.close()
      await until(async () => (await mesh.swarm()).hosts === ghosts, 150_000)
    },
    async goAway() {
      await server?.close()
      server = null
    },
    async comeBack() {
      server ??= await startServer(app, port, '127.0.0.1', mesh.attach)
    },
    async close() {
      for (const host of [...hosts]) await host.close()
      await mesh.close()
      await server?.close()
      for (const home of homes) await rm(home, { recursive: true, force: true })
    },
  }
}

/** Waits for a condition that nothing announces. */
export async function until(condition: () => Promise<boolean> | boolean, msMax = 60_000): Promise<void> {
  const end = Date.now() + msMax
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not so after ${msMax} ms`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
