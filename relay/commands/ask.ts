// `meadow ask "…"`: one question, its answer streaming to the terminal.
import { inputHash, noiseKey, outputHash } from '../../protocol/engine/answer.ts'
import { Session, type Stop } from '../../protocol/engine/generate.ts'
import type { Sampler } from '../../protocol/engine/sampler.ts'
import { hex } from '../../protocol/hash.ts'
import { command, endSoon, integerOption, interrupted, printJson, q16Option, say } from '../cli.ts'
import { openModel } from '../engine.ts'
import { messageOf, UsageError } from '../errors.ts'
import type { SwarmAnswer } from '../mesh/ask.ts'
import { findOrAddModel } from '../models.ts'
import type { Paid } from '../payments/pay.ts'
import { homeFolder, openStore } from '../store.ts'
import { credits } from './ledger-options.ts'
import { engineChoice, engineOptions, inviteOption, jsonOption, modelOption, relayOption } from './options.ts'

/** Tokens the repetition penalty looks back when it is on; llama.cpp's default. */
const repeatWindowDefault = 64

export const ask = command({
  meta: { name: 'ask', description: 'Ask a model; the answer streams to the terminal' },
  args: {
    prompt: { type: 'positional', required: false, description: 'The question (default, and with "-": standard input)' },
    model: modelOption,
    system: { type: 'string', valueHint: 'text', description: 'System text, for models with a chat template' },
    'max-tokens': { type: 'string', valueHint: 'n', default: '512', description: 'Most tokens of the answer' },
    temperature: { type: 'string', valueHint: 'x', default: '0', description: '0 takes the likeliest token; up to 100' },
    'top-k': { type: 'string', valueHint: 'n', default: '0', description: 'Keep the k likeliest tokens; 0 keeps all' },
    'top-p': { type: 'string', valueHint: 'x', default: '1', description: 'Keep the likeliest tokens up to this share; 1 keeps all' },
    'min-p': { type: 'string', valueHint: 'x', default: '0', description: 'Keep tokens at least this likely, relative to the likeliest; 0 keeps all' },
    'repeat-penalty': { type: 'string', valueHint: 'x', default: '1', description: 'Penalty for tokens of the recent text; 1 is none' },
    'repeat-window': {
      type: 'string',
      valueHint: 'n',
      default: String(repeatWindowDefault),
      description: 'How many recent tokens the penalty looks at; up to 256',
    },
    seed: { type: 'string', valueHint: 'n', default: '0', description: 'Seed of the sampler: the same seed gives the same answer everywhere' },
    ...engineOptions,
    swarm: { type: 'boolean', description: "Ask the mesh of a relay instead of this machine's CPU; the answer is the same" },
    relay: relayOption,
    invite: inviteOption,
    draft: { type: 'boolean', default: true, description: 'Let the mesh guess ahead where a text repeats itself; the answer is the same without (--no-draft)' },
    pay: { type: 'boolean', description: 'Pay the hosts of a swarm answer: asked of the ledger first, shown, and kept in a channel; who pays goes first' },
    'max-price': { type: 'string', valueHint: 'credits', description: 'Most that a paid answer may cost (with --pay)' },
    yes: { type: 'boolean', description: 'Agree to opening a channel, and to the first grant (with --pay)' },
    open: { type: 'boolean', description: 'Put question and answer beside the receipts, so that anyone may check and challenge them (with --pay)' },
    receipt: { type: 'string', valueHint: 'file', description: 'Where to write the receipt of a swarm answer, for `meadow verify`' },
    json: { ...jsonOption, description: 'Print nothing but one JSON object: text, tokens, hashes, speed' },
  },
  async run({ args }) {
    const sampler = samplerOf(args)
    const maxTokens = integerOption('max-tokens', args['max-tokens'], 1, 1 << 20)!
    const seed = integerOption('seed', args.seed, 0, Number.MAX_SAFE_INTEGER)!
    const choice = engineChoice(args)
    for (const [name, value] of Object.entries({ relay: args.relay, invite: args.invite, receipt: args.receipt }))
      if (value !== undefined && !args.swarm) throw new UsageError(`--${name} belongs to --swarm.`)
    if (args.pay && !args.swarm) throw new UsageError('--pay belongs to --swarm: what this machine computes itself costs nothing.')
    for (const [name, value] of Object.entries({ 'max-price': args['max-price'], yes: args.yes, open: args.open }))
      if (value && !args.pay) throw new UsageError(`--${name} belongs to --pay.`)
    const priceMax = args['max-price'] === undefined ? null : credits(args['max-price'])
    const text = args.prompt === undefined || args.prompt === '-' ? await readInput() : args.prompt
    if (text.trim() === '') throw new UsageError('There is no question: give one in quotes, or through standard input.')

    if (args.swarm) return askMesh({ ...args, text, sampler, seed, maxTokens, priceMax })

    const store = openStore()
    const model = await findOrAddModel(store, args.model)
    const { engine, tokenizer } = await openModel(store, model, choice.backend, choice.threads)
    try {
      const prompt = tokenizer.encodePrompt(text, args.system)
      const { stopIds } = tokenizer
      const decoder = tokenizer.decoder()
      const tokens: number[] = []
      let answer = ''
      let stop: Stop = 'length'
      let firstMs = 0
      const write = (piece: string) => {
        answer += piece
        if (!args.json && piece !== '') process.stdout.write(piece)
      }
      const startMs = performance.now()
      let prefilledMs = startMs
      for await (const progress of new Session(engine).generate({ prompt, sampler, key: noiseKey(seed), maxTokens, stopIds }, interrupted)) {
        if (progress.kind === 'prefill') prefilledMs = performance.now()
        else if (progress.kind === 'stop') stop = progress.stop
        else {
          if (tokens.length === 0) firstMs = performance.now()
          tokens.push(progress.token)
          if (!stopIds.includes(progress.token)) write(decoder.push(progress.token))
        }
      }
      const endMs = performance.now()
      write(decoder.end())
      if (!args.json) process.stdout.write('\n')

      const input = inputHash({ modelId: model.id, sampler, seed, maxTokens, stopIds, prompt })
      const prefillTokensPerSecond = rate(prompt.length, prefilledMs - startMs)
      const decodeTokensPerSecond = rate(tokens.length - 1, endMs - firstMs)
      if (args.json) {
        printJson({
          text: answer,
          tokens,
          modelId: model.id,
          inputHash: hex(input),
          outputHash: hex(outputHash(input, tokens, stop)),
          backend: engine.backend,
          threads: engine.threads,
          prefillTokensPerSecond,
          decodeTokensPerSecond,
          stop,
        })
      } else if (process.stderr.isTTY)
        say(`${prompt.length} tokens read at ${prefillTokensPerSecond}/s, ${tokens.length} written at ${decodeTokensPerSecond}/s, stopped by ${stop}`)
    } finally {
      await engine.close()
    }
  },
})

interface MeshQuestion {
  relay?: string
  invite?: string
  receipt?: string
  model?: string
  system?: string
  json?: boolean
  draft?: boolean
  text: string
  sampler: Sampler
  seed: number
  maxTokens: number
  pay?: boolean
  yes?: boolean
  open?: boolean
  priceMax: bigint | null
}

/** Asks on the terminal; who cannot be asked has not agreed. */
async function consent(question: string): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    say(`${question} Run it in a terminal, or with --yes.`)
    return false
  }
  const { createInterface } = await import('node:readline/promises')
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `, { signal: interrupted })).trim())
  } finally {
    terminal.close()
  }
}

async function askMesh(args: MeshQuestion): Promise<void> {
  const { askSwarm, writeReceipt } = await import('../mesh/ask.ts')
  const { takeIdentity } = await import('../mesh/identity.ts')
  const { relayUrl } = await import('../mesh/address.ts')
  const { chooseOffer, fetchOffers } = await import('../mesh/offers.ts')
  const relay = relayUrl(args.relay)
  const { id: modelId } = chooseOffer(await fetchOffers(relay), args.model)
  const home = homeFolder()
  const identity = await takeIdentity(home, 'ask')
  let answer = ''
  let budget = null as Paid | null
  try {
    const result = await askSwarm({
      home,
      relay,
      identity,
      modelId,
      text: args.text,
      ...(args.system === undefined ? {} : { system: args.system }),
      sampler: args.sampler,
      seed: args.seed,
      maxTokens: args.maxTokens,
      ...(args.invite === undefined ? {} : { invitation: args.invite }),
      ...(args.draft === false ? { draft: false } : {}),
      ...(args.pay
        ? {
            budget: async () => {
              const { prepareBudget } = await import('../payments/pay.ts')
              const { maxTokens, priceMax } = args
              const agree = args.yes ? async () => true : consent
              budget = await prepareBudget({ home, relay, modelId, maxTokens, priceMax, consent: agree, onLine: say, signal: interrupted })
              return budget.budget
            },
          }
        : {}),
      signal: interrupted,
      onText: (piece) => {
        answer += piece
        if (!args.json && piece !== '') process.stdout.write(piece)
      },
      ...(process.stderr.isTTY ? { onLine: say } : {}),
    })
    if (!args.json) process.stdout.write('\n')
    const { question, tokens, stop, receipt, chain, lost, rounds } = result
    if (args.receipt !== undefined) {
      if (receipt) await writeReceipt(args.receipt, receipt)
      else say('No host signed a receipt in time; the answer stands, but there is nothing to verify it by.')
    }
    if (receipt?.payments) {
      const { publishClaims } = await import('../payments/publish.ts')
      await publishClaims(relay, receipt, args.open === true).catch((error) => say(`The receipts were not left at the relay: ${messageOf(error)}`))
    }
    const input = inputHash(question)
    const prefillTokensPerSecond = rate(question.prompt.length, result.prefillMs)
    const decodeTokensPerSecond = rate(tokens.length - 1, result.decodeMs)
    if (args.json) {
      printJson({
        text: answer,
        tokens,
        modelId,
        inputHash: hex(input),
        outputHash: hex(outputHash(input, tokens, stop)),
        backend: 'swarm',
        ...paidJson(result, budget),
        chain,
        lost,
        stallsMs: result.stallsMs,
        rounds,
        prefillTokensPerSecond,
        decodeTokensPerSecond,
        stop,
        receipt,
      })
    } else if (process.stderr.isTTY)
      say(
        `${question.prompt.length} tokens read at ${prefillTokensPerSecond}/s, ${tokens.length} written at ${decodeTokensPerSecond}/s in ${rounds} rounds, stopped by ${stop}`,
      )
  } finally {
    await budget?.close()
    await identity.release()
    endSoon()
  }
}

/** µ, as decimal strings like everywhere in the ledger's JSON. `returned` is free again when the session ends: in the block that settles it, or ten minutes later when one of several hosts did not say that it is over. */
function paidJson({ paid }: SwarmAnswer, budget: Paid | null): Record<string, unknown> {
  if (!budget) return {}
  const limit = budget.budget.limit
  const amount = BigInt(paid?.paid ?? 0)
  return {
    paid: amount.toString(),
    limit: limit.toString(),
    returned: (limit - amount).toString(),
    channel: budget.budget.channel,
    session: paid?.legs.at(-1)?.session ?? null,
    sessions: paid?.legs.map(({ session, number, tokens, amount: part }) => ({ session, number, tokens, amount: String(part) })) ?? [],
  }
}

/** Tokens per second with one decimal, 0 when there was nothing to time. */
const rate = (tokens: number, ms: number) => (tokens > 0 && ms > 0 ? Math.round((tokens / ms) * 10_000) / 10 : 0)

function samplerOf(args: Record<string, unknown>): Sampler {
  const text = (name: string) => args[name] as string
  const repeatPenalty = q16Option('repeat-penalty', text('repeat-penalty'), 0.1, 10)!
  return {
    temperature: q16Option('temperature', text('temperature'), 0, 100)!,
    topK: integerOption('top-k', text('top-k'), 0, 262_144)!,
    topP: Math.max(1, q16Option('top-p', text('top-p'), 0, 1)!),
    minP: q16Option('min-p', text('min-p'), 0, 1)!,
    repeatPenalty,
    // A penalty of 1 is none: the window must not change the hash of a question that does not use it.
    repeatWindow: repeatPenalty === 65_536 ? 0 : integerOption('repeat-window', text('repeat-window'), 0, 256)!,
  }
}

async function readInput(): Promise<string> {
  if (process.stdin.isTTY) return ''
  let text = ''
  process.stdin.setEncoding('utf8')
  for await (const piece of process.stdin) text += piece
  return text.trimEnd()
}
