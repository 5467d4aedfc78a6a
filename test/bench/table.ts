// The bench's tables for people, in Markdown, so that they can go into the README as they are.
import type { Bar } from './bars/bar.ts'
import type { Row } from './contest.ts'

function table(head: string[], lines: string[][]): string {
  const widths = head.map((title, i) => Math.max(title.length, ...lines.map((line) => line[i].length)))
  const draw = (line: string[]): string => `| ${line.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`
  return [draw(head), `|${widths.map((w) => '-'.repeat(w + 2)).join('|')}|`, ...lines.map(draw)].join('\n')
}

const speed = (value: number): string => value.toFixed(value < 100 ? 1 : 0)

export const rowTable = (rows: Row[]): string =>
  table(
    ['engine', 'host', 'backend', 'threads', 'prefill tokens/s', 'decode tokens/s'],
    rows.map((r) => [r.engine, r.host, r.backend, String(r.threads), speed(r.prefill), speed(r.decode)]),
  )

export const barTable = (bars: Bar[]): string =>
  table(
    ['promise', 'measured', 'bar', ''],
    bars.map((b) => [b.name, `${b.value} ${b.unit}`, String(b.bar), b.ok ? 'met' : 'missed']),
  )
