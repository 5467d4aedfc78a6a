import { expect, test } from 'vitest'
import { filesOf, read } from './sources.ts'

test('package-lock.json names no registry host', () => {
  const lock = JSON.parse(read('package-lock.json')) as { packages: Record<string, { version?: string; resolved?: string }> }
  expect(Object.keys(lock.packages).length).toBeGreaterThan(100)
  expect(Object.entries(lock.packages).filter(([, entry]) => entry.resolved)).toEqual([])
})

test('package.json asks for exact versions, the ones that package-lock.json has', () => {
  const { dependencies, devDependencies } = JSON.parse(read('package.json')) as Record<string, Record<string, string>>
  const lock = JSON.parse(read('package-lock.json')) as { packages: Record<string, { version?: string }> }
  const wanted = Object.entries({ ...dependencies, ...devDependencies })
  expect(wanted.filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([])
  expect(wanted.filter(([name, version]) => lock.packages[`node_modules/${name}`]?.version !== version)).toEqual([])
})

test('files are short (over 500 lines: a warning, over 800: an error)', () => {
  const long = filesOf('{protocol,ledger,relay,web,test,scripts}/**/*.{ts,mjs,svelte,wgsl}')
    .map((path) => ({ path, lines: read(path).split('\n').length }))
    .filter(({ lines }) => lines > 500)
  if (long.length > 0) console.warn(`usually two ideas: ${long.map(({ path, lines }) => `${path} (${lines} lines)`).join(', ')}`)
  expect(long.filter(({ lines }) => lines > 800)).toEqual([])
})

test('every folder with code has its tsconfig', () => {
  expect(filesOf('{protocol,ledger,relay,web,test}/**/tsconfig.json')).toEqual(
    ['ledger', 'protocol', 'relay', 'test', 'web', 'web/workers'].map((folder) => `${folder}/tsconfig.json`),
  )
})
