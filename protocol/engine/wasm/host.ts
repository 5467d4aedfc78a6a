// What the WASM engine is given by its host (a browser worker, Node): the compiled module, threads, a clock. And what a helper thread does with what it is given.

/** Everything a helper needs; posted to it as it is. */
export interface ThreadStart {
  module: WebAssembly.Module
  memory: WebAssembly.Memory
  thread: number
}

/** A helper thread as the engine sees it. */
export interface WasmThread {
  postMessage(message: ThreadStart): void
  /** Resolves when the thread has posted `ready`; rejects when it could not start. */
  ready: Promise<void>
  terminate(): void | Promise<unknown>
}

export interface WasmHost {
  /** build/engine.wasm when `threads` may be above 1 (needs SharedArrayBuffer), build/engine-single.wasm otherwise. */
  module: WebAssembly.Module
  shared: boolean
  /** Threads in all, the caller's included. */
  threads: number
  spawn?: () => WasmThread
  /** Milliseconds; for profiles, and to see which way of sharing rows among threads is faster here. */
  now: () => number
}

/** The body of a helper thread: serves until the engine closes. Blocks its thread, so `ready` must be posted before. */
export async function serveThread(start: ThreadStart, ready: () => void): Promise<void> {
  const instance = await WebAssembly.instantiate(start.module, { env: { memory: start.memory, now: () => 0 } })
  ready()
  ;(instance.exports.serve as (thread: number) => void)(start.thread)
}
