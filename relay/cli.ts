// What citty leaves open: unknown options are errors, numbers have ranges, one sentence per error, exit codes (1 could not, 2 wrong usage, 130 cancelled),
// and a Ctrl-C that cancels.
import { type ArgsDef, type CommandDef, renderUsage, runCommand } from 'citty'
import { EngineError } from '../protocol/engine/engine.ts'
import { SamplerError } from '../protocol/engine/sampler.ts'
import { ModelError } from '../protocol/model/manifest.ts'
import { isCancelled, isDiskFull, messageOf, RelayError, UsageError } from './errors.ts'

/** Aborted by the first Ctrl-C or SIGTERM, or when the program that started this one is gone. */
const interruption = new AbortController()
export const interrupted: AbortSignal = interruption.signal

/** A second Ctrl-C within this time is the same one, heard twice: from the terminal and from the script that started this process. */
const sameInterruptMs = 500

function listenForInterrupts(): void {
  let firstMs = Number.NEGATIVE_INFINITY
  const interrupt = () => {
    if (!interruption.signal.aborted) {
      firstMs = performance.now()
      interruption.abort(new RelayError('Cancelled.'))
    } else if (performance.now() - firstMs > sameInterruptMs) process.exit(130)
  }
  process.on('SIGINT', interrupt)
  process.on('SIGTERM', interrupt)
  // `meadow … | head` ends the pipe early: nobody is listening any more.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0)
    throw error
  })
}

/**
 * Ends the process shortly after its work is done. Libraries of the mesh leave timers and native threads behind that would keep it for ten seconds and more;
 * where nothing is left behind it ends before this.
 */
export function endSoon(): void {
  setTimeout(() => process.exit(), 250).unref()
}

/** A whole number option. Throws UsageError. */
export function integerOption(name: string, value: string | undefined, low: number, high: number): number | undefined {
  if (value === undefined) return undefined
  const number = /^\d+$/.test(value) ? Number(value) : Number.NaN
  if (!(number >= low && number <= high)) throw new UsageError(`--${name} is ${value || 'empty'}, must be a whole number from ${low} to ${high}.`)
  return number
}

/** A decimal option as a Q16 integer. Throws UsageError. */
export function q16Option(name: string, value: string | undefined, low: number, high: number): number | undefined {
  if (value === undefined) return undefined
  const number = /^\d+(\.\d+)?$/.test(value) ? Number(value) : Number.NaN
  if (!(number >= low && number <= high)) throw new UsageError(`--${name} is ${value || 'empty'}, must be a number from ${low} to ${high}.`)
  return Math.round(number * 65536)
}

/** Options citty would pass over in silence. */
function checkOptions(args: Record<string, unknown> & { _: string[] }, definition: ArgsDef): void {
  const camel = (name: string) => name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())
  const known = new Map(
    Object.entries(definition).flatMap(([name, arg]) => [name, ...('alias' in arg ? [arg.alias ?? []].flat() : [])].map((key) => [camel(key), arg])),
  )
  for (const [name, value] of Object.entries(args)) {
    if (name === '_') continue
    const arg = known.get(camel(name))
    if (!arg) throw new UsageError(`There is no option --${name}.`)
    if ((arg.type === 'string' || arg.type === 'enum') && value === '') throw new UsageError(`Option --${name} needs a value.`)
  }
  const places = Object.values(definition).filter((arg) => arg.type === 'positional').length
  if (args._.length > places) throw new UsageError(`${JSON.stringify(args._[places])} is one argument too many; put quotes around a text with spaces.`)
}

type Context = { args: Record<string, unknown> & { _: string[] }; cmd: { args?: unknown } }

/** A command whose options are checked before it runs. */
export function command<const T extends ArgsDef>(definition: CommandDef<T>): CommandDef<T> {
  const check = { name: 'check-options', setup: ({ args, cmd }: Context) => checkOptions(args, (cmd.args ?? {}) as ArgsDef) }
  return { ...definition, plugins: [check] }
}

/** Prints to stderr, where progress and remarks go; standard output holds answers only. */
export const say = (line: string): void => {
  process.stderr.write(`${line}\n`)
}

/** Prints one JSON object as one line of standard output. */
export const printJson = (value: unknown): void => {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}

/** The command that `args` name, and its parent, for help. */
async function locate(root: CommandDef, args: string[]): Promise<[CommandDef, CommandDef | undefined]> {
  let found = root
  let parent: CommandDef | undefined
  for (const arg of args) {
    if (arg.startsWith('-')) continue
    const subCommands = found.subCommands as Record<string, CommandDef | (() => Promise<CommandDef>)> | undefined
    if (!subCommands || !Object.hasOwn(subCommands, arg)) break
    const next = subCommands[arg]!
    const meta = (await found.meta) as { name?: string } | undefined
    const grand = (parent?.meta as { name?: string } | undefined)?.name
    parent = { ...found, meta: { ...meta, name: grand ? `${grand} ${meta?.name}` : meta?.name } }
    found = typeof next === 'function' ? await next() : next
  }
  return [found, parent]
}

/** Runs the command line and returns the exit code. */
export async function runCli(root: CommandDef, args: string[], version: string): Promise<number> {
  listenForInterrupts()
  const beforeRest = args.includes('--') ? args.slice(0, args.indexOf('--')) : args
  try {
    if (beforeRest.includes('--help') || beforeRest.includes('-h')) {
      const usage = await renderUsage(...(await locate(root, beforeRest)))
      process.stdout.write(`${process.stdout.isTTY ? usage : plain(usage)}\n`)
      return 0
    }
    if (args.length === 1 && (args[0] === '--version' || args[0] === '-v')) {
      process.stdout.write(`${version}\n`)
      return 0
    }
    await runCommand(root, { rawArgs: args })
    return typeof process.exitCode === 'number' ? process.exitCode : 0
  } catch (error) {
    if (isCancelled(error, interrupted)) {
      say('Cancelled.')
      return 130
    }
    if (error instanceof Error && error.name === 'CLIError') {
      const [found, parent] = await locate(root, beforeRest)
      const usage = await renderUsage(found, parent)
      say(`${process.stderr.isTTY ? usage : plain(usage)}\n\n${sentence(plain(error.message))}`)
      return 2
    }
    say(sentence(explain(error)))
    return error instanceof RelayError ? error.exitCode : 1
  }
}

function explain(error: unknown): string {
  if (isDiskFull(error)) return 'The disk is full; nothing was installed.'
  const expected = error instanceof RelayError || error instanceof EngineError || error instanceof ModelError || error instanceof SamplerError
  // Anything else is a mistake of ours: the stack helps whoever repairs it.
  return expected || !(error instanceof Error) || !process.env.MEADOW_DEBUG ? messageOf(error) : (error.stack ?? error.message)
}

const sentence = (text: string) => {
  // A name or address at the beginning stays as it is.
  const upper = /^[a-z]+ /.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text
  return /[.!?]$/.test(upper.trimEnd()) ? upper : `${upper}.`
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: terminal colours start with one
const plain = (text: string) => text.replace(/\u001b\[\d+m/g, '')
