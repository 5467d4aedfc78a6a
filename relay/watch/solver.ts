// Answers open jobs for their fee: run, write the answer down, commit, reveal in a later block, pin the tokens, and be paid when the window has closed. A crash at any
// point costs nothing: what was committed to is in the journal, and the nonce follows from the key.
import { formatAmount } from '../../ledger/amount.ts'
import { stakeFor } from '../../ledger/apply/job.ts'
import { answerOf, claimIdOf, outOf } from '../../ledger/names.ts'
import { freeStake } from '../../ledger/purse.ts'
import { type Claim, type Clock, type Job, keyOf } from '../../ledger/records.ts'
import { commitmentOf, privacyClasses } from '../../ledger/transaction.ts'
import { decodeSampler, noiseKeyOf, stopCodeOf } from '../../protocol/engine/answer.ts'
import { TokenList } from '../../protocol/engine/proof/tokens.ts'
import { equalBytes, fromHex, hex } from '../../protocol/hash.ts'
import { decodeTokens, encodeTokens, type PinnedTokens } from '../ledger/pins.ts'
import { recordsRootOf } from '../ledger/rows.ts'
import type { Agent } from './agent.ts'
import type { Mind } from './mind.ts'
import { solverNonce } from './secrets.ts'
import { evaluated, givenRows } from './segments.ts'

interface Saved {
  tokenKey: string
  prompt: number[]
  tokens: number[]
  stop: number
  /** Of a segment job: its records, and the rows that leave it (null where a token is chosen), in base64. */
  segment?: { records: string; rows: string | null }
}

const fromBase64 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'))

/** A job is not begun with less time than this to its deadline. */
const leastMs = 5000
/** Fees of commit, reveal and claim together are below this, µ (measured: about 1,500). */
const ownFees = 2500n
/** How soon a job whose prompt is not shown yet, or which others have taken, is looked at again. */
const againMs = 2000
/** How soon a job is looked at again for which there is not enough stake now. */
const poorMs = 30_000

export class Solver {
  private readonly agent: Agent
  private readonly feeMin: bigint
  private readonly refused = new Set<string>()

  constructor(agent: Agent, { feeMin }: { feeMin: bigint }) {
    this.agent = agent
    this.feeMin = feeMin
  }

  private saved(job: Uint8Array): Saved | undefined {
    return this.agent.journal.get<Saved>(`answer/${hex(job)}`)
  }

  /** Prompt and answer of a job that this account has answered. */
  knownTokens(job: Uint8Array): PinnedTokens[] {
    const saved = this.saved(job)
    if (!saved) return []
    const tokenKey = fromHex(saved.tokenKey)
    return [
      { tokenKey, kind: 0, tokens: saved.prompt },
      { tokenKey, kind: 1, tokens: saved.tokens },
    ]
  }

  /** One open job. Returns when to look again, or null when there is nothing more to do. */
  async look(id: Uint8Array, clock: Clock): Promise<number | null> {
    const { agent } = this
    const job = await agent.view.record(keyOf.job(id))
    // Not in a block yet, or over.
    if (!job) return this.refused.has(`seen ${hex(id)}`) ? null : this.seenOnce(id, clock)
    if (job.claim || this.refused.has(hex(id))) return null
    const commit = await agent.view.record(keyOf.commit(id, agent.account))
    const saved = this.saved(id)
    if (commit) return saved ? this.reveal(id, job, saved, clock, commit) : this.solve(id, job, clock)
    if (saved) return this.commit(id, job, saved)
    const unfit = await this.unfit(job, clock)
    if (unfit) {
      this.refused.add(hex(id))
      agent.tell({ type: 'passed', job: hex(id), reason: unfit })
      return null
    }
    const poor = await this.lacksStake(job)
    if (poor) {
      // Stake comes free when other claims are final.
      if (!this.refused.has(`poor ${hex(id)}`)) agent.tell({ type: 'passed', job: hex(id), reason: poor })
      this.refused.add(`poor ${hex(id)}`)
      return Math.max(clock.timeMs, Date.now()) + poorMs
    }
    // Whoever has committed is given half of its time; then somebody else should answer.
    if (job.commits > 0) {
      const { parameters } = await agent.view.must(keyOf.rules)
      const first = agent.journal.get<number>(`taken/${hex(id)}`) ?? clock.timeMs
      agent.journal.put(`taken/${hex(id)}`, first)
      if (clock.timeMs < first + parameters.revealWindowMs / 2) return clock.timeMs + againMs
    }
    return this.solve(id, job, clock)
  }

  private seenOnce(id: Uint8Array, clock: Clock): number {
    this.refused.add(`seen ${hex(id)}`)
    return clock.timeMs + againMs
  }

  /** Why a job is not for this account. */
  private async unfit(job: Job, clock: Clock): Promise<string | null> {
    const { agent } = this
    if (job.privacy !== privacyClasses.open && !agent.options.knows?.(hex(job.promptRoot)))
      return 'its tokens are not open, and nobody has handed them to this machine'
    if (job.programVersion !== 1) return 'it is for another version of the engine'
    if (job.fee < this.feeMin || job.fee < ownFees) return `its fee of ${job.fee} µ is too low`
    if (job.deadlineMs < Math.max(clock.timeMs, Date.now()) + leastMs) return 'its deadline is too near'
    if (!(await this.mindOf(job))) return job.segment ? 'its layers are not here' : 'its model is not here'
    return null
  }

  private async lacksStake(job: Job): Promise<string | null> {
    const { view, account } = this.agent
    const { parameters } = await view.must(keyOf.rules)
    const needed = stakeFor(parameters, job.fee, job.stakeMin)
    const own = await view.record(keyOf.account(account))
    return !own || freeStake(own) < needed ? `it asks for a free stake of ${formatAmount(needed)} credits` : null
  }

  private async solve(id: Uint8Array, job: Job, clock: Clock): Promise<number> {
    const { agent } = this
    const name = `solve ${hex(id)}`
    if (agent.failure(name)) return Number.POSITIVE_INFINITY
    const prompt = agent.options.knows?.(hex(job.promptRoot)) ?? (await this.pinnedPrompt(job))
    if (prompt?.kind !== 0 || !equalBytes(new TokenList(prompt.tokens, prompt.tokenKey, 0).root, job.promptRoot)) return clock.timeMs + againMs
    const mind = (await this.mindOf(job))!
    const part = await this.partOf(job)
    const rows = part && part.from > 0 ? await givenRows(agent.view, job) : null
    // Rows may be shown later than the job.
    if (part && part.from > 0 && !rows) return clock.timeMs + againMs
    agent.work.add(name, job.deadlineMs, async (signal) => {
      const began = performance.now()
      const question = { sampler: decodeSampler(job.sampler), noise: noiseKeyOf(id, job.seed) }
      const found = part
        ? await evaluated(mind, id, { ...part, ...question, prompt: prompt.tokens, rows, stopIds: job.stopIds }, signal)
        : await mind
            .answer({ ...question, prompt: prompt.tokens, maxTokens: job.maxTokens, stopIds: job.stopIds }, signal)
            .then(({ tokens, stop }): Omit<Saved, 'tokenKey' | 'prompt'> => ({ tokens, stop: stopCodeOf(stop) }))
      agent.journal.put(`answer/${hex(id)}`, { tokenKey: hex(prompt.tokenKey), prompt: [...prompt.tokens], ...found } satisfies Saved)
      agent.tell({
        type: 'answered',
        job: hex(id),
        tokens: found.tokens.length,
        ...(part ? { layers: { from: part.from, to: part.to } } : {}),
        ms: Math.round(performance.now() - began),
      })
    })
    return clock.timeMs + againMs
  }

  private async mindOf({ model, segment }: Job): Promise<Mind | null> {
    const { mindOf } = this.agent.options
    return segment ? mindOf(hex(model), { from: segment.from, to: segment.to }) : mindOf(hex(model))
  }

  /** Layers of a segment job and whether they end the model; null for a whole answer, also where all layers are asked for. */
  private async partOf({ model, segment }: Job): Promise<{ from: number; to: number; last: boolean } | null> {
    if (!segment) return null
    const { layers } = await this.agent.view.must(keyOf.model(model))
    const { from, to } = segment
    return from === 0 && to === layers ? null : { from, to, last: to === layers }
  }

  private async pinnedPrompt(job: Job): Promise<PinnedTokens | null> {
    const pinned = await this.agent.view.pinned(`tokens/${hex(job.promptRoot)}`)
    return pinned && decodeTokens(pinned)
  }

  private out({ tokens, tokenKey, stop, segment }: Saved): { m: number; stop: number; outRoot: Uint8Array; logRoot: Uint8Array | null } {
    const records = segment ? recordsRootOf(fromBase64(segment.records)) : null
    if (records && segment!.rows !== null) return { m: 1, stop, outRoot: records, logRoot: null }
    const list = new TokenList(tokens, fromHex(tokenKey), 1)
    return { m: tokens.length, stop, outRoot: list.root, logRoot: records }
  }

  /** What auditors compare: the answer's tokens, or the rows. */
  private answer(id: Uint8Array, saved: Saved): Uint8Array {
    return saved.segment && saved.segment.rows !== null ? this.out(saved).outRoot : answerOf(fromHex(saved.tokenKey), id, saved.stop, saved.tokens)
  }

  private async commit(id: Uint8Array, job: Job, saved: Saved): Promise<number | null> {
    const { agent } = this
    const { chain } = await agent.options.client.chain()
    const nonce = solverNonce(agent.options.secret, chain, id)
    const commitment = commitmentOf(chain, agent.account, outOf(id, this.out(saved)), nonce)
    const sent = await agent.attempt({ kind: 'job.commit', job: id, commitment }, null)
    if (sent) agent.tell({ type: 'committed', job: hex(id), fee: String(job.fee) })
    // Refused because it is in the block being built, or because somebody else has answered: the next block shows.
    return 0
  }

  private async reveal(id: Uint8Array, job: Job, saved: Saved, clock: Clock, commit: { height: number; untilMs: number }): Promise<number | null> {
    const { agent } = this
    if (clock.height < commit.height) return 0
    if (clock.timeMs >= commit.untilMs) return null
    const { chain } = await agent.options.client.chain()
    const out = this.out(saved)
    const answer = this.answer(id, saved)
    const claim = claimIdOf(outOf(id, out), agent.account)
    agent.track('claim', `${hex(claim)}/0`)
    if (await agent.attempt({ kind: 'job.reveal', job: id, ...out, answer, nonce: solverNonce(agent.options.secret, chain, id) }, null)) {
      agent.tell({ type: 'revealed', job: hex(id), claim: hex(claim), fee: String(job.fee) })
      await this.pin(claim, saved, job.privacy)
    }
    return 0
  }

  /** Shows what stands behind a claim: to all where the job is open, else to whoever has this machine's files. */
  private async pin(claim: Uint8Array, saved: Saved, privacy: number): Promise<void> {
    const { view, journal } = this.agent
    const { outRoot, logRoot } = this.out(saved)
    const { segment } = saved
    const tokens: PinnedTokens = { tokenKey: fromHex(saved.tokenKey), kind: 1, tokens: saved.tokens }
    const about = { claim: hex(claim) }
    if (privacy !== privacyClasses.open) this.agent.options.keeps?.(tokens)
    else {
      if (segment) await view.pin(`records/${hex(logRoot ?? outRoot)}`, fromBase64(segment.records), about)
      if (segment && segment.rows !== null) await view.pin(`rows/${hex(outRoot)}`, fromBase64(segment.rows), about)
      else await view.pin(`tokens/${hex(outRoot)}`, encodeTokens(tokens), about)
    }
    journal.put(`pinned/${hex(claim)}`, true)
  }

  /** One's own claim on the chain: its tokens are shown, and it is paid when nobody can object any more. */
  async care(id: Uint8Array, claim: Claim, nowMs: number): Promise<void> {
    const { agent } = this
    const saved = this.saved(claim.job)
    if (saved && !agent.journal.get(`pinned/${hex(id)}`)) {
      const job = await agent.view.record(keyOf.job(claim.job))
      if (job) await this.pin(id, saved, job.privacy)
    }
    const waiting = claim.auditing.phase === 'waiting' || claim.auditing.phase === 'drawn'
    if (nowMs < claim.finalMs || waiting || claim.disputes > 0) return
    if (await agent.attempt({ kind: 'job.claim', job: claim.job }, null)) agent.tell({ type: 'paid', job: hex(claim.job) })
  }
}
