// What the tests of the code about the code read: the project's own files, and what they import.
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../../', import.meta.url))

/** Project files matching a glob, as paths from the root with forward slashes. */
export function filesOf(pattern: string): string[] {
  return globSync(pattern, {
    cwd: root,
    exclude: (path) => /(^|[/\\])(node_modules|build|\.cache|\.git)([/\\]|$)/.test(typeof path === 'string' ? path : String(path)),
  })
    .map((path) => path.replaceAll('\\', '/'))
    .sort()
}

export const read = (path: string): string => readFileSync(join(root, path), 'utf8')

/** Code without comments and without what stands in quotes. */
export function bare(code: string): string {
  return code.replace(/\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g, (match) => match.replace(/[^\n]/g, ' '))
}

export interface Import {
  /** As written. */
  specifier: string
  /** Path from the root, when it is a file of the project. */
  target: string | null
  /** `import type`: gone at run time. */
  typeOnly: boolean
}

/** Everything a file imports, also dynamically and as a worker or asset through new URL(…, import.meta.url). */
export function importsOf(path: string, code: string = read(path)): Import[] {
  const text = code.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/[^\n]*$/gm, '')
  const found: Import[] = []
  const add = (specifier: string, typeOnly: boolean) => {
    const file = specifier.replace(/[?#].*$/, '')
    found.push({ specifier, typeOnly, target: file.startsWith('.') ? relative(root, join(root, dirname(path), file)).replaceAll('\\', '/') : null })
  }
  for (const match of text.matchAll(/\b(?:import|export)\s+(type\s+)?(?:[\w$*{}\s,]+?\s+from\s*)?['"]([^'"\n]+)['"]/g)) add(match[2]!, Boolean(match[1]))
  for (const match of text.matchAll(/\bimport\(\s*['"]([^'"\n]+)['"]/g)) add(match[1]!, false)
  for (const match of text.matchAll(/new URL\(\s*['"](\.[^'"\n]+)['"]\s*,\s*import\.meta\.url/g)) add(match[1]!, false)
  return found
}
