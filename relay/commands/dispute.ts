// `meadow dispute list | show | open | play`: disputes as they stand, round by round, and taking part in one.
import { defineCommand } from 'citty'
import { formatAmount } from '../../ledger/amount.ts'
import { narrowedLine } from '../../ledger/dispute/story.ts'
import { disputeIdOf } from '../../ledger/names.ts'
import { type Dispute, keyOf } from '../../ledger/records.ts'
import { hex } from '../../protocol/hash.ts'
import { command, endSoon, integerOption, interrupted, printJson, say } from '../cli.ts'
import { RelayError } from '../errors.ts'
import { LedgerClient } from '../ledger/client.ts'
import { toJson } from '../ledger/json.ts'
import { homeFolder, openStore } from '../store.ts'
import type { AgentNotice } from '../watch/agent.ts'
import { caseName } from '../watch/cases.ts'
import { mindsOf } from '../watch/held.ts'
import { readStanding, roundLine } from '../watch/rounds.ts'
import { agentLine, runAgent } from '../watch/start.ts'
import { TokenFiles } from '../watch/token-files.ts'
import { ChainView } from '../watch/view.ts'
import { hexId, type MoneyArgs, moneyOptions, secretFor } from './ledger-options.ts'
import { engineOptions, jsonOption, relayOption } from './options.ts'

const list = command({
  meta: { name: 'list', description: 'Disputes the ledger knows, open ones first' },
  args: { relay: relayOption, json: jsonOption },
  async run({ args }) {
    const view = new ChainView(new LedgerClient(args.relay))
    const found: { id: string; dispute: Dispute }[] = []
    for await (const [id, dispute] of view.list('dispute')) found.push({ id, dispute })
    found.sort((a, b) => Number(a.dispute.verdict !== null) - Number(b.dispute.verdict !== null) || a.dispute.openedHeight - b.dispute.openedHeight)
    if (args.json) return printJson({ disputes: found.map(({ id, dispute }) => ({ id, ...(toJson({ ...dispute, game: dispute.game.length }) as object) })) })
    if (found.length === 0) process.stdout.write('No disputes.\n')
    for (const { id, dispute } of found)
      process.stdout.write(
        `${id}  ${(dispute.verdict ?? 'open').padEnd(6)}  ${dispute.moves} moves since block ${dispute.openedHeight}, host ${dispute.host} of ${hex(dispute.claim).slice(0, 12)}\n`,
      )
  },
})

const idOption = { type: 'positional', required: true, description: 'Id of the dispute: 64 hex digits (`meadow dispute list`)' } as const

const show = command({
  meta: { name: 'show', description: 'A dispute round by round: how far it has narrowed, who is to move, until when' },
  args: { dispute: idOption, relay: relayOption, json: jsonOption },
  async run({ args }) {
    const view = new ChainView(new LedgerClient(args.relay))
    const id = hexId(args.dispute, 'A dispute')
    const dispute = await view.record(keyOf.dispute(id))
    if (!dispute) throw new RelayError('There is no such dispute in the last block.')
    const rounds = (await view.rounds(id)).map(roundLine)
    const found = await readStanding(view, dispute)
    const clock = await view.clock()
    if (args.json)
      return printJson({
        id: args.dispute,
        ...(toJson({ ...dispute, game: dispute.game.length }) as object),
        activeMs: clock.activeMs,
        height: clock.height,
        rounds,
        standing: found && toJson(found.standing),
      })
    const out = [`claim    ${hex(dispute.claim)}, host ${dispute.host}: ${hex(dispute.claimant)}`]
    out.push(`stake    ${formatAmount(dispute.stakeLeft)} left, bonds ${formatAmount(dispute.bonds.reduce((sum, { left }) => sum + left, 0n))}`)
    for (const { height, from, move, detail, bytes } of rounds)
      out.push(`  block ${String(height).padStart(5)}  ${from.slice(0, 12)}  ${move.padEnd(9)} ${String(bytes).padStart(6)} bytes  ${detail}`)
    if (dispute.verdict) out.push(`verdict  ${dispute.verdict}`)
    if (found) {
      const { standing, layers } = found
      const due = (tau: number): string => `${Math.max(0, tau - clock.activeMs) / 1000} s of active time`
      out.push(`phase    ${standing.phase}; ${standing.roots.length} roots, ${standing.roots.filter(({ refuted }) => refuted).length} of them refuted`)
      for (const one of standing.arguments) {
        const who = one.due ? `: the ${one.turn} is to move, within ${due(one.due.tau)}` : ''
        out.push(`  path ${one.path} against root ${one.root} (${one.state}): ${narrowedLine(one, layers)}${who}`)
      }
      if (standing.next) out.push(`next     something is due in ${due(standing.next.tau)}, from block ${standing.next.height} on`)
    }
    process.stdout.write(`${out.join('\n')}\n`)
  },
})

interface PlayArgs extends MoneyArgs {
  threads?: string
}

/** Plays the honest part in one case until there is a verdict, or nothing to do. Returns the verdict, or null when the claim is right and nobody challenges it. */
async function playCase(args: PlayArgs, claim: Uint8Array, host: number, untilRight: boolean): Promise<{ verdict: string | null; finding: string | null }> {
  const ended = new AbortController()
  const signal = AbortSignal.any([interrupted, ended.signal])
  const view = new ChainView(new LedgerClient(args.relay))
  const dispute = keyOf.dispute(disputeIdOf(claim, host))
  let finding: string | null = null
  let verdict: string | null = null
  const hear = (notice: AgentNotice): void => {
    if (args.json) printJson(notice)
    else {
      const line = agentLine(notice)
      if (line) say(line)
    }
    if (notice.type === 'checked') finding = String(notice.verdict)
    if (notice.type === 'checked' && notice.verdict !== 'wrong' && untilRight) ended.abort()
    if (notice.type === 'failed' || notice.type === 'poor') ended.abort()
  }
  const look = setInterval(() => {
    void view
      .record(dispute)
      .then((record) => {
        if (!record?.verdict) return
        verdict = record.verdict
        ended.abort()
      })
      .catch(() => {})
  }, 1000)
  try {
    await runAgent({
      home: homeFolder(),
      ...(args.relay === undefined ? {} : { relay: args.relay }),
      secret: await secretFor(args),
      mindOf: mindsOf(openStore(), integerOption('threads', args.threads, 1, 64)),
      knows: new TokenFiles(homeFolder()).knows,
      share: 1,
      only: caseName(claim, host),
      onNotice: hear,
      signal,
    })
  } finally {
    clearInterval(look)
  }
  interrupted.throwIfAborted()
  return { verdict, finding }
}

const playOptions = {
  threads: engineOptions.threads,
  ...moneyOptions,
  as: { ...moneyOptions.as, default: 'host' },
  json: { ...jsonOption, description: 'Print every notice as a JSON object' },
} as const

const open = command({
  meta: { name: 'open', description: 'Run a claim again, challenge it if it is false, and play to the verdict' },
  args: {
    claim: { type: 'positional', required: true, description: 'Id of the claim or session: 64 hex digits' },
    host: { type: 'string', valueHint: 'n', default: '0', description: 'Which host of a session' },
    ...playOptions,
  },
  async run({ args }) {
    const { verdict, finding } = await playCase(args, hexId(args.claim, 'A claim'), integerOption('host', args.host, 0, 31)!, true)
    if (args.json) printJson({ verdict, finding })
    else
      process.stdout.write(
        verdict
          ? `The claim is ${verdict}.\n`
          : finding === 'wrong'
            ? 'The claim is false, but nothing could be done.\n'
            : 'The claim is right: there is nothing to challenge.\n',
      )
    if (!verdict && finding === 'wrong') process.exitCode = 1
    endSoon()
  },
})

const play = command({
  meta: { name: 'play', description: 'Take the honest side in an open dispute, to its verdict' },
  args: { dispute: idOption, ...playOptions },
  async run({ args }) {
    const dispute = await new LedgerClient(args.relay).record(keyOf.dispute(hexId(args.dispute, 'A dispute')))
    if (!dispute) throw new RelayError('There is no such dispute in the last block.')
    if (dispute.verdict) throw new RelayError(`This dispute is over: the claim was ${dispute.verdict}.`)
    const { verdict, finding } = await playCase(args, dispute.claim, dispute.host, false)
    if (args.json) printJson({ verdict, finding })
    else process.stdout.write(`The claim is ${verdict ?? 'still in dispute'}.\n`)
    if (!verdict) process.exitCode = 1
    endSoon()
  },
})

export const dispute = defineCommand({
  meta: { name: 'dispute', description: 'Disputes: see how they stand, and take part' },
  subCommands: { list, show, open, play },
})
