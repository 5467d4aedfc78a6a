// A relay's ledger behind its real API, agents that talk to it over HTTP, and a clock that the test moves: a block is made when every agent has done what the last one
// asked for. So nothing depends on how fast the machine is.
import { setTimeout as sleep } from 'node:timers/promises'
import { Hono } from 'hono'
import { defaultGenesis, defaultParameters, hurried, type Parameters } from '../../../ledger/genesis.ts'
import { disputeIdOf, jobIdOf } from '../../../ledger/names.ts'
import { type Dispute, keyOf } from '../../../ledger/records.ts'
import { type BodyOf, role } from '../../../ledger/transaction.ts'
import { encodeSampler } from '../../../protocol/engine/answer.ts'
import { TokenList } from '../../../protocol/engine/proof/tokens.ts'
import { createReferenceEngine } from '../../../protocol/engine/reference.ts'
import { greedy, type Sampler } from '../../../protocol/engine/sampler.ts'
import { fromHex, hashTagged, hex } from '../../../protocol/hash.ts'
import { modelIdOf } from '../../../protocol/model/identity.ts'
import { ledgerRoutes } from '../../../relay/ledger/api.ts'
import { LedgerClient } from '../../../relay/ledger/client.ts'
import { LedgerNode } from '../../../relay/ledger/node.ts'
import { encodeTokens, Pins } from '../../../relay/ledger/pins.ts'
import { registrationOf } from '../../../relay/ledger/registration.ts'
import { type RunningServer, startServer } from '../../../relay/server.ts'
import { Agent, type AgentNotice, type AgentOptions } from '../../../relay/watch/agent.ts'
import { Journal } from '../../../relay/watch/journal.ts'
import { type HeldModel, type Mind, ModelMind } from '../../../relay/watch/mind.ts'
import { ChainView } from '../../../relay/watch/view.ts'
import { smallCore, type TinyModel, tinyModel } from '../../ledger/dispute/tiny.ts'
import { credit, operator, person, startMs, word } from '../../ledger/world.ts'

export const heldTiny = (model: TinyModel): HeldModel => ({
  manifest: model.manifest,
  weights: model.weights,
  open: (from, to) => createReferenceEngine(model, { segment: { from, to } }),
})

export interface Player {
  name: string
  agent: Agent
  notices: AgentNotice[]
  stop(): Promise<void>
}

export interface PlayerOptions extends Partial<Pick<AgentOptions, 'solve' | 'share' | 'demand' | 'strategy' | 'retained' | 'only' | 'knows' | 'keeps'>> {
  mind?: Mind
  journal?: Journal
}

export class Stage {
  readonly node: LedgerNode
  readonly pins = new Pins(':memory:', () => this.nowMs)
  readonly model: TinyModel
  readonly modelId: string
  readonly mind: ModelMind
  readonly players: Player[] = []
  nowMs = startMs
  address = ''
  private server: RunningServer | null = null

  private constructor(model: TinyModel, parameters: Partial<Parameters>, people: readonly string[]) {
    this.model = model
    this.modelId = modelIdOf(model.manifest)
    this.mind = new ModelMind(heldTiny(model))
    const genesis = defaultGenesis(operator.id, startMs, 'meadow-stage')
    const allocations = [...genesis.allocations, ...people.map((name) => ({ account: person(name).id, amount: 10_000n * credit }))]
    const all = { ...hurried(defaultParameters, 60), blockIntervalMs: 1000, auditors: 0, ...parameters }
    this.node = new LedgerNode({ folder: ':memory:', secret: operator.secret, genesis: { ...genesis, allocations, parameters: all }, now: () => this.nowMs })
  }

  static async open(
    parameters: Partial<Parameters> = {},
    people = ['ann', 'bob', 'cat', 'dan', 'eve'],
    seed = 1,
    layers = 2,
    given?: TinyModel,
  ): Promise<Stage> {
    const model = given ?? (await tinyModel({ ...smallCore('llama'), layers }, seed))
    const stage = new Stage(model, parameters, people)
    const app = new Hono()
    app.route('/ledger', ledgerRoutes(stage.node, { pins: stage.pins, submits: fast, reads: fast }))
    stage.server = await startServer(app, 0, '127.0.0.1')
    stage.address = `http://127.0.0.1:${stage.server.port}`
    await stage.client().submit(operator.secret, registrationOf(model.manifest, 1000n, { owner: 500, trainer: 0 }, operator.id))
    await stage.block()
    return stage
  }

  client(): LedgerClient {
    return new LedgerClient(this.address)
  }

  async stake(name: string, roles: number = role.host, amount = 500n * credit): Promise<void> {
    await this.client().submit(person(name).secret, { kind: 'stake', amount, roles })
  }

  /** An agent of `name`, following the chain. */
  play(name: string, { mind, journal, ...options }: PlayerOptions = {}): Player {
    const abort = new AbortController()
    const notices: AgentNotice[] = []
    const own = journal ?? new Journal(null)
    const agent = new Agent({
      client: this.client(),
      secret: person(name).secret,
      journal: own,
      mindOf: async (id) => (id === this.modelId ? (mind ?? this.mind) : null),
      onNotice: (notice) => void notices.push(notice),
      signal: abort.signal,
      ...options,
    })
    const running = agent.run()
    const player: Player = {
      name,
      agent,
      notices,
      stop: async () => {
        this.players.splice(this.players.indexOf(player), 1)
        abort.abort()
        await running
        if (!journal) own.close()
      },
    }
    this.players.push(player)
    return player
  }

  /** One block, `ms` after the last, if there is anything to put into one; resolves when every agent has done what it asks for. */
  async block(ms = 6000): Promise<void> {
    this.nowMs += ms
    const before = this.node.head?.header.height ?? 0
    this.node.seal()
    const height = this.node.head?.header.height ?? 0
    if (height === before) return
    for (const { agent } of [...this.players]) while (!agent.isSettled(height)) await sleep(2)
  }

  /** Blocks until `done`; throws with what everybody told when it takes too long. */
  async until(done: () => boolean, what: string, ms = 6000, blocksMax = 900): Promise<void> {
    for (let count = 0; !done(); count++) {
      if (count > blocksMax) {
        const told = this.players.map(
          ({ name, notices }) =>
            `${name}: ${notices
              .slice(-12)
              .map((notice) => JSON.stringify(notice))
              .join(' ')}`,
        )
        throw new Error(`${what} did not come\n${told.join('\n')}`)
      }
      await this.poke()
      await this.block(ms)
    }
  }

  /** Makes the next block come although nobody sends anything. */
  async poke(): Promise<void> {
    await this.client().submit(operator.secret, { kind: 'transfer', to: word('nobody'), amount: 1n, note: new Uint8Array(0) })
  }

  /** A job of `name` with its prompt pinned. */
  async ask(
    name: string,
    prompt: number[],
    change: Partial<BodyOf<'job.create'>> = {},
    { pin = true, sampler = greedy }: { pin?: boolean; sampler?: Sampler } = {},
  ): Promise<{ job: Uint8Array; tokenKey: Uint8Array; body: BodyOf<'job.create'> }> {
    const { secret, id } = person(name)
    const tokenKey = new Uint8Array(hashTagged('test-token-key', id, Uint8Array.from(prompt)))
    const list = new TokenList(prompt, tokenKey, 0)
    const body: BodyOf<'job.create'> = {
      kind: 'job.create',
      model: fromHex(this.modelId),
      programVersion: 1,
      promptRoot: list.root,
      promptCount: prompt.length,
      sampler: encodeSampler(sampler),
      seed: word(`seed of ${prompt.join()}`),
      maxTokens: 3,
      stopIds: [],
      privacy: 0,
      fee: credit / 10n,
      stakeMin: 0n,
      deadlineMs: this.nowMs + 3_600_000,
      segment: null,
      input: null,
      ...change,
    }
    const job = jobIdOf(this.node.name, id, this.node.chain.state.account(id).nonce, body)
    await this.client().submit(secret, body)
    if (pin) await new ChainView(this.client()).pin(`tokens/${hex(list.root)}`, encodeTokens({ tokenKey, kind: 0, tokens: prompt }), { job: hex(job) })
    return { job, tokenKey, body }
  }

  /** The claim that answers a job, once there is one. */
  claimOf(job: Uint8Array): Uint8Array | null {
    return this.node.get(keyOf.job(job))?.claim ?? null
  }

  disputeOf(claim: Uint8Array, host = 0): Dispute | undefined {
    return this.node.get(keyOf.dispute(disputeIdOf(claim, host)))
  }

  account(name: string) {
    return this.node.chain.state.account(person(name).id)
  }

  /** Balance, stake and what is on its way back. */
  wealth(name: string): bigint {
    const { balance, stake } = this.account(name)
    return balance + stake
  }

  async close(): Promise<void> {
    for (const player of [...this.players]) await player.stop()
    await this.server?.close()
    this.node.close()
    this.pins.close()
  }
}

const fast = { perSecond: 1e6, burst: 1e6 }
