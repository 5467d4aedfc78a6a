// `meadow job create | solve | show | claim | cancel | expire`: questions asked on the ledger, with the fee in escrow, and answers to them.
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import { defineCommand } from 'citty'
import { formatAmount } from '../../ledger/amount.ts'
import { jobIdOf } from '../../ledger/names.ts'
import { keyOf } from '../../ledger/records.ts'
import type { BodyOf } from '../../ledger/transaction.ts'
import { encodeSampler } from '../../protocol/engine/answer.ts'
import { TokenList } from '../../protocol/engine/proof/tokens.ts'
import { greedy } from '../../protocol/engine/sampler.ts'
import { equalBytes, fromHex, hashTagged, hex } from '../../protocol/hash.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { openTokenizer } from '../../protocol/model/tokenizer.ts'
import { command, endSoon, integerOption, interrupted, printJson, say } from '../cli.ts'
import { RelayError } from '../errors.ts'
import { LedgerClient } from '../ledger/client.ts'
import { toJson } from '../ledger/json.ts'
import { decodeTokens, encodeTokens } from '../ledger/pins.ts'
import { findOrAddModel } from '../models.ts'
import { homeFolder, openStore } from '../store.ts'
import { mindsOf } from '../watch/held.ts'
import { agentLine, runAgent } from '../watch/start.ts'
import { ChainView } from '../watch/view.ts'
import { act, credits, hexId, moneyOptions, secretFor } from './ledger-options.ts'
import { engineOptions, jsonOption, modelOption } from './options.ts'

const idOption = { type: 'positional', required: true, description: 'Id of the job: 64 hex digits' } as const

const create = command({
  meta: { name: 'create', description: 'Ask on the ledger: solvers commit, reveal, and are paid when the window has closed' },
  args: {
    prompt: { type: 'positional', required: true, description: 'The question' },
    fee: { type: 'string', valueHint: 'credits', default: '0.1', description: 'What the answer is worth; returned when nobody answers' },
    'max-tokens': { type: 'string', valueHint: 'n', default: '256', description: 'Longest answer' },
    hours: { type: 'string', valueHint: 'n', default: '24', description: 'Time to answer' },
    system: { type: 'string', valueHint: 'text', description: 'System message' },
    wait: { type: 'boolean', description: 'Wait for the answer and print it' },
    model: modelOption,
    ...moneyOptions,
  },
  async run({ args }) {
    const store = openStore()
    const model = await findOrAddModel(store, args.model)
    const tokenizer = openTokenizer(new Uint8Array(await readFile(store.file(model.id, 'tokenizer')!)))
    const tokens = tokenizer.encodePrompt(args.prompt, args.system)
    const client = new LedgerClient(args.relay)
    const secret = await secretFor(args)
    const seed = new Uint8Array(randomBytes(32))
    // Whoever has this key can open the prompt's tokens: solvers and auditors get it with the prompt.
    const tokenKey = hashTagged('token-key', secret, seed)
    const body: BodyOf<'job.create'> = {
      kind: 'job.create',
      model: fromHex(model.id),
      programVersion: 1,
      promptRoot: new TokenList(tokens, tokenKey, 0).root,
      promptCount: tokens.length,
      sampler: encodeSampler(greedy),
      seed,
      maxTokens: integerOption('max-tokens', args['max-tokens'], 1, 16_384)!,
      stopIds: [...tokenizer.stopIds],
      privacy: 0,
      fee: credits(args.fee),
      stakeMin: 0n,
      deadlineMs: Date.now() + integerOption('hours', args.hours, 1, 720)! * 3_600_000,
      segment: null,
      input: null,
    }
    const { chain } = await client.chain()
    const { nonce } = await client.account(publicKeyOf(secret))
    const job = hex(jobIdOf(chain, publicKeyOf(secret), nonce, body))
    const sent = await client.submit(secret, body)
    // Solvers and auditors read the prompt here.
    const view = new ChainView(client)
    await view.pin(`tokens/${hex(body.promptRoot)}`, encodeTokens({ tokenKey, kind: 0, tokens }), { job })
    if (!args.json) say(`Job ${job}. Block ${sent.height}, fee ${formatAmount(sent.fee)}.`)
    const told = { ...sent, fee: sent.fee.toString(), account: hex(publicKeyOf(secret)), job, tokenKey: hex(tokenKey), promptTokens: tokens }
    if (!args.wait) return args.json ? printJson(told) : undefined
    const answer = await awaitAnswer(view, fromHex(job), body.deadlineMs)
    const text = tokenizer.decode(answer.tokens.filter((token) => !tokenizer.stopIds.includes(token)))
    if (args.json) return printJson({ ...told, ...(toJson(answer) as object), text })
    process.stdout.write(`${text}\n`)
    say(`By ${hex(answer.solver).slice(0, 12)}; it can be challenged until ${new Date(answer.finalMs).toISOString()}.`)
  },
})

/** How often a job is looked at while it is waited for. */
const lookMs = 1000

/** The revealed answer of a job: its tokens, checked against the claim's root under a signed block. Throws RelayError when the deadline passes without one. */
async function awaitAnswer(
  view: ChainView,
  id: Uint8Array,
  deadlineMs: number,
): Promise<{ claim: Uint8Array; solver: Uint8Array; tokens: number[]; stop: number; finalMs: number }> {
  for (let seen = false; ; ) {
    interrupted.throwIfAborted()
    const found = await view.record(keyOf.job(id))
    if (!found && seen) throw new RelayError('The job is over without an answer that stands.')
    seen ||= found !== null
    const claim = found?.claim ? await view.record(keyOf.claim(found.claim)) : null
    const pinned = claim && (await view.pinned(`tokens/${hex(claim.outRoot)}`))
    if (found?.claim && claim && pinned) {
      const { tokenKey, kind, tokens } = decodeTokens(pinned)
      if (kind !== 1 || !equalBytes(new TokenList(tokens, tokenKey, 1).root, claim.outRoot))
        throw new RelayError('The relay shows other tokens than the claim has.')
      return { claim: found.claim, solver: claim.solver, tokens, stop: claim.stop, finalMs: claim.finalMs }
    }
    if (found && !found.claim && Date.now() > found.deadlineMs) throw new RelayError('Nobody answered in time: `meadow job expire` returns the fee.')
    if (!seen && Date.now() > deadlineMs) throw new RelayError('The job did not come into a block.')
    await setTimeout(lookMs, undefined, { signal: interrupted })
  }
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
    const store = openStore()
    const wanted = args.model === undefined ? null : await Promise.all(args.model.split(',').map(async (name) => (await store.find(name)).id))
    const account = await new LedgerClient(args.relay).account(publicKeyOf(secret))
    if (BigInt(account.stake) === BigInt(account.locked))
      say('This account has no free stake: `meadow stake 50 --as host` puts some up, without it no job is taken.')
    say(`Answering jobs as ${hex(publicKeyOf(secret)).slice(0, 12)} (stop with Ctrl-C).`)
    await runAgent({
      home: homeFolder(),
      ...(args.relay === undefined ? {} : { relay: args.relay }),
      secret,
      mindOf: mindsOf(store, threads, wanted),
      solve: { feeMin },
      share: null,
      onNotice: (notice) => {
        if (args.json) return printJson(notice)
        const line = agentLine(notice)
        if (line) say(line)
      },
      signal: interrupted,
    })
    endSoon()
  },
})

const show = command({
  meta: { name: 'show', description: 'A job and its claim, proven under the last block' },
  args: { job: idOption, ...moneyOptions },
  async run({ args }) {
    const client = new LedgerClient(args.relay)
    const job = await client.record(keyOf.job(hexId(args.job, 'A job')))
    if (!job) throw new RelayError('There is no such job in the last block: it was paid, refunded, or never there.')
    const claim = job.claim && (await client.record(keyOf.claim(job.claim)))
    if (args.json) return printJson(toJson({ job, claim }))
    const lines = [`model    ${hex(job.model)}`, `fee      ${formatAmount(job.fee)}`, `deadline ${new Date(job.deadlineMs).toISOString()}`]
    if (!claim) lines.push(`answer   none yet, ${job.commits} committed`)
    else {
      lines.push(`answer   ${claim.m} tokens by ${hex(claim.solver)}`)
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
    show,
    claim: simple('claim', 'Pay an answer whose window has closed', 'Paid.'),
    cancel: simple('cancel', 'Take back a job to which nobody has committed', 'Cancelled.'),
    expire: simple('expire', 'Return the fee of a job that nobody answered in time', 'Returned.'),
  },
})
