// Options several commands share.

import { integerOption } from '../cli.ts'
import type { Backend } from '../engine.ts'
import { UsageError } from '../errors.ts'

export const modelOption = {
  type: 'string',
  valueHint: 'name|id',
  description: 'Model: a name, an id or the beginning of one (default: the default model)',
} as const
export const relayOption = {
  type: 'string',
  valueHint: 'url',
  description: 'Address of the relay (default: MEADOW_RELAY, else http://localhost:8787)',
} as const
export const inviteOption = {
  type: 'string',
  valueHint: 'secret',
  description: 'Invitation to a private group: its members serve and ask among themselves',
} as const
export const jsonOption = { type: 'boolean', description: 'Print one JSON object as the last line' } as const

export const engineOptions = {
  threads: { type: 'string' as const, valueHint: 'n', description: 'Threads (default: one per core, at most 8)' },
  backend: {
    type: 'enum' as const,
    options: ['wasm', 'reference'],
    default: 'wasm',
    description: 'Engine: wasm, or the slow reference; their answers are the same',
  },
}

/** Threads and back end of a command line. Throws UsageError. */
export function engineChoice(args: { threads?: string; backend?: string }): { threads: number | undefined; backend: Backend } {
  const threads = integerOption('threads', args.threads, 1, 64)
  if (args.backend === 'reference' && threads !== undefined && threads > 1) throw new UsageError('The reference engine has one thread.')
  return { threads, backend: args.backend as Backend }
}
