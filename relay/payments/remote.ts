// The ledger of a relay over HTTP, for ledger/remote.ts.
import type { Http } from '../../ledger/remote.ts'
import { RemoteLedger } from '../../ledger/remote.ts'
import { messageOf, RelayError } from '../errors.ts'
import '../mesh/native-keys.ts'

/** A relay that is slower than this is as good as gone. */
const answerMsMax = 15_000

/** `relay` is its web address. */
export function remoteLedger(relay: URL): RemoteLedger {
  const base = new URL('/ledger/', relay)
  const http: Http = async (path, init) => {
    const url = new URL(path, base)
    try {
      const response = await fetch(url, {
        ...(init ? { method: init.method, body: init.body as Uint8Array<ArrayBuffer> | string, headers: { 'Content-Type': init.type } } : {}),
        signal: AbortSignal.timeout(answerMsMax),
      })
      return { status: response.status, body: new Uint8Array(await response.arrayBuffer()) }
    } catch (error) {
      throw new RelayError(`The relay at ${url.origin} cannot be reached: ${messageOf(error)}.`)
    }
  }
  return new RemoteLedger(http)
}
