// `meadow job create | solve | open | show | claim | cancel | expire`: questions asked on the ledger, with the fee in escrow, and answers to them.
import { readFile, writeFile } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import { defineCommand } from 'citty'
import { formatAmount } from '../../ledger/amount.ts'
import { LedgerError } from '../../ledger/errors.ts'
import { type Claim, keyOf } from '../../ledger/records.ts'
import { privacyClasses } from '../../ledger/transaction.ts'
import { TokenList } from '../../protocol/engine/proof/tokens.ts'
import { equalBytes, hex } from '../../protocol/hash.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { decodeCore } from '../../protocol/model/identity.ts'
import { openTokenizer } from '../../protocol/model/tokenizer.ts'
import { command, integerOption, interrupted, printJson, say } from '../cli.ts'
import { RelayError, UsageError } from '../errors.ts'
import { LedgerClient } from '../ledger/client.ts'
import { createJob } from '../ledger/jobs.ts'
import { toJson } from '../ledger/json.ts'
import { decodeTokens } from '../ledger/pins.ts'
import { areRowsOf, decodeRows, recordsRootOf } from '../ledger/rows.ts'
import { findOrAddModel } from '../models.ts'
import { openStore } from '../store.ts'
import { runCommandAgent } from '../watch/start.ts'
import { readTokenFile, TokenFiles } from '../watch/token-files.ts'
import { ChainView } from '../watch/view.ts'
import { act, credits, hexId, moneyOptions, secretFor } from './ledger-options.ts'
import { engineOptions, jsonOption, modelOption } from './options.ts'

const idOption = { type: 'positional', required: true, description: 'Id of the job: 64 hex digits' } as const

const create = command({
  meta: { name: 'create', description: 'Ask on the ledger: solvers commit, reveal, and are paid when the window has closed' },
  args: {
    prompt: { type: 'positional', required: false, description: 'The question; left out where rows enter (--input)' },
    fee: { type: 'string', valueHint: 'credits', default: '0.1', description: 'What the answer is worth; returned when nobody answers' },
    'max-tokens': { type: 'string', valueHint: 'n', default: '256', description: 'Longest answer' },
    hours: { type: 'string', valueHint: 'n', default: '24', description: 'Time to answer' },
    system: { type: 'string', valueHint: 'text', description: 'System message' },
    segment: {
      type: 'string',
      valueHint: 'a:b',
      description: 'Only layers a to b, b left out: what leaves them is rows, or at the end of the model one token',
    },
    input: { type: 'string', valueHint: 'file', description: 'Rows that enter layer a: what another segment job gave (--output)' },
    output: { type: 'string', valueHint: 'file', description: 'With --wait and --segment: where the rows go' },
    sealed: { type: 'boolean', description: 'Show the question to nobody: hand the file this prints to a host you trust; it cannot be audited' },
    wait: { type: 'boolean', description: 'Wait for the answer and print it' },
    model: modelOption,
    ...moneyOptions,
  },
  async run({ args }) {
    const store = openStore()
    const model = await findOrAddModel(store, args.model)
    const { core } = model.manifest
    const part = segmentOption(args.segment, core.layers)
    if ((args.input !== undefined) !== (part !== null && part.from > 0))
      throw new UsageError('--input gives the rows that enter --segment a:b where a is not 0; with layer 0 the question enters.')
    if (args.sealed && part) throw new UsageError('--sealed and --segment exclude each other: rows can only be shown to all.')
    if (args.output !== undefined && (!args.wait || !part || part.to === core.layers))
      throw new UsageError('--output needs --wait and a --segment that rows leave.')
    const tokenizer = openTokenizer(new Uint8Array(await readFile(store.file(model.id, 'tokenizer')!)))
    const rows = args.input === undefined ? null : readRows(await readFile(args.input), args.input, core.hidden)
    if (!rows && !args.prompt) throw new UsageError('What is the question? `meadow job create "…"`')
    // Nothing but their number counts where rows enter.
    const tokens = rows ? rows.map(() => 0) : tokenizer.encodePrompt(args.prompt!, args.system)
    const client = new LedgerClient(args.relay)
    const secret = await secretFor(args)
    const { job, body, prompt, sent } = await createJob(client, secret, {
      model: model.id,
      tokens,
      maxTokens: part ? 1 : integerOption('max-tokens', args['max-tokens'], 1, 16_384)!,
      stopIds: [...tokenizer.stopIds],
      fee: credits(args.fee),
      deadlineMs: Date.now() + integerOption('hours', args.hours, 1, 720)! * 3_600_000,
      privacy: args.sealed ? privacyClasses.sealed : privacyClasses.open,
      ...(part ? { segment: { ...part, rows } } : {}),
    })
    const view = new ChainView(client)
    const files = new TokenFiles(store.home)
    const file = args.sealed ? files.keeps(prompt) : null
    if (!args.json) {
      say(`Job ${hex(job)}. Block ${sent.height}, fee ${formatAmount(sent.fee)}.`)
      if (file) say(`Hand ${file} to the host that is to answer: it runs \`meadow job open\` with it.`)
    }
    const told = {
      ...sent,
      fee: sent.fee.toString(),
      account: hex(publicKeyOf(secret)),
      job: hex(job),
      tokenKey: hex(prompt.tokenKey),
      promptTokens: tokens,
      ...(file ? { file } : {}),
    }
    if (!args.wait) return args.json ? printJson(told) : undefined
    const answer = await awaitAnswer(view, job, body.deadlineMs, { rowsOnly: part !== null && part.to < core.layers, files })
    if (answer.rows) {
      if (args.output !== undefined) await writeFile(args.output, answer.rows)
      const { rows: bytes, ...rest } = answer
      if (args.json) return printJson({ ...told, ...(toJson(rest) as object), rows: bytes.length / 4 / core.hidden, output: args.output ?? null })
      say(`${bytes.length / 4 / core.hidden} rows left layer ${part!.to - 1}${args.output === undefined ? '' : `: ${args.output}`}.`)
    } else {
      const text = tokenizer.decode(answer.tokens.filter((token) => !tokenizer.stopIds.includes(token)))
      if (args.json) return printJson({ ...told, ...(toJson(answer) as object), text })
      process.stdout.write(`${text}\n`)
    }
    say(`By ${hex(answer.solver).slice(0, 12)}; it can be challenged until ${new Date(answer.finalMs).toISOString()}.`)
  },
})

/** `3:9` as the segment [3, 9). Throws UsageError. */
function segmentOption(text: string | undefined, layers: number): { from: number; to: number } | null {
  if (text === undefined) return null
  const match = /^(\d{1,3}):(\d{1,3})$/.exec(text)
  const [from, to] = [Number(match?.[1]), Number(match?.[2])]
  if (!match || from >= to || to > layers) throw new UsageError(`--segment is ${text}, must be two numbers such as 0:10, at most ${layers} for this model.`)
  return { from, to }
}

function readRows(bytes: Uint8Array, path: string, hidden: number): Int32Array[] {
  try {
    return decodeRows(bytes, hidden)
  } catch (error) {
    if (error instanceof LedgerError) throw new RelayError(`${path}: ${error.message}.`)
    throw error
  }
}

/** How often a job is looked at while it is waited for. */
const lookMs = 1000

interface RevealedAnswer {
  claim: Uint8Array
  solver: Uint8Array
  tokens: readonly number[]
  /** Of a segment that rows leave: i32 little-endian, end to end. */
  rows: Uint8Array | null
  stop: number
  finalMs: number
}

/** The revealed answer of a job, checked against the claim's root under a signed block. Throws RelayError when the deadline passes without one. */
async function awaitAnswer(
  view: ChainView,
  id: Uint8Array,
  deadlineMs: number,
  { rowsOnly, files }: { rowsOnly: boolean; files: TokenFiles },
): Promise<RevealedAnswer> {
  for (let seen = false; ; ) {
    interrupted.throwIfAborted()
    const found = await view.record(keyOf.job(id))
    if (!found && seen) throw new RelayError('The job is over without an answer that stands.')
    seen ||= found !== null
    const claim = found?.claim ? await view.record(keyOf.claim(found.claim)) : null
    const shown = claim && (rowsOnly ? await shownRows(view, claim) : await shownTokens(view, claim, files))
    if (found?.claim && claim && shown) return { claim: found.claim, solver: claim.solver, ...shown, stop: claim.stop, finalMs: claim.finalMs }
    if (found && !found.claim && Date.now() > found.deadlineMs) throw new RelayError('Nobody answered in time: `meadow job expire` returns the fee.')
    if (!seen && Date.now() > deadlineMs) throw new RelayError('The job did not come into a block.')
    await setTimeout(lookMs, undefined, { signal: interrupted })
  }
}

type Shown = Pick<RevealedAnswer, 'tokens' | 'rows'>

async function shownTokens(view: ChainView, { outRoot }: Claim, files: TokenFiles): Promise<Shown | null> {
  const pinned = await view.pinned(`tokens/${hex(outRoot)}`)
  const list = pinned ? decodeTokens(pinned) : files.knows(hex(outRoot))
  if (!list) return null
  if (list.kind !== 1 || !equalBytes(new TokenList(list.tokens, list.tokenKey, 1).root, outRoot))
    throw new RelayError('The relay shows other tokens than the claim has.')
  return { tokens: list.tokens, rows: null }
}

async function shownRows(view: ChainView, { outRoot, job }: Claim): Promise<Shown | null> {
  const [records, rows] = [await view.pinned(`records/${hex(outRoot)}`), await view.pinned(`rows/${hex(outRoot)}`)]
  if (!records || !rows) return null
  const { model } = await view.must(keyOf.job(job))
  const { hidden } = decodeCore((await view.must(keyOf.model(model))).core)
  if (!equalBytes(recordsRootOf(records), outRoot) || !areRowsOf(decodeRows(rows, hidden), records, 'outRoot'))
    throw new RelayError('The relay shows other rows than the claim has.')
  return { tokens: [], rows }
}

const solve = command({
  meta: { name: 'solve', description: 'Answer open jobs for their fee, with a stake, until Ctrl-C' },
  args: {
    'fee-min': { type: 'string', valueHint: 'credits', default: '0', description: 'Leave jobs that pay less' },
    model: { type: 'string', valueHint: 'name|id,…', description: 'Models to answer with, with commas between (default: all that are installed)' },
    threads: engineOptions.threads,
    ...moneyOptions,
    as: { ...moneyOptions.as, default: 'host' },
    json: { ...jsonOption, description: 'Print every notice as a JSON object' },
  },
  async run({ args }) {
    const feeMin = credits(args['fee-min'])
    const threads = integerOption('threads', args.threads, 1, 64)
    const secret = await secretFor(args)
    const account = await new LedgerClient(args.relay).account(publicKeyOf(secret))
    if (BigInt(account.stake) === BigInt(account.locked))
      say('This account has no free stake: `meadow stake 50 --as host` puts some up, without it no job is taken.')
    say(`Answering jobs as ${hex(publicKeyOf(secret)).slice(0, 12)} (stop with Ctrl-C).`)
    await runCommandAgent({
      ...(args.relay === undefined ? {} : { relay: args.relay }),
      ...(args.model === undefined ? {} : { models: args.model }),
      ...(threads === undefined ? {} : { threads }),
      secret,
      solve: { feeMin },
      share: null,
      json: args.json ?? false,
    })
  },
})

const open = command({
  meta: { name: 'open', description: 'Take a list of tokens that somebody handed you: the question of a sealed job, or its answer' },
  args: {
    file: { type: 'positional', required: true, description: 'The file' },
    model: { ...modelOption, description: 'Model whose words an answer is (default: the one that is installed)' },
    json: jsonOption,
  },
  async run({ args }) {
    const store = openStore()
    const list = readTokenFile(args.file)
    const path = new TokenFiles(store.home).keeps(list)
    const root = hex(new TokenList(list.tokens, list.tokenKey, list.kind).root)
    if (args.json) return printJson({ root, kind: list.kind, tokens: list.tokens, path })
    const installed = await store.list()
    const model = args.model === undefined ? (installed.length === 1 ? installed[0] : null) : await store.find(args.model)
    const tokenizer = model && openTokenizer(new Uint8Array(await readFile(store.file(model.id, 'tokenizer')!)))
    say(`${list.kind === 0 ? 'Question' : 'Answer'} of ${list.tokens.length} tokens, root ${root.slice(0, 12)}: ${path}`)
    if (tokenizer && list.kind === 1) process.stdout.write(`${tokenizer.decode(list.tokens.filter((token) => !tokenizer.stopIds.includes(token)))}\n`)
  },
})

const show = command({
  meta: { name: 'show', description: 'A job and its claim, proven under the last block' },
  args: {
    job: idOption,
    output: { type: 'string', valueHint: 'file', description: 'Of a segment that rows leave: where to put them' },
    ...moneyOptions,
  },
  async run({ args }) {
    const client = new LedgerClient(args.relay)
    const job = await client.record(keyOf.job(hexId(args.job, 'A job')))
    if (!job) throw new RelayError('There is no such job in the last block: it was paid, refunded, or never there.')
    const claim = job.claim && (await client.record(keyOf.claim(job.claim)))
    const { layers } = (await client.record(keyOf.model(job.model)))!
    const isRows = job.segment !== null && job.segment.to < layers
    if (args.output !== undefined) {
      const shown = claim && isRows ? await shownRows(new ChainView(client), claim) : null
      if (!shown?.rows) throw new RelayError('No rows are shown for this job.')
      await writeFile(args.output, shown.rows)
    }
    if (args.json) return printJson(toJson({ job, claim }))
    const lines = [`model    ${hex(job.model)}`, `fee      ${formatAmount(job.fee)}`, `deadline ${new Date(job.deadlineMs).toISOString()}`]
    if (job.segment) lines.push(`layers   ${job.segment.from} to ${job.segment.to - 1}, ${job.promptCount} rows`)
    if (!claim) lines.push(`answer   none yet, ${job.commits} committed`)
    else {
      lines.push(`answer   ${isRows ? `${job.promptCount} rows` : `${claim.m} tokens`} by ${hex(claim.solver)}`)
      lines.push(`final    ${new Date(claim.finalMs).toISOString()}, audit ${claim.auditing.phase}, ${claim.disputes} disputes`)
    }
    process.stdout.write(`${lines.join('\n')}\n`)
  },
})

const simple = (name: 'claim' | 'cancel' | 'expire', description: string, sentence: string) =>
  command({
    meta: { name, description },
    args: { job: idOption, ...moneyOptions },
    async run({ args }) {
      await act(args, { kind: `job.${name}`, job: hexId(args.job, 'A job') }, sentence)
    },
  })

export const job = defineCommand({
  meta: { name: 'job', description: 'Questions on the ledger, with their fee in escrow, and answers to them' },
  subCommands: {
    create,
    solve,
    open,
    show,
    claim: simple('claim', 'Pay an answer whose window has closed', 'Paid.'),
    cancel: simple('cancel', 'Take back a job to which nobody has committed', 'Cancelled.'),
    expire: simple('expire', 'Return the fee of a job that nobody answered in time', 'Returned.'),
  },
})
