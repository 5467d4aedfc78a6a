// Facts of a route as sentences. Pure.
import type { Verdict } from '../../protocol/peer/blame.ts'
import { rangeText } from '../peer/snapshot.ts'
import type { Repair } from '../peer/swarm-answer.ts'

/** The first digits of a peer's key: enough to tell the hosts of one answer apart. */
export const shortKey = (key: string): string => key.slice(0, 8)

export const secondsText = (ms: number): string => (ms < 950 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`)

export function repairText({ lost, reason, stallMs }: Repair): string {
  const who =
    lost.length === 0 ? 'A host was silent' : `${lost.map(shortKey).join(' and ')} ${reason ? `was lost (${reason.replace(/[.]$/, '')})` : 'was lost'}`
  return `${who}; others went on with the very same text after ${secondsText(stallMs)}.`
}

/** What a check on this device found, in a sentence or two. */
export function verdictText({ equal, firstDifference, hosts, named, faults }: Verdict, tokens: number): string {
  if (equal) return `The same here: all ${tokens} ${tokens === 1 ? 'token' : 'tokens'}, and every number that went from host to host.`
  const parts: string[] = []
  if (firstDifference) parts.push(`The answer first differs at token ${firstDifference.index + 1} of ${tokens}.`)
  for (const host of hosts)
    if (host.verdict === 'wrong')
      parts.push(`${shortKey(host.peer)} (layers ${rangeText(host.from, host.to)}) got the right numbers and signed for wrong ones.`)
  const others = named.filter((peer) => !hosts.some((host) => host.peer === peer && host.verdict === 'wrong'))
  if (others.length > 0) parts.push(`To blame, by contradicting signatures: ${others.map(shortKey).join(', ')}.`)
  for (const host of hosts) if (host.verdict === 'invalid') parts.push(`The signature of ${shortKey(host.peer)} is not valid for this answer.`)
  for (const fault of faults) parts.push(`${fault.charAt(0).toUpperCase()}${fault.slice(1)}.`)
  if (named.length === 0) parts.push(firstDifference ? 'The receipt shows no host’s guilt.' : 'The words themselves are right.')
  return parts.join(' ')
}
