// `npm run check`: types of every folder, the pages' types, lint and format. Also the first part of `npm test`.
import { spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ensureInstalled, environment, main, node24, root } from './bootstrap.mjs'

const folders = ['protocol', 'ledger', 'mesh', 'relay', 'web', 'web/workers', 'test']
const modules = join(root, 'node_modules')

function hasFiles(folder, ending) {
  const path = join(root, folder)
  return existsSync(path) && readdirSync(path, { recursive: true }).some((name) => String(name).endsWith(ending))
}

function checks() {
  const types = folders
    .filter((folder) => hasFiles(folder, '.ts'))
    .map((folder) => ({ name: `types ${folder}`, args: [join(modules, 'typescript', 'bin', 'tsc'), '-p', folder] }))
  const svelte = hasFiles('web', '.svelte')
    ? [
        {
          name: 'svelte-check',
          args: [join(modules, 'svelte-check', 'bin', 'svelte-check'), '--workspace', 'web', '--tsconfig', './tsconfig.json', '--output', 'human'],
        },
      ]
    : []
  return [...types, ...svelte, { name: 'biome', args: [join(modules, '@biomejs', 'biome', 'bin', 'biome'), 'check', '--max-diagnostics=30', '.'] }]
}

/** Runs one check quietly; its output is shown only when it fails. */
function runCheck({ name, args }) {
  return new Promise((resolve) => {
    const child = spawn(node24, args, { cwd: root, env: environment, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    child.stdout.on('data', (data) => (output += data))
    child.stderr.on('data', (data) => (output += data))
    child.on('error', (error) => resolve({ name, ok: false, output: error.message }))
    child.on('exit', (code) => resolve({ name, ok: code === 0, output }))
  })
}

/** Runs all checks, two at a time, and prints one line for each. */
export async function runChecks() {
  const queue = checks()
  let passed = 0
  let failed = 0
  const work = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const { name, ok, output } = await runCheck(next)
      console.log(`${ok ? 'ok  ' : 'FAIL'} ${name}`)
      if (!ok) console.log(output.trimEnd())
      if (ok) passed++
      else failed++
    }
  }
  await Promise.all([work(), work()])
  return { passed, failed }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await main(async () => {
    await ensureInstalled()
    const { passed, failed } = await runChecks()
    console.log(`${passed} passed, ${failed} failed`)
    return failed === 0 ? 0 : 1
  })
}
