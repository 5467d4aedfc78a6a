// A relay with a ledger for one test file: real server, real ledger in memory, people with money, blocks when a test says so.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { BrowserContext, Page } from 'playwright-core'
import type { Parameters } from '../../ledger/genesis.ts'
import { ledgerRoutes } from '../../relay/ledger/api.ts'
import { checkPages, createApp, type RunningServer, startServer } from '../../relay/server.ts'
import { openStore } from '../../relay/store.ts'
import { openStage, type Stage } from '../relay/ledger/stage.ts'

const pages = process.env.MEADOW_PAGES ?? fileURLToPath(new URL('../../build/web', import.meta.url))

export interface LedgerSite {
  url: string
  stage: Stage
  goAway(): Promise<void>
  comeBack(): Promise<void>
  close(): Promise<void>
}

/** `faucet` false: the relay is not the operator. */
export async function openLedgerSite(change: Partial<Parameters> = {}, faucet = true): Promise<LedgerSite> {
  checkPages(pages)
  const home = await mkdtemp(join(tmpdir(), 'meadow-ledger-'))
  const stage = openStage(change)
  const routes = ledgerRoutes(stage.node, {
    operatorSecret: faucet ? stage.who('operator').secret : null,
    grants: { perSecond: 10, burst: 100 },
    reads: { perSecond: 1000, burst: 10_000 },
  })
  const app = createApp({ store: openStore(home), pages, version: 'test', ledger: routes })
  let server: RunningServer | null = await startServer(app, 0, '127.0.0.1')
  const { port } = server
  return {
    url: `http://localhost:${port}`,
    stage,
    async goAway() {
      await server?.close()
      server = null
    },
    async comeBack() {
      server ??= await startServer(app, port, '127.0.0.1')
    },
    async close() {
      await server?.close()
      stage.node.close()
      await rm(home, { recursive: true, force: true })
    },
  }
}

/** A page that reports what it should not do: errors, broken policy, requests to anyone but its relay. */
export async function openLedgerPage(context: BrowserContext, site: LedgerSite, path: string): Promise<{ page: Page; complaints: string[] }> {
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('console', (message) => {
    if (message.type() === 'error' && !/Failed to load resource|net::ERR/.test(message.text())) complaints.push(message.text())
  })
  page.on('request', (request) => {
    if (!request.url().startsWith(site.url) && !/^(blob|data):/.test(request.url())) complaints.push(`request to a stranger: ${request.url()}`)
  })
  await page.goto(site.url + path)
  return { page, complaints }
}
