// Headers of the relay's answers: what a page may load, who may frame it, who may read it.

/**
 * 'wasm-unsafe-eval' allows compiling WASM and nothing else; img blob: data: are for pictures inside answers, which are never fetched from elsewhere.
 * connect-src 'self' covers WebSockets to this relay (CSP level 3); WebRTC is outside of it.
 */
const policy = (ancestors: string) =>
  [
    "default-src 'none'",
    "script-src 'self' 'wasm-unsafe-eval'",
    "style-src 'self'",
    "img-src 'self' blob: data:",
    "font-src 'self'",
    "connect-src 'self'",
    "worker-src 'self'",
    "manifest-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    `frame-ancestors ${ancestors}`,
  ].join('; ')
export const contentSecurityPolicy = policy("'none'")

const securityHeaders: Record<string, string> = {
  'Content-Security-Policy': contentSecurityPolicy,
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
}

/** Cards stand in frames of any site, and any page may load the script that puts them there: these paths alone, and only to be seen, not read. */
const embedHeaders: Record<string, string> = {
  ...securityHeaders,
  'Content-Security-Policy': policy('*'),
  'Cross-Origin-Resource-Policy': 'cross-origin',
}

/** Models are public and their shards are the web seed of torrents, which tabs of other relays may use too. A day of preflights remembered: one for all pieces. */
const modelHeaders: Record<string, string> = {
  ...securityHeaders,
  'Cross-Origin-Resource-Policy': 'cross-origin',
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Allow-Methods': 'GET, HEAD',
  'Access-Control-Allow-Headers': 'Range',
  'Access-Control-Expose-Headers': 'Accept-Ranges, Content-Length, Content-Range',
  'Access-Control-Max-Age': '86400',
}

/** What every answer under a path carries. */
export const headersOf = (path: string): Record<string, string> =>
  path.startsWith('/embed/') ? embedHeaders : path.startsWith('/models/') ? modelHeaders : securityHeaders
