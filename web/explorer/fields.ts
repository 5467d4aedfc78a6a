// Records and transactions as rows that people can read: a label, a text, and where it leads. One rule for each kind of value, by the field's name; new fields of the ledger
// show up by themselves. Pure.
import { hex } from '../../protocol/hash.ts'
import { creditText, spanText, timeText } from '../ledger/words.ts'
import { linkTo } from './route.ts'

export interface Field {
  label: string
  text: string
  /** Inside the explorer. */
  href?: string
  /** An id or bytes: set in a fixed-width face. */
  code?: boolean
}

const accounts = new Set(['account', 'requester', 'solver', 'owner', 'trainer', 'operator', 'claimant', 'auditor', 'producer', 'host', 'to', 'from', 'key'])
/** Names that say too little, or the wrong thing, when only taken apart. */
const labels: Record<string, string> = {
  m: 'Tokens of the answer',
  finalMs: 'Can be challenged until',
  untilMs: 'Until',
  closesMs: 'Closes',
  sinceMs: 'Since',
  timeMs: 'Time',
  activeMs: 'Active time',
  revealedMs: 'Revealed',
  deadlineMs: 'Deadline',
  openedMs: 'Opened',
  endedMs: 'Ended',
  endsMs: 'Ends',
  releaseMs: 'Released',
  genesisMs: 'Genesis',
  reportsFromMs: 'Reports from',
  maxTokens: 'Tokens at most',
  stopIds: 'Stops at token ids',
  held: 'Held until final',
  settled: 'Earned so far',
  reserved: 'Reserved, not yet earned',
  left: 'Left',
  roles: 'Roles',
  locked: 'Locked by open claims',
  granted: 'Had its grant',
  game: 'State of the game',
  core: 'Core of the manifest',
  logRoot: 'Root of the log',
}

const wordOf = (name: string): string => labels[name] ?? sentenceCase(name.replace(/Ms(Max|Min)?$/, '$1'))
const sentenceCase = (name: string): string => {
  const words = name.replace(/([a-z])([A-Z])/g, '$1 $2').toLowerCase()
  return words.charAt(0).toUpperCase() + words.slice(1)
}

const stops = ['', 'end of answer', 'longest answer', 'context full']
const privacies = ['open', 'escrow', 'sealed']

export function rolesText(roles: number): string {
  const names = ['host', 'auditor', 'validator'].filter((_, bit) => roles & (1 << bit))
  return names.length > 0 ? names.join(', ') : 'none'
}

const partsText = (value: number): string => `${value / 100} %`
/** Fields in parts of 10,000. */
const shares = new Set(['auditRate', 'auditRateNew', 'auditPay', 'modelShareMax', 'burn', 'treasury', 'producer', 'treasuryShare', 'lane', 'rate'])

/** One value by the name of its field; `parent` tells shares of a split from accounts of the same name. */
function valueOf(name: string, value: unknown, parent: string): Omit<Field, 'label'> {
  if (value === null || value === undefined) return { text: 'none' }
  if (typeof value === 'bigint') return { text: creditText(value) }
  if (typeof value === 'boolean') return { text: value ? 'yes' : 'no' }
  if (value instanceof Uint8Array) {
    if (value.length === 0) return { text: 'empty' }
    const text = hex(value)
    if (value.length !== 32) return value.length <= 64 ? { text, code: true } : { text: `${value.length.toLocaleString()} bytes` }
    if (accounts.has(name)) return { text, code: true, href: linkTo.record('account', text) }
    if (name === 'model') return { text, code: true, href: linkTo.record('model', text) }
    if (name === 'job' || name === 'input') return { text, code: true, href: linkTo.record('job', text) }
    if (name === 'dispute') return { text, code: true, href: linkTo.record('dispute', text) }
    // A session is a claim too: only a search can tell.
    if (name === 'claim') return { text, code: true, href: linkTo.find(text) }
    return { text, code: true }
  }
  if (typeof value === 'number') {
    if (/Ms(Max|Min)?$/.test(name)) return { text: value > 1e12 ? timeText(value) : value === 0 ? 'not yet' : spanText(value) }
    if (name === 'roles') return { text: rolesText(value) }
    if (name === 'stop') return { text: stops[value] ?? String(value) }
    if (name === 'privacy') return { text: privacies[value] ?? String(value) }
    if (shares.has(name) || parent === 'split') return { text: partsText(value) }
    if (name === 'height' || /Height$/.test(name)) return { text: value.toLocaleString(), ...(value > 0 ? { href: linkTo.block(value) } : {}) }
    return { text: value.toLocaleString() }
  }
  return { text: String(value) }
}

const isPlain = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)

/** Rows of a record or a transaction's body, in the order of its fields; what lies in it stands behind its name. */
export function fieldsOf(record: object, skip: readonly string[] = [], before = '', parent = ''): Field[] {
  return Object.entries(record).flatMap(([name, value]): Field[] => {
    if (skip.includes(name)) return []
    const label = before ? `${before} · ${wordOf(name).toLowerCase()}` : wordOf(name)
    if (isPlain(value)) return fieldsOf(value, [], label, name)
    if (Array.isArray(value)) {
      if (value.length === 0) return [{ label, text: 'none' }]
      if (!value.some(isPlain)) {
        if (value.some((one) => one instanceof Uint8Array)) return value.map((one, i) => ({ label: `${label} ${i + 1}`, ...valueOf(name, one, parent) }))
        return [{ label, text: value.join(', ') }]
      }
      return value.slice(0, 64).flatMap((one, i) => fieldsOf(one as object, [], `${label} ${i + 1}`, name))
    }
    return [{ label, ...valueOf(name, value, parent) }]
  })
}
