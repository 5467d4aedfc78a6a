// `meadow job create | show | claim | cancel | expire`: questions asked on the ledger, with the fee in escrow.
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { defineCommand } from 'citty'
import { formatAmount } from '../../ledger/amount.ts'
import { jobIdOf } from '../../ledger/names.ts'
import { keyOf } from '../../ledger/records.ts'
import type { BodyOf } from '../../ledger/transaction.ts'
import { encodeSampler } from '../../protocol/engine/answer.ts'
import { TokenList } from '../../protocol/engine/proof/tokens.ts'
import { greedy } from '../../protocol/engine/sampler.ts'
import { fromHex, hashTagged, hex } from '../../protocol/hash.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { openTokenizer } from '../../protocol/model/tokenizer.ts'
import { command, integerOption, printJson } from '../cli.ts'
import { RelayError } from '../errors.ts'
import { LedgerClient } from '../ledger/client.ts'
import { toJson } from '../ledger/json.ts'
import { findOrAddModel } from '../models.ts'
import { openStore } from '../store.ts'
import { act, credits, hexId, moneyOptions, secretFor } from './ledger-options.ts'
import { modelOption } from './options.ts'

const idOption = { type: 'positional', required: true, description: 'Id of the job: 64 hex digits' } as const

const create = command({
  meta: { name: 'create', description: 'Ask on the ledger: solvers commit, reveal, and are paid when the window has closed' },
  args: {
    prompt: { type: 'positional', required: true, description: 'The question' },
    fee: { type: 'string', valueHint: 'credits', default: '0.1', description: 'What the answer is worth; returned when nobody answers' },
    'max-tokens': { type: 'string', valueHint: 'n', default: '256', description: 'Longest answer' },
    hours: { type: 'string', valueHint: 'n', default: '24', description: 'Time to answer' },
    system: { type: 'string', valueHint: 'text', description: 'System message' },
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
    await act(args, body, `Job ${job}.`, { job, tokenKey: hex(tokenKey), promptTokens: tokens })
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
  meta: { name: 'job', description: 'Questions on the ledger, with their fee in escrow' },
  subCommands: {
    create,
    show,
    claim: simple('claim', 'Pay an answer whose window has closed', 'Paid.'),
    cancel: simple('cancel', 'Take back a job to which nobody has committed', 'Cancelled.'),
    expire: simple('expire', 'Return the fee of a job that nobody answered in time', 'Returned.'),
  },
})
