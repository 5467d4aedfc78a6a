// Judges presence records before gossip passes them on, so that what is forged, malformed or outdated stops at the first honest peer.
import { MessageError } from '../protocol/codec.ts'
import { PresenceTable } from '../protocol/peer/presence.ts'

export type Verdict = 'accept' | 'ignore' | 'reject'

/**
 * A gate for one network. Rejecting costs the sender its score and is for what no honest peer passes on; an outdated record is only ignored, since honest
 * peers pass those on for as long as they have not seen the newer one. `now`: monotonic milliseconds.
 */
export function createPresenceGate(network: string, now: () => number): { table: PresenceTable; validate: (bytes: Uint8Array) => Verdict } {
  const table = new PresenceTable(network)
  return {
    table,
    validate(bytes) {
      table.expire(now())
      try {
        return table.offer(bytes, now()) === 'new' ? 'accept' : 'ignore'
      } catch (error) {
        if (error instanceof MessageError) return 'reject'
        throw error
      }
    },
  }
}
