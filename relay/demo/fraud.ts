// A fraud from beginning to end, with real processes and a real model: a relay that holds no model, a host that cheats (or an honest one and a griefer), an auditor, and a judge.
// Everything goes through the relay's API; this process asks the question, watches, and tells what happens.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { credit, formatAmount } from '../../ledger/amount.ts'
import { narrowedLine } from '../../ledger/dispute/story.ts'
import { disputeIdOf } from '../../ledger/names.ts'
import { keyOf } from '../../ledger/records.ts'
import { role } from '../../ledger/transaction.ts'
import { fromHex, hex } from '../../protocol/hash.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { openTokenizer } from '../../protocol/model/tokenizer.ts'
import { messageOf, RelayError } from '../errors.ts'
import { LedgerClient } from '../ledger/client.ts'
import { createJob } from '../ledger/jobs.ts'
import { decodeTokens } from '../ledger/pins.ts'
import { registrationOf } from '../ledger/registration.ts'
import { readSecret } from '../mesh/identity.ts'
import type { Store, StoredModel } from '../store.ts'
import { readStanding, roundLine } from '../watch/rounds.ts'
import { agentLine } from '../watch/start.ts'
import { ChainView } from '../watch/view.ts'
import type { ChildSetup } from './child.ts'
import type { JudgeReport } from './judge.ts'

export interface FraudOptions {
  store: Store
  model: StoredModel
  prompt: string
  maxTokens: number
  /** What the host alters: what leaves this layer, at this position of the sequence (null: two tokens into the answer). */
  layer: number
  position: number | null
  /** Nobody cheats; somebody challenges the true answer. */
  honest: boolean
  /** Port of the demonstration's relay, 0 for a free one: its pages show the same dispute while it runs. */
  port: number
  pages: string
  onLine: (line: string) => void
  onEvent: (event: { type: string; [field: string]: unknown }) => void
  signal: AbortSignal
}

export interface FraudResult {
  verdict: string | null
  /** The wrong party lost: the cheat, or the griefer, and nobody else. */
  justice: boolean
  moves: number
  reveals: number
  /** Largest evidence, and the judge's time for it. */
  evidenceBytes: number
  judge: JudgeReport | null
  /** Models that relay and judge had on their disks. */
  modelsOfJudge: number
  seconds: number
  disputeSeconds: number
  /** What each account owns (balance and stake), µ, before and after. */
  wealth: Record<string, { before: string; after: string }>
  answer: string
  right: string | null
}

const partyNames = ['requester', 'host', 'auditor', 'griefer'] as const
type Party = (typeof partyNames)[number]

const program = (name: string): string => fileURLToPath(new URL(name, import.meta.url))
/** Pieces of evidence that are told one by one. */
const judgedShown = 3
/** Everything together; a demonstration that takes longer has failed. */
const secondsMax = 300

interface Line {
  type: string
  [field: string]: unknown
}

class Child {
  readonly process: ChildProcess
  readonly name: string
  private readonly lines: Line[] = []
  private readonly waiting = new Set<() => void>()
  private over = false
  private stopping = false

  constructor(name: string, setup: ChildSetup, onLine: (line: Line) => void) {
    this.name = name
    // The environment's home would be the user's.
    const env = { ...process.env, MEADOW_HOME: setup.home }
    // A judge keeps nothing for long: a small nursery is enough.
    const args = name === 'judge' ? ['--max-semi-space-size=2', program('judge-process.ts')] : [program('child.ts'), name]
    this.process = spawn(process.execPath, [...args, JSON.stringify(setup)], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'], env })
    let errors = ''
    this.process.stderr!.on('data', (data) => {
      errors = `${errors}${data}`.slice(-2000)
    })
    createInterface({ input: this.process.stdout! }).on('line', (text) => {
      if (this.stopping) return
      const line = JSON.parse(text) as Line
      this.lines.push(line)
      onLine(line)
      for (const wake of this.waiting) wake()
    })
    this.process.on('close', (code) => {
      this.over = true
      if (code !== 0 && code !== null) onLine({ type: 'crashed', reason: errors.trim().split('\n').slice(-5).join(' | ') })
      for (const wake of this.waiting) wake()
    })
  }

  /** The first line of a type. Throws RelayError when the process ends without one. */
  async line(type: string, signal: AbortSignal): Promise<Line> {
    for (;;) {
      signal.throwIfAborted()
      const found = this.lines.find((line) => line.type === type)
      if (found) return found
      if (this.over) throw new RelayError(`The ${this.name} has ended: ${JSON.stringify(this.lines.at(-1) ?? {})}`)
      await new Promise<void>((resolve, reject) => {
        const wake = (): void => {
          this.waiting.delete(wake)
          resolve()
        }
        this.waiting.add(wake)
        signal.addEventListener('abort', () => reject(signal.reason), { once: true })
      })
    }
  }

  async stop(): Promise<void> {
    this.stopping = true
    if (this.process.exitCode !== null || this.process.signalCode !== null) return
    await new Promise<void>((resolve) => {
      this.process.once('close', () => resolve())
      this.process.kill('SIGTERM')
      const patience = globalThis.setTimeout(() => this.process.kill('SIGKILL'), 5000)
      patience.unref()
    })
  }
}

/** Plays it out; everything it started is gone when it returns or throws. */
export async function runFraud(options: FraudOptions): Promise<FraudResult> {
  const folder = await mkdtemp(join(tmpdir(), 'meadow-fraud-'))
  const children: Child[] = []
  try {
    return await play(options, folder, children)
  } finally {
    await Promise.all(children.map((one) => one.stop()))
    await rm(folder, { recursive: true, force: true })
  }
}

async function play(options: FraudOptions, folder: string, children: Child[]): Promise<FraudResult> {
  const { store, model, honest, onLine, onEvent } = options
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(secondsMax * 1000)])
  const began = performance.now()
  const seconds = (): number => Math.round((performance.now() - began) / 100) / 10
  const tell = (line: string): void => onLine(`${seconds().toFixed(1).padStart(6)} s  ${line}`)
  const { core } = model.manifest
  const tokenizer = openTokenizer(new Uint8Array(await readFile(store.file(model.id, 'tokenizer')!)))
  const text = (tokens: readonly number[]): string => tokenizer.decode(tokens.filter((token) => !tokenizer.stopIds.includes(token))).trim()

  // Accounts, one home each.
  const parties = partyNames.filter((name) => honest || name !== 'griefer')
  const homes = Object.fromEntries([...parties, 'relay', 'judge'].map((name) => [name, join(folder, name)])) as Record<Party | 'relay' | 'judge', string>
  const secrets = {} as Record<Party, Uint8Array>
  for (const name of parties) secrets[name] = await readSecret(homes[name], 'host')
  const accounts = Object.fromEntries(parties.map((name) => [name, hex(publicKeyOf(secrets[name]))])) as Record<Party, string>
  const nameOf = (account: string): string => parties.find((name) => accounts[name] === account) ?? account.slice(0, 12)

  const hear =
    (name: string) =>
    (line: Line): void => {
      onEvent({ ...line, who: name })
      if (line.type === 'crashed') tell(`${name}: ${line.reason}`)
      // Moves of the dispute are told from the chain; a cheat's opinion of its own claim is none.
      const own = line.type === 'checked' && ((name === 'host' && !honest) || name === 'griefer')
      const words = own
        ? name === 'host'
          ? 'has built the trace of what it did.'
          : 'says that the claim is wrong.'
        : line.type === 'sent' && line.move !== null
          ? null
          : agentLine(line)
      if (words) tell(`${name}: ${words}`)
    }
  const start = (name: Party | 'relay' | 'judge', setup: Omit<ChildSetup, 'home'>): Child => {
    const made = new Child(name === 'requester' ? 'host' : name, { home: homes[name], ...setup }, hear(name))
    children.push(made)
    return made
  }

  const relay = start('relay', { allocations: parties.map((name) => [accounts[name], String(300n * credit)]), port: options.port, pages: options.pages })
  const listening = await relay.line('listening', signal)
  const address = String(listening.address)
  tell(`A relay is at ${address}; it orders the ledger and holds ${listening.models} models.`)
  const client = new LedgerClient(address)
  const view = new ChainView(client)
  const send = (name: Party, body: Parameters<LedgerClient['submit']>[1]) => client.submit(secrets[name], body)

  await send('requester', registrationOf(model.manifest, 1000n, { owner: 300, trainer: 0 }, publicKeyOf(secrets.requester)))
  await send('host', { kind: 'stake', amount: 50n * credit, roles: role.host })
  await send('auditor', { kind: 'stake', amount: 25n * credit, roles: role.auditor })
  tell(`${core.name} is registered by its roots; the host has staked 50 credits, the auditor 25.`)

  const prompt = tokenizer.encodePrompt(options.prompt)
  const position = options.position ?? prompt.length + 1
  const alteration = honest ? null : { layer: options.layer, position, index: 100 % core.hidden, bit: 20 }
  const common = { relay: address, models: store.home, model: model.id }
  start('host', { ...common, alteration })
  start('auditor', common)
  if (honest) start('griefer', common)

  const wealthOf = async (): Promise<Record<string, bigint>> => {
    const found: Record<string, bigint> = {}
    for (const name of parties) {
      const { balance, stake } = await client.account(fromHex(accounts[name]))
      found[name] = BigInt(balance) + BigInt(stake)
    }
    return found
  }
  const before = await wealthOf()

  // The question.
  const { job } = await createJob(client, secrets.requester, {
    model: model.id,
    tokens: prompt,
    maxTokens: options.maxTokens,
    stopIds: [...tokenizer.stopIds],
    fee: credit / 10n,
    deadlineMs: Date.now() + 600_000,
  })
  tell(`The requester asks “${options.prompt}” (${prompt.length} tokens) for 0.1 credits: job ${hex(job).slice(0, 12)}.`)

  // The answer.
  const claimId = await waitFor(signal, async () => (await view.record(keyOf.job(job)))?.claim ?? null)
  const claim = await view.must(keyOf.claim(claimId))
  const pinned = await waitFor(signal, () => view.pinned(`tokens/${hex(claim.outRoot)}`))
  const answer = text(decodeTokens(pinned).tokens)
  let right: string | null = null
  tell(`The host has revealed its answer, with ${formatAmount(claim.stake)} credits at stake: “${answer}”`)
  if (!honest) {
    const altered = await children.find(({ name }) => name === 'host')!.line('altered', signal)
    right = text(altered.right as number[])
    tell(
      `(It has flipped bit ${altered.bit} of element ${altered.index} of what leaves layer ${altered.layer} at position ${altered.position}. Right would be: “${right}”)`,
    )
  }

  // The dispute, as anyone can follow it.
  const id = disputeIdOf(claimId, 0)
  let shown = 0
  let opened = 0
  let reveals = 0
  let drawn = false
  const verdict = await waitFor(signal, async () => {
    const dispute = await view.record(keyOf.dispute(id))
    const now = await view.record(keyOf.claim(claimId))
    if (!now && !dispute) throw new RelayError('The claim became final and nobody had objected.')
    if (now?.auditing.phase === 'drawn' && !drawn) {
      drawn = true
      tell('The beacon has drawn the claim: the auditor must run it again and answer blind.')
    }
    if (!dispute) return null
    opened ||= performance.now()
    const rounds = await view.rounds(id)
    const standing = await readStanding(view, dispute).catch(() => null)
    for (const one of rounds.slice(shown)) {
      const line = roundLine(one)
      if (['reveal', 'open', 'expand'].includes(line.move)) reveals++
      onEvent({ who: nameOf(line.from), ...line, type: 'round' })
      tell(
        `block ${String(line.height).padStart(3)}  ${nameOf(line.from).padEnd(9)} ${line.move.padEnd(9)} ${String(line.bytes).padStart(6)} bytes  ${line.detail}`,
      )
    }
    if (rounds.length > shown && standing)
      for (const one of standing.standing.arguments.filter(({ state }) => state === 'live'))
        tell(`${' '.repeat(11)}in question: ${narrowedLine(one, standing.layers)}`)
    shown = rounds.length
    return dispute.verdict
  })
  const disputeSeconds = Math.round((performance.now() - opened) / 100) / 10
  tell(`Verdict: the claim is ${verdict}.`)

  // The judge by itself, over the whole chain.
  const judging = start('judge', { relay: address })
  const report = (await judging.line('judged', signal)) as unknown as JudgeReport & { models: number }
  const [proof] = report.judged.slice().sort((a, b) => b.evidenceBytes - a.evidenceBytes)
  tell(`A judge with ${report.models} models ran all ${report.blocks} blocks again: every root is equal, ${report.memoryMB} MB at most.`)
  for (const one of report.judged.slice(0, judgedShown))
    tell(
      `  ${one.op}, element ${one.element}: ${one.verdict}, from ${one.evidenceBytes} bytes of evidence in ${one.judgeMs.toFixed(2)} ms (the first time ${one.firstMs.toFixed(1)})`,
    )

  const after = await wealthOf()
  const wealth: FraudResult['wealth'] = {}
  for (const name of parties) {
    const gained = after[name] - before[name]
    wealth[name] = { before: String(before[name]), after: String(after[name]) }
    tell(
      `${name.padEnd(9)} ${formatAmount(before[name]).padStart(11)} -> ${formatAmount(after[name]).padStart(11)}  ${gained < 0n ? '-' : '+'}${formatAmount(gained < 0n ? -gained : gained)}`,
    )
  }
  const gain = (name: Party): bigint => after[name] - before[name]
  const justice = honest
    ? verdict === 'upheld' && gain('griefer') < -credit && gain('host') > -credit / 10n
    : verdict === 'fallen' && gain('host') <= -claim.stake && gain('auditor') > 0n
  return {
    verdict,
    justice,
    moves: shown,
    reveals,
    evidenceBytes: proof?.evidenceBytes ?? 0,
    judge: report,
    modelsOfJudge: report.models,
    seconds: seconds(),
    disputeSeconds,
    wealth,
    answer,
    right,
  }
}

/** Asks twice a second until there is an answer. Before the first block, and while blocks change, there may be none. */
async function waitFor<T>(signal: AbortSignal, ask: () => Promise<T | null>): Promise<T> {
  for (;;) {
    signal.throwIfAborted()
    const found = await ask().catch((error) => {
      if (error instanceof RelayError && /no block yet|has no /.test(messageOf(error))) return null
      throw error
    })
    if (found !== null) return found
    await setTimeout(500, undefined, { signal })
  }
}
