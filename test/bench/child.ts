// A contestant in a process of its own, spoken to in lines of JSON: `{"call":…}` in, `{"reply":…}` or `{"error":…}` out. Ends with its parent.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

export interface Child {
  call(name: string, argument?: unknown): Promise<unknown>
  stop(): Promise<void>
}

/** Lines of the child that are not JSON go to stderr when BENCH_DEBUG is set. */
export function spawnChild(command: string, args: string[], env: Record<string, string> = {}): Child {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } })
  let errors = ''
  child.stderr.on('data', (chunk) => {
    if (process.env.BENCH_DEBUG) process.stderr.write(chunk)
    errors = (errors + chunk).slice(-2000)
  })
  const waiting: { resolve(value: unknown): void; reject(error: Error): void }[] = []
  createInterface({ input: child.stdout }).on('line', (line) => {
    let message: { reply?: unknown; error?: string }
    try {
      message = JSON.parse(line)
    } catch {
      if (process.env.BENCH_DEBUG) console.error(line)
      return
    }
    const turn = waiting.shift()
    if (message.error === undefined) turn?.resolve(message.reply)
    else turn?.reject(new Error(message.error))
  })
  const ended = new Promise<void>((resolve) => {
    child.on('close', (code, signal) => {
      for (const turn of waiting.splice(0))
        turn.reject(new Error(`${command} ${args.at(-1)} ended with ${signal ?? code}: ${errors.trim().split('\n').slice(-6).join(' | ')}`))
      resolve()
    })
    child.on('error', (error) => {
      for (const turn of waiting.splice(0)) turn.reject(error)
      resolve()
    })
  })
  const endWithParent = () => child.kill('SIGKILL')
  process.once('exit', endWithParent)
  return {
    call(name, argument) {
      if (child.exitCode !== null || child.signalCode !== null)
        return Promise.reject(new Error(`${command} ended with ${child.exitCode ?? child.signalCode}: ${errors.trim().split('\n').slice(-6).join(' | ')}`))
      return new Promise((resolve, reject) => {
        waiting.push({ resolve, reject })
        child.stdin.write(`${JSON.stringify({ call: name, argument })}\n`)
      })
    },
    async stop() {
      child.stdin.end()
      const patience = setTimeout(() => child.kill('SIGKILL'), 5000)
      await ended
      clearTimeout(patience)
      process.removeListener('exit', endWithParent)
    },
  }
}

type Calls = Record<string, (argument: never) => Promise<unknown>>

/** The child's side, in Node: answers calls from stdin one after another until it closes. */
export async function answerCalls(calls: Calls): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    const { call, argument } = JSON.parse(line) as { call: string; argument: never }
    try {
      console.log(JSON.stringify({ reply: (await calls[call](argument)) ?? null }))
    } catch (error) {
      console.log(JSON.stringify({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }))
    }
  }
  process.exit(0)
}
