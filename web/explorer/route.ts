// Addresses inside the explorer: what stands behind the # of its links, so that every view can be linked to and the browser's own back and forward work. Pure.

/** Lists and single pages. */
export const sections = [
  ['', 'Overview'],
  ['blocks', 'Blocks'],
  ['transactions', 'Transactions'],
  ['models', 'Models'],
  ['jobs', 'Jobs'],
  ['sessions', 'Sessions'],
  ['stakes', 'Stakes'],
  ['disputes', 'Disputes'],
  ['accounts', 'Accounts'],
  ['supply', 'Supply'],
  ['parameters', 'Parameters'],
] as const
export type Section = (typeof sections)[number][0]

/** Kinds of records that have a view of their own, by the word in the address. */
export const kinds = ['model', 'job', 'claim', 'session', 'dispute', 'account'] as const
export type Kind = (typeof kinds)[number]

export type Route =
  | { view: 'section'; section: Section }
  | { view: 'block'; height: number }
  | { view: 'transaction'; id: string }
  | { view: 'record'; kind: Kind; id: string }
  /** Any other record of the state by its key: channel/<owner>/<n>, epoch/<n>, … */
  | { view: 'key'; key: string }
  | { view: 'find'; text: string }
  | { view: 'unknown'; text: string }

const id64 = /^[0-9a-f]{64}$/

/** `hash` as in location.hash. */
export function routeOf(hash: string): Route {
  const text = decodeText(hash.replace(/^#\/?/, ''))
  const [word, ...rest] = text.split('/')
  if (rest.length === 0 && sections.some(([section]) => section === word)) return { view: 'section', section: word as Section }
  const [id] = rest
  if (word === 'block' && /^\d{1,15}$/.test(id ?? '')) return { view: 'block', height: Number(id) }
  if (word === 'tx' && id64.test(id ?? '')) return { view: 'transaction', id }
  if (rest.length === 1 && (kinds as readonly string[]).includes(word) && id64.test(id)) return { view: 'record', kind: word as Kind, id }
  if (word === 'key' && rest.length > 0 && /^[a-z]+(\/[0-9a-z]+)*$/.test(rest.join('/'))) return { view: 'key', key: rest.join('/') }
  if (word === 'find' && rest.length > 0) return { view: 'find', text: rest.join('/') }
  return { view: 'unknown', text }
}

const decodeText = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

export const linkTo = {
  block: (height: number): string => `#/block/${height}`,
  transaction: (id: string): string => `#/tx/${id}`,
  record: (kind: Kind, id: string): string => `#/${kind}/${id}`,
  key: (key: string): string => `#/key/${key}`,
  find: (text: string): string => `#/find/${encodeURIComponent(text)}`,
}

/** Where a search leads at once: a block number, or an id whose kind only the relay can tell; null for what is neither. */
export function searchRoute(typed: string): string | null {
  const text = typed
    .trim()
    .toLowerCase()
    .replace(/[,.\s]/g, '')
  if (/^\d{1,12}$/.test(text)) return linkTo.block(Number(text))
  if (/^[0-9a-f]{4,64}$/.test(text)) return linkTo.find(text)
  return null
}
