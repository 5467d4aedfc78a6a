// Takes a fresh clone to a state in which the rest of Meadow runs: dependencies, Node 24, built files.
// Plain JavaScript without dependencies: it runs before anything is installed, under whatever Node (20 or later) is there.
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { patchLibraries } from './patch.mjs'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))
const bin = join(root, 'node_modules', '.bin')
export const node24 = join(bin, process.platform === 'win32' ? 'node.cmd' : 'node')

const nodeMajorMin = 20
if (Number(process.versions.node.split('.')[0]) < nodeMajorMin) {
  console.error(`Meadow needs Node ${nodeMajorMin} or later; this is Node ${process.versions.node}.`)
  process.exit(1)
}

/** The environment for everything started from here: Node 24 first, and fetch() honours HTTPS_PROXY as npm and pip do. */
export const environment = { ...process.env, PATH: `${bin}${process.platform === 'win32' ? ';' : ':'}${process.env.PATH ?? ''}`, NODE_USE_ENV_PROXY: '1' }

/**
 * Runs a program in the project's root with this terminal and passes signals on (a Ctrl-C may therefore reach it twice: from the terminal and from here).
 * Resolves to its exit code, 128 + n when signal n ended it.
 */
export function run(program, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: options.cwd ?? root,
      env: { ...environment, ...options.env },
      stdio: options.stdio ?? 'inherit',
      shell: process.platform === 'win32',
    })
    const pass = (signal) => child.kill(signal)
    // npm ends its shell, but not what runs in it: a server must not outlive the `npm start` that was stopped.
    const parent = process.ppid
    const watch = process.env.npm_lifecycle_event ? setInterval(() => process.ppid !== parent && child.kill('SIGTERM'), 500) : undefined
    process.on('SIGINT', pass)
    process.on('SIGTERM', pass)
    child.on('error', reject)
    child.on('exit', (code, signal) => {
      clearInterval(watch)
      process.off('SIGINT', pass)
      process.off('SIGTERM', pass)
      resolve(code ?? 128 + (constants.signals[signal] ?? 0))
    })
  })
}

/** Whether node_modules holds the versions of package-lock.json. npm writes what it installed to node_modules/.package-lock.json. */
export function isInstalled() {
  const installedPath = join(root, 'node_modules', '.package-lock.json')
  if (!existsSync(installedPath) || !existsSync(node24)) return false
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages
  const installed = JSON.parse(readFileSync(installedPath, 'utf8')).packages
  return Object.entries(wanted).every(([path, entry]) => {
    // Optional packages are those of other platforms.
    if (path === '' || entry.optional) return true
    return installed[path]?.version === entry.version
  })
}

/**
 * Installs what package-lock.json says. Not `npm ci`: it refuses a lock file that lacks the optional packages of some platform, and a registry that does not
 * carry them leads to such a lock; `--no-save` keeps the lock file as it is.
 */
export async function ensureInstalled() {
  if (isInstalled()) return patchLibraries()
  console.error('Installing dependencies (about 15 s with a fast network) …')
  // npm's own lines go to stderr: standard output belongs to the command that was asked for.
  const code = await run('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error'], { stdio: ['inherit', 2, 2] })
  if (code !== 0) throw new Error(`npm install failed with code ${code}.`)
  if (!existsSync(node24)) throw new Error('npm installed no node_modules/.bin/node; is `ignore-scripts` set in your npm configuration?')
  patchLibraries()
}

const skipped = new Set(['node_modules', '.git', 'build', 'test'])

/** Newest modification time below a path, of files with that ending. With no ending directories count too: a deleted file changes its directory. */
function newest(path, ending) {
  const stat = statSync(path)
  if (!stat.isDirectory()) return path.endsWith(ending) ? stat.mtimeMs : 0
  const times = readdirSync(path)
    .filter((name) => !skipped.has(name))
    .map((name) => newest(join(path, name), ending))
  return Math.max(ending === '' ? stat.mtimeMs : 0, ...times)
}

/** `sources` are paths, or [path, ending] for the files with that ending below a path. */
function isFresh(stamp, sources) {
  if (!existsSync(stamp)) return false
  const built = statSync(stamp).mtimeMs
  return sources.every((source) => {
    const [path, ending] = Array.isArray(source) ? source : [source, '']
    return !existsSync(join(root, path)) || newest(join(root, path), ending) <= built
  })
}

async function buildPart(name, sources, program, args) {
  const stamp = join(root, 'build', `.${name}`)
  if (isFresh(stamp, sources)) return
  console.error(`Building ${name} …`)
  const started = new Date()
  const code = await run(program, args, { stdio: ['inherit', 2, 2] })
  if (code !== 0) throw new Error(`Building ${name} failed with code ${code}.`)
  mkdirSync(dirname(stamp), { recursive: true })
  writeFileSync(stamp, '')
  // A source changed during the build is newer than the build's start.
  utimesSync(stamp, started, started)
}

/** Builds what is older than its sources: the WASM engine, and the pages unless `pages` is false (the command line does without them). */
export async function ensureBuilt({ pages = true } = {}) {
  await buildPart('wasm', [['protocol/engine', '.as.ts'], 'scripts/build-wasm.mjs', 'package-lock.json'], node24, ['scripts/build-wasm.mjs'])
  if (!pages) return
  const vite = join(root, 'node_modules', 'vite', 'bin', 'vite.js')
  await buildPart('web', ['protocol', 'ledger', 'mesh', 'web', 'vite.config.ts', 'scripts/build-wasm.mjs', 'package-lock.json'], node24, [
    vite,
    'build',
    '--logLevel',
    'warn',
  ])
}

/** Says what went wrong in one sentence and ends with code 1. */
export async function main(body) {
  try {
    process.exitCode = await body()
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error))
    process.exitCode = 1
  }
}
