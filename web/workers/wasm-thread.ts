// A helper thread of the WASM engine in a browser: instantiates what it is sent, says `ready`, then serves inside WASM until the engine ends it (devices.ts spawns it).
import { serveThread, type ThreadStart } from '../../protocol/engine/wasm/host.ts'

const scope = self as unknown as { onmessage: ((event: MessageEvent<ThreadStart>) => void) | null; postMessage(message: unknown): void }

scope.onmessage = (event) => {
  serveThread(event.data, () => scope.postMessage('ready')).catch((error: unknown) => {
    // An unhandled rejection does not reach the parent as an `error` event; a thrown error does.
    setTimeout(() => {
      throw error
    })
  })
}
