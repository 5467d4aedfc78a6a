// An agent for a command: its account, its journal under $MEADOW_HOME/watch, and lines that say what it does.
import { join } from 'node:path'
import { formatAmount } from '../../ledger/amount.ts'
import type { Segment } from '../../protocol/engine/engine.ts'
import { hex } from '../../protocol/hash.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { endSoon, interrupted, printJson, say } from '../cli.ts'
import { LedgerClient } from '../ledger/client.ts'
import { homeFolder, openStore } from '../store.ts'
import { Agent, type AgentNotice, type AgentOptions } from './agent.ts'
import { mindsOf } from './held.ts'
import { Journal } from './journal.ts'
import { TokenFiles } from './token-files.ts'

export interface RunOptions extends Omit<AgentOptions, 'client' | 'journal'> {
  home: string
  relay?: string
}

/** Runs an agent until its signal is aborted. Throws RelayError when another process watches with this account, or the relay cannot be reached at first. */
export async function runAgent({ home, relay, ...options }: RunOptions): Promise<void> {
  const client = new LedgerClient(relay)
  const { chain } = await client.chain()
  const account = hex(publicKeyOf(options.secret))
  const journal = new Journal(join(home, 'watch'), `${account.slice(0, 16)}-${hex(chain).slice(0, 8)}`)
  try {
    await new Agent({ ...options, client, journal }).run()
  } finally {
    journal.close()
  }
}

export interface CommandOptions extends Omit<RunOptions, 'home' | 'mindOf' | 'knows' | 'keeps' | 'onNotice' | 'signal'> {
  /** Names or ids of models with commas between; all that are installed when left out. */
  models?: string
  threads?: number
  json: boolean
}

/** Runs the agent of a command until Ctrl-C: with the models and token lists of this machine, and a line for what it does. */
export async function runCommandAgent({ models, threads, json, ...options }: CommandOptions): Promise<void> {
  const store = openStore()
  const wanted = models === undefined ? null : await Promise.all(models.split(',').map(async (name) => (await store.find(name)).id))
  const files = new TokenFiles(store.home)
  await runAgent({
    home: homeFolder(),
    mindOf: mindsOf(store, threads, wanted),
    knows: files.knows,
    keeps: (list) => {
      const path = files.keeps(list)
      if (json) printJson({ type: 'kept', path })
      else say(`The answer to a job whose tokens are not open lies in ${path}: hand it to its requester.`)
    },
    onNotice(notice) {
      if (json) return printJson(notice)
      const line = agentLine(notice)
      if (line) say(line)
    },
    signal: interrupted,
    ...options,
  })
  endSoon()
}

const short = (value: unknown): string => String(value).slice(0, 12)

const movesInWords: Record<string, string> = {
  demand: 'demanded the tokens',
  serve: 'showed tokens',
  commit: 'committed to a challenge',
  challenge: 'challenged the claim',
  shot: 'showed a token that no answer can have',
  defend: 'posted the root of a trace',
  path: 'opened an argument against a root',
  unit: 'opened an argument at one unit',
  reveal: 'showed a node of the trace',
  pick: 'chose where to go on',
  expand: 'showed the steps of the unit',
  open: 'showed a part of a step',
  prove: 'sent evidence to the judge',
  timeout: 'told that time is over',
  resolve: 'asked for the verdict',
}

const kindsInWords: Record<string, string> = {
  'job.commit': 'committed to an answer',
  'job.reveal': 'revealed an answer',
  'job.claim': 'claimed the pay',
  'audit.commit': 'committed to an audit',
  'audit.report': 'reported an audit',
}

/** A notice as a sentence; null for what only programs want to know. */
export function agentLine(notice: AgentNotice): string | null {
  const { type } = notice
  switch (type) {
    case 'sent':
      return `Block ${notice.height}: ${movesInWords[String(notice.move)] ?? kindsInWords[String(notice.kind)] ?? notice.kind}.`
    case 'checked': {
      const words = { right: 'right', wrong: 'WRONG', misled: 'computed rightly from a false input' }
      return `Claim ${short(notice.claim)}${notice.host ? `, host ${notice.host}` : ''} is ${words[notice.verdict as keyof typeof words]} (${Number(notice.ms) / 1000} s).`
    }
    case 'answered':
      return `Answered job ${short(notice.job)}: ${notice.layers ? `layers ${(notice.layers as Segment).from} to ${(notice.layers as Segment).to - 1}` : `${notice.tokens} tokens`} in ${Number(notice.ms) / 1000} s.`
    case 'paid':
      return `Job ${short(notice.job)} is paid.`
    case 'passed':
      return `Left job ${short(notice.job)}: ${notice.reason}.`
    case 'withheld':
      return `Claim ${short(notice.claim)} cannot be looked at: ${notice.reason}.`
    case 'contradiction':
      return `Session ${short(notice.claim)}: hosts ${Number(notice.host) - 1} and ${notice.host} have signed different rows at position ${notice.position}; one of them lies, and no judge can tell which.`
    case 'undefended':
      return `Claim ${short(notice.claim)} is disputed and cannot be defended from here: ${notice.reason}.`
    case 'poor':
      return `This account has ${formatAmount(BigInt(String(notice.balance)))} credits, a dispute asks for ${formatAmount(BigInt(String(notice.needed)))}.`
    case 'gap':
      return `The relay cannot be heard (${notice.reason}); trying again.`
    case 'trouble':
    case 'failed':
      return `${notice.what ?? 'This round'} failed: ${notice.reason}`
    case 'verdict':
      return `Claim ${short(notice.claim)} is ${notice.verdict}.`
    default:
      return null
  }
}
