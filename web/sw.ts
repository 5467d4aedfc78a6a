// The service worker: the pages without a network. It holds pages and assets only; models live in OPFS and are never asked for again.
// `self.meadowFiles` and `self.meadowVersion` are written above this file by the build (web/precache.ts).
interface Scope {
  meadowFiles: string[]
  meadowVersion: string
  clients: { claim(): Promise<void> }
  addEventListener(type: 'install' | 'activate', listener: (event: { waitUntil(work: Promise<unknown>): void }) => void): void
  addEventListener(type: 'fetch', listener: (event: { request: Request; respondWith(response: Promise<Response>): void }) => void): void
}
const scope = self as unknown as Scope
const cacheName = `meadow-pages-${scope.meadowVersion}`
/** A relay that does not answer a page in this time counts as away. */
const pageMsMax = 3000

async function install(): Promise<void> {
  const cache = await caches.open(cacheName)
  await cache.addAll(scope.meadowFiles.map((path) => new Request(path, { cache: 'no-cache' })))
}

/** Runs when no page of an older version is open, so nobody needs the older files. */
async function activate(): Promise<void> {
  for (const name of await caches.keys()) if (name.startsWith('meadow-pages-') && name !== cacheName) await caches.delete(name)
  await scope.clients.claim()
}

/** `/chat` and `/chat/` are one page. */
async function cachedPage(url: URL): Promise<Response | undefined> {
  const cache = await caches.open(cacheName)
  const path = url.pathname.endsWith('/') ? url.pathname : `${url.pathname}/`
  return (await cache.match(path)) ?? (await cache.match(url.pathname))
}

/** The relay's newest, unless it is away or slow. */
async function page(request: Request): Promise<Response> {
  const cached = cachedPage(new URL(request.url))
  try {
    return await fetch(request, (await cached) ? { signal: AbortSignal.timeout(pageMsMax) } : {})
  } catch (error) {
    const response = await cached
    if (response) return response
    throw error
  }
}

async function asset(request: Request): Promise<Response> {
  return (await caches.match(request, { ignoreVary: true })) ?? fetch(request)
}

scope.addEventListener('install', (event) => event.waitUntil(install()))
scope.addEventListener('activate', (event) => event.waitUntil(activate()))
scope.addEventListener('fetch', (event) => {
  const { request } = event
  const url = new URL(request.url)
  if (request.method !== 'GET' || url.origin !== location.origin) return
  if (request.mode === 'navigate') event.respondWith(page(request))
  else if (scope.meadowFiles.includes(url.pathname)) event.respondWith(asset(request))
})
