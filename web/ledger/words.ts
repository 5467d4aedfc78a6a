// Money, times and happenings of the ledger in plain words. Pure.
import { credit, formatAmount, parseAmount } from '../../ledger/amount.ts'

/** "1,234.5" */
export function amountText(value: bigint): string {
  const sign = value < 0n ? '−' : ''
  const [whole, rest] = formatAmount(value < 0n ? -value : value).split('.')
  return `${sign}${whole.replace(/\B(?=(\d{3})+$)/g, ',')}${rest ? `.${rest}` : ''}`
}

/** "1.5 credits", "1 credit". */
export const creditText = (value: bigint): string => `${amountText(value)} ${value === credit ? 'credit' : 'credits'}`

/** "0.5" or "1,234" typed by a person, in µ; a sentence in place of a number when it is none. */
export function amountTyped(text: string): bigint | string {
  const plain = text.trim().replaceAll(',', '')
  if (plain === '') return ''
  try {
    const amount = parseAmount(plain)
    return amount > 0n ? amount : 'The amount must be more than nothing.'
  } catch {
    return 'Type a number of credits, with at most six digits after the point.'
  }
}

export const timeText = (ms: number): string => new Date(ms).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' })

/** "2 days", "90 s": a span. */
export function spanText(ms: number): string {
  if (ms < 1000) return `${ms} ms`
  const units: [number, string][] = [
    [86_400_000, 'day'],
    [3_600_000, 'hour'],
    [60_000, 'minute'],
    [1000, 'second'],
  ]
  const [size, name] = units.find(([size]) => ms >= size)!
  const count = Math.round((ms / size) * 10) / 10
  return `${count} ${name}${count === 1 ? '' : 's'}`
}

/** Beginning and end of an id. */
export const shortId = (id: string): string => (id.length > 14 ? `${id.slice(0, 8)}…${id.slice(-4)}` : id)

const happenings: Record<string, string> = {
  received: 'Received',
  sent: 'Sent',
  paid: 'Paid',
  refunded: 'Returned',
  reserved: 'Put into a channel or escrow',
  held: 'Held until the window closes',
  staked: 'Staked',
  unbonding: 'Leaving the stake',
  released: 'Back from the stake',
  drawn: 'Drawn as auditor',
  audited: 'Audit done',
  missed: 'Audit missed',
  minted: 'Minted for audited work',
  granted: 'Granted by the faucet',
  slashed: 'Taken from the stake',
  bond: 'Bond put up',
  verdict: 'Verdict of a dispute',
  created: 'Session or job begun',
  ended: 'Session ended, rest returned',
}
export const happeningText = (type: string): string => happenings[type] ?? type

/** Whether an event brought money (+1), took it (−1), or neither. */
export const signOf = (type: string): -1 | 0 | 1 =>
  ['received', 'paid', 'refunded', 'released', 'minted', 'granted'].includes(type)
    ? 1
    : ['sent', 'reserved', 'staked', 'slashed', 'bond'].includes(type)
      ? -1
      : 0

const kindNames: Record<string, string> = {
  transfer: 'Transfer',
  stake: 'Stake',
  unstake: 'Unstake',
  'model.register': 'Register a model',
  'model.transfer': 'Give a model away',
  'model.setFee': 'Set a model’s price',
  'job.create': 'Create a job',
  'job.commit': 'Commit to an answer',
  'job.reveal': 'Reveal an answer',
  'job.claim': 'Claim a job’s fee',
  'job.cancel': 'Cancel a job',
  'job.expire': 'Expire a job',
  'audit.commit': 'Commit to an audit',
  'audit.report': 'Report an audit',
  'dispute.open': 'Open a dispute',
  'dispute.move': 'Move in a dispute',
  'dispute.judge': 'Bring evidence to the judge',
  'dispute.timeout': 'Time out a dispute',
  'dispute.equivocation': 'Show a contradiction',
  'channel.open': 'Open a channel',
  'channel.topUp': 'Top up a channel',
  'channel.settle': 'Settle a session',
  'channel.close': 'Close a channel or session',
  'channel.reclaim': 'Reclaim a channel',
  'faucet.grant': 'Grant of the faucet',
  'parameters.set': 'Set the parameters',
  'validators.set': 'Set the validators',
  'channel.end': 'End a session',
}
export const transactionText = (kind: string): string => kindNames[kind] ?? kind

const refusalHints: Record<string, string> = {
  balance: 'The account does not hold enough for this and the fee.',
  fee: 'The account does not hold enough for the fee.',
  nonce: 'Another tab or device of yours sent something at the same moment. Nothing was sent from here: try again.',
  exists: 'This was done before.',
  role: 'This relay does not do that.',
  busy: 'Too many requests came from this address. Wait a little and try again.',
  phase: 'This is not possible now.',
}

/** Why something was refused, as a sentence with what the ledger itself said. */
export function refusalText(code: string, message: string): string {
  const said = `${message.charAt(0).toUpperCase()}${message.slice(1)}${/[.!?]$/.test(message) ? '' : '.'}`
  return refusalHints[code] && code !== 'balance' && code !== 'phase' ? `${refusalHints[code]} (${said})` : said
}
