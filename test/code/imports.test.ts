import { isBuiltin } from 'node:module'
import { expect, test } from 'vitest'
import { filesOf, type Import, importsOf } from './sources.ts'

/** What each folder may import besides itself. The first folder that a path lies in decides: web/workers before web. */
const allowed: [folder: string, targets: string[]][] = [
  ['protocol', []],
  ['ledger', ['protocol']],
  ['mesh', ['protocol']],
  ['relay', ['ledger', 'mesh', 'protocol', 'package.json']],
  ['web/workers', ['protocol', 'build']],
  ['web', ['ledger', 'mesh', 'protocol', 'build']],
]
const files = filesOf('{protocol,ledger,mesh,relay,web}/**/*.{ts,svelte}').filter((path) => !path.endsWith('.as.ts'))

const within = (path: string, folder: string) => path === folder || path.startsWith(`${folder}/`)

/** The import a file must not have, in words; undefined when it is fine. */
function complaint(path: string, { specifier, target }: Import): string | undefined {
  const [folder, targets] = allowed.find(([name]) => within(path, name))!
  if (target === null) {
    const node = isBuiltin(specifier)
    return node && folder !== 'relay' ? `${path} imports ${specifier}, which only relay may` : undefined
  }
  // Pages and built files of the relay's are named by URL, not imported.
  if (folder === 'relay' && (within(target, 'build') || within(target, 'test/bench') || !target.includes('.'))) return undefined
  return [folder, ...targets].some((name) => within(target, name))
    ? undefined
    : `${path} imports ${target}, but ${folder} may import only ${targets.join(', ') || 'itself'}`
}

test('folders import only in the allowed directions', () => {
  expect(files.length).toBeGreaterThan(20)
  expect(files.flatMap((path) => importsOf(path).map((one) => complaint(path, one))).filter(Boolean)).toEqual([])
})

test('a forbidden import would be found', () => {
  const complain = (path: string, code: string) => importsOf(path, code).map((one) => complaint(path, one))
  expect(complain('protocol/engine/x.ts', "import { a } from '../../relay/store.ts'")[0]).toMatch(/may import only itself/)
  expect(complain('protocol/x.ts', "import {\n  a,\n  b,\n} from 'node:fs'")[0]).toMatch(/only relay may/)
  expect(complain('mesh/x.ts', "import { a } from '../relay/store.ts'")[0]).toMatch(/mesh may import only protocol/)
  expect(complain('ledger/x.ts', "import type { A } from '../web/a.ts'")[0]).toMatch(/may import only protocol/)
  expect(complain('web/workers/x.ts', "const a = await import('../ui/a.ts')")[0]).toMatch(/web\/workers may import only/)
  expect(complain('web/x.ts', "new Worker(new URL('../relay/a.ts', import.meta.url))")[0]).toMatch(/web may import only/)
  expect(complain('web/x.svelte', "import W from './workers/engine.ts?worker'")).toEqual([undefined])
})

test('no file of the project imports itself through others', () => {
  const graph = new Map(
    filesOf('{protocol,ledger,mesh,relay,web,test}/**/*.{ts,svelte}').map((path) => [
      path,
      importsOf(path)
        .filter((one) => !one.typeOnly && one.target !== null)
        .map((one) => one.target!),
    ]),
  )
  expect(cyclesOf(graph)).toEqual([])
  expect(
    cyclesOf(
      new Map([
        ['a', ['b']],
        ['b', ['c']],
        ['c', ['b']],
      ]),
    ),
  ).toEqual(['b -> c -> b'])
})

function cyclesOf(graph: Map<string, string[]>): string[] {
  const cycles: string[] = []
  const done = new Set<string>()
  const trail: string[] = []
  const visit = (path: string): void => {
    const at = trail.indexOf(path)
    if (at >= 0) return void cycles.push([...trail.slice(at), path].join(' -> '))
    if (done.has(path)) return
    trail.push(path)
    for (const next of graph.get(path) ?? []) visit(next)
    trail.pop()
    done.add(path)
  }
  for (const path of graph.keys()) visit(path)
  return cycles
}
