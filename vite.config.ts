// The pages: one entry per page, built to build/web and served by relay/server.ts.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig, type Plugin } from 'vite'

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url))

// Threads in WASM need a cross-origin isolated page; the relay sends the same headers.
const isolation = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' }

/** libp2p and webtorrent (0.8 MB) are of no use without a relay: whoever never takes part need not have them. */
const onlyWithPeers = /^assets\/(mesh-node|webtorrent\.min)-/

const head = `<meta name="theme-color" media="(prefers-color-scheme: light)" content="#fafaf6" />
    <meta name="theme-color" media="(prefers-color-scheme: dark)" content="#121511" />
    <link rel="icon" href="/icon.svg" type="image/svg+xml" />
    <link rel="manifest" href="/app.webmanifest" />
    <script src="/theme.js"></script>`

/** What the heads of all pages share; cards on other sites have theirs. */
const sharedHead = (): Plugin => ({
  name: 'meadow-head',
  transformIndexHtml: { order: 'pre', handler: (html) => html.replace('<!-- head -->', head) },
})

/** Tells the service worker (web/sw.ts) which files there are, under a version that changes with any of them. */
function precache(publicFolder: string): Plugin {
  return {
    name: 'meadow-precache',
    apply: 'build',
    generateBundle: {
      order: 'post',
      handler(_options, bundle) {
        const worker = bundle['sw.js']
        if (worker?.type !== 'chunk') return this.error('the service worker sw.js is not among the chunks')
        const hash = createHash('sha256')
        const paths: string[] = []
        for (const [name, item] of Object.entries(bundle).sort(([a], [b]) => (a < b ? -1 : 1))) {
          if (name === 'sw.js' || name.endsWith('.map') || onlyWithPeers.test(name)) continue
          paths.push(`/${name.replace(/(^|\/)index\.html$/, '$1')}`)
          hash.update(name).update(item.type === 'chunk' ? item.code : item.source)
        }
        for (const name of readdirSync(publicFolder).sort()) {
          paths.push(`/${name}`)
          hash.update(name).update(readFileSync(`${publicFolder}/${name}`))
        }
        hash.update(worker.code)
        worker.code = `self.meadowVersion = '${hash.digest('hex').slice(0, 16)}'\nself.meadowFiles = ${JSON.stringify(paths)}\n${worker.code}`
      },
    },
  }
}

/** Smaller copies beside every text, which the relay sends to browsers that take them. Brotli is for secure pages only, hence both. */
function precompress(): Plugin {
  return {
    name: 'meadow-precompress',
    apply: 'build',
    writeBundle({ dir }) {
      for (const name of readdirSync(dir!, { recursive: true }) as string[]) {
        if (!/\.(js|css|html|svg|webmanifest)$/.test(name)) continue
        const bytes = readFileSync(`${dir}/${name}`)
        writeFileSync(`${dir}/${name}.gz`, gzipSync(bytes, { level: 9 }))
        writeFileSync(
          `${dir}/${name}.br`,
          brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } }),
        )
      }
    },
  }
}

export default defineConfig({
  root: at('./web'),
  appType: 'mpa',
  plugins: [sharedHead(), svelte(), precache(at('./web/public')), precompress()],
  build: {
    outDir: at('./build/web'),
    emptyOutDir: true,
    target: 'es2024',
    // data: URLs are not in the content security policy.
    assetsInlineLimit: 0,
    // The preload polyfill would be one more script for browsers that cannot run the engine anyway.
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: {
        home: at('./web/index.html'),
        chat: at('./web/chat/index.html'),
        contribute: at('./web/contribute/index.html'),
        swarm: at('./web/swarm/index.html'),
        explorer: at('./web/explorer/index.html'),
        account: at('./web/account/index.html'),
        embedChat: at('./web/embed/chat/index.html'),
        embedContribute: at('./web/embed/contribute/index.html'),
        'embed/v1': at('./web/embed/v1.ts'),
        sw: at('./web/sw.ts'),
      },
      // A service worker's address must not change with its content, and decides what it may control; the embed's stands in other people's pages.
      output: { entryFileNames: ({ name }) => (name === 'sw' || name === 'embed/v1' ? `${name}.js` : 'assets/[name]-[hash].js') },
    },
  },
  worker: { format: 'es' },
  // Models and the mesh come from a relay that runs beside the development server (`npm start`).
  server: {
    headers: isolation,
    fs: { allow: [at('.')] },
    proxy: {
      ...Object.fromEntries(
        ['/models', '/health', '/mesh.json', '^/swarm$', '/swarm/events', '/v1', '^/ledger/'].map((path) => [path, 'http://localhost:8787']),
      ),
      ...Object.fromEntries(['^/mesh$', '^/tracker$'].map((path) => [path, { target: 'ws://localhost:8787', ws: true }])),
    },
  },
  preview: { headers: isolation },
})
