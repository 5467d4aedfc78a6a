// A page's thread let go between two pieces of work: what the person does, and what the browser draws, come first. Longer than 200 ms at a stretch nothing of ours may take,
// on a processor that a few tabs share (measured: a task of 60 ms of work takes up to 300 ms there).

/** Resolves in a task of its own. A message, since timers of hidden tabs come once a second. */
export function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel()
    port1.onmessage = () => {
      port1.close()
      resolve()
    }
    port2.postMessage(null)
  })
}
