// Resumable HTTP downloads. Bytes go to `<target>.part`; what they are a part of stands in `<target>.part.json`; only complete, checked files get the
// target's name. Refuses plain http except on this machine.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { codeOf, isCancelled, isDiskFull, messageOf, RelayError } from './errors.ts'

export interface DownloadOptions {
  /** Expected SHA-256 (hex) and size; null where not known. */
  sha256?: string | null
  bytes?: number | null
  headers?: Record<string, string>
  signal?: AbortSignal
  onProgress?: (done: number, total: number) => void
  /** Waits before another try; an argument so that tests need not wait. */
  pause?: (ms: number, signal?: AbortSignal) => Promise<void>
}

/** Tries after a connection that brought bytes and broke; the count starts again whenever bytes arrive. */
const triesMax = 5
/** Tries when no connection was ever made: another source is likely to be faster than waiting. */
const firstTriesMax = 2
const pauseMsFirst = 500
/** A server that sends nothing for this long is given up on. */
const silenceMsMax = 30_000

const pauseReal = (ms: number, signal?: AbortSignal) =>
  new Promise<void>((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort)
      resolve()
    }, ms)
    signal?.addEventListener('abort', abort, { once: true })
  })

/** What a .part file is a part of. */
interface PartState {
  url: string
  /** Strong ETag or, lacking one, Last-Modified; '' when the server gave neither (then only a hash makes resuming safe). */
  validator: string
}

/** The answer cannot get better by asking again. */
class FinalError extends RelayError {}

/**
 * Fetches `url` into the file `target` and returns its SHA-256 (hex). Goes on from an earlier part if the server still has the same file.
 * Throws RelayError in one sentence; what arrived so far stays for the next call, unless it proved wrong.
 */
export async function download(url: string, target: string, options: DownloadOptions = {}): Promise<string> {
  checkUrl(url)
  const { signal, pause = pauseReal } = options
  await mkdir(dirname(target), { recursive: true })
  let everReceived = false
  for (let failures = 0; ; ) {
    signal?.throwIfAborted()
    try {
      await attempt(url, target, options, () => {
        everReceived = true
        failures = 0
      })
      break
    } catch (error) {
      if (isCancelled(error, signal)) throw signal?.reason ?? error
      if (isDiskFull(error)) throw new RelayError(`The disk is full: ${target} could not be written.`)
      if (error instanceof FinalError) throw error
      failures++
      // A name that does not resolve will not resolve in a second either.
      const hopeless = ['ENOTFOUND', 'EAI_AGAIN'].includes(codeOf(error instanceof Error ? error.cause : undefined)) && !everReceived
      if (hopeless || failures >= (everReceived ? triesMax : firstTriesMax)) throw new RelayError(`${url} could not be read: ${messageOf(error)}.`)
      await pause(pauseMsFirst * 2 ** (failures - 1), signal)
    }
  }
  const part = `${target}.part`
  const actual = await sha256File(part, signal)
  const { sha256 } = options
  if (sha256 && actual !== sha256) {
    await rm(part, { force: true })
    await rm(`${part}.json`, { force: true })
    throw new RelayError(`${url} is not the expected file: its SHA-256 is ${actual}, expected ${sha256}.`)
  }
  await rename(part, target)
  await rm(`${part}.json`, { force: true })
  return actual
}

function checkUrl(url: string): void {
  const parsed = URL.parse(url)
  if (!parsed) throw new FinalError(`${url} is not a URL.`)
  const local = ['localhost', '127.0.0.1', '[::1]'].includes(parsed.hostname)
  if (parsed.protocol !== 'https:' && !(parsed.protocol === 'http:' && local)) throw new FinalError(`${url} is not an https address.`)
}

async function attempt(url: string, target: string, options: DownloadOptions, onReceived: () => void): Promise<void> {
  const part = `${target}.part`
  const state = await readState(`${part}.json`)
  let have = await sizeOf(part)
  const mayResume = have > 0 && state?.url === url && (state.validator !== '' || Boolean(options.sha256))
  if (!mayResume) have = 0
  if (have > 0 && have === options.bytes) return

  const silence = new AbortController()
  const timer = setTimeout(() => silence.abort(new Error(`no answer for ${silenceMsMax / 1000} s`)), silenceMsMax)
  const signal = options.signal ? AbortSignal.any([options.signal, silence.signal]) : silence.signal
  try {
    const headers: Record<string, string> = { ...options.headers }
    // Offsets count the stored bytes: no compression on the way.
    headers['accept-encoding'] = 'identity'
    if (have > 0) headers.range = `bytes=${have}-`
    if (have > 0 && state?.validator) headers['if-range'] = state.validator
    const response = await fetch(url, { headers, signal })
    checkUrl(response.url)
    const total = totalOf(response, have)
    if (response.status === 416) {
      await response.body?.cancel()
      // Either everything is there already, or the file became shorter.
      if (total === have && have > 0) return
      await rm(part, { force: true })
      throw new Error('the file changed on the server')
    }
    if (response.status !== 200 && response.status !== 206) {
      await response.body?.cancel()
      const sentence = `${url} answered ${response.status}${response.statusText ? ` ${response.statusText}` : ''}`
      if (response.status >= 500 || response.status === 429 || response.status === 408) throw new Error(sentence)
      throw new FinalError(`${sentence}.`)
    }
    const start = response.status === 206 ? rangeStart(response) : 0
    if (start > have) throw new FinalError(`${url} sent bytes from ${start}, asked from ${have}.`)
    if (options.bytes && total > 0 && total !== options.bytes) {
      await response.body?.cancel()
      throw new FinalError(`${url} is not the expected file: it has ${total} bytes, expected ${options.bytes}.`)
    }
    const etag = response.headers.get('etag') ?? ''
    const validator = etag !== '' && !etag.startsWith('W/') ? etag : (response.headers.get('last-modified') ?? '')
    await writeFile(`${part}.json`, JSON.stringify({ url, validator } satisfies PartState))
    const file = await open(part, start > 0 ? 'r+' : 'w')
    let position = start
    try {
      options.onProgress?.(position, total)
      for await (const chunk of response.body ?? []) {
        timer.refresh()
        await file.writev([chunk], position)
        position += chunk.length
        if (total > 0 && position > total) throw new FinalError(`${url} sent more than the ${total} bytes it announced.`)
        onReceived()
        options.onProgress?.(position, total)
      }
      await file.sync()
    } finally {
      await file.close()
    }
    if (total > 0 && position < total) throw new Error(`the connection ended at ${position} of ${total} bytes`)
  } finally {
    clearTimeout(timer)
  }
}

/** Total size by Content-Range or Content-Length, 0 when not said. */
function totalOf(response: Response, have: number): number {
  const range = /\/(\d+)$/.exec(response.headers.get('content-range') ?? '')
  if (range) return Number(range[1])
  const length = Number(response.headers.get('content-length') ?? 0)
  if (length === 0 || response.headers.has('content-encoding')) return 0
  return response.status === 206 ? have + length : length
}

function rangeStart(response: Response): number {
  const range = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')
  if (!range) throw new FinalError(`${response.url} sent a part without saying which.`)
  return Number(range[1])
}

async function readState(path: string): Promise<PartState | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'))
    if (
      typeof value === 'object' &&
      value !== null &&
      'url' in value &&
      'validator' in value &&
      typeof value.url === 'string' &&
      typeof value.validator === 'string'
    )
      return { url: value.url, validator: value.validator }
  } catch {
    // Missing or torn: start again.
  }
  return undefined
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size
  } catch {
    return 0
  }
}

/** SHA-256 of a file, hex. */
export async function sha256File(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20, signal })) hash.update(chunk)
  return hash.digest('hex')
}
