// The bench's page: hands calls to a worker, since that is where the engine lives in Meadow's pages too.
import type { Calls } from './bench.worker.ts'

const worker = new Worker(new URL('./bench.worker.ts', import.meta.url), { type: 'module' })

function call(name: string, argument: unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => (data.error === undefined ? resolve(data.reply) : reject(new Error(data.error)))
    worker.onerror = (event) => reject(new Error(event.message))
    worker.postMessage({ name, argument })
  })
}

const names: (keyof Calls)[] = ['auto', 'open', 'run', 'answer', 'memory', 'share', 'close']
Object.assign(globalThis, { bench: Object.fromEntries(names.map((name) => [name, (argument: unknown) => call(name, argument)])) })
