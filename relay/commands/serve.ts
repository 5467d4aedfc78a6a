// `meadow serve`: the pages and the models, at an address.

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { command, integerOption, interrupted, printJson, say } from '../cli.ts'
import { isCancelled, messageOf } from '../errors.ts'
import { findOrAddModel } from '../models.ts'
import { checkPages, createApp, startServer } from '../server.ts'
import { openStore } from '../store.ts'
import { jsonOption, modelOption } from './options.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

export const serve = command({
  meta: { name: 'serve', description: 'Serve the pages and the models to browsers' },
  args: {
    port: { type: 'string', valueHint: 'n', description: 'Port (default: PORT, else 8787)' },
    host: { type: 'string', valueHint: 'address', default: 'localhost', description: 'Address to listen on; 0.0.0.0 lets other machines in' },
    model: { ...modelOption, description: 'Model that must be there before the server starts (default: the default model)' },
    pages: { type: 'string', valueHint: 'folder', description: 'Folder of the built pages (default: build/web)' },
    json: { ...jsonOption, description: 'Print the address as a JSON object' },
  },
  async run({ args }) {
    const port = integerOption('port', args.port ?? (process.env.PORT || undefined), 0, 65_535) ?? 8787
    const pages = args.pages ?? `${root}build/web`
    const { version } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as { version: string }
    checkPages(pages)
    const store = openStore()
    // Listening first: a taken port should be said before a long download.
    const server = await startServer(createApp({ store, pages, version }), port, args.host)
    try {
      await findOrAddModel(store, args.model).catch(async (error) => {
        const others = await store.list()
        if (isCancelled(error, interrupted) || others.length === 0) throw error
        say(`${messageOf(error)} Serving without it: ${others.map((model) => model.manifest.core.name).join(', ')}.`)
      })
      const address = `http://${args.host === '0.0.0.0' || args.host === '::' ? 'localhost' : args.host}:${server.port}/`
      if (args.json) printJson({ address, port: server.port })
      else process.stdout.write(`Meadow is at ${address} (stop with Ctrl-C)\n`)
      await untilInterrupted()
    } finally {
      await server.close()
    }
  },
})

function untilInterrupted(): Promise<void> {
  return new Promise((resolve) => {
    if (interrupted.aborted) resolve()
    else interrupted.addEventListener('abort', () => resolve(), { once: true })
  })
}
