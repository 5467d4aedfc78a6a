// A chain in the middle of its life: a model, a channel with a session, jobs in every phase, stakes. Tests and the fuzzer start from here, with a good transaction of
// every kind that can succeed.
import { encode } from '@ipld/dag-cbor'
import { claimIdOf, jobIdOf, outOf, sessionIdOf } from '../../ledger/names.ts'
import { type Body, commitmentOf, type SessionTerms } from '../../ledger/transaction.ts'
import { join } from '../../protocol/hash.ts'
import { credit, day, testCore, World, type WorldOptions, word } from './world.ts'

export const nobody = word('nobody')

export class Scene extends World {
  readonly model: Uint8Array
  readonly terms: SessionTerms
  /** Of sessions by two hosts. */
  readonly pair: SessionTerms
  readonly freshJob: Uint8Array
  readonly committedJob: Uint8Array
  readonly answeredJob: Uint8Array
  readonly claim: Uint8Array
  readonly out = { m: 5, stop: 1, outRoot: word('out'), logRoot: null }
  readonly nonce = word('nonce')

  constructor(options?: WorldOptions) {
    super(options)
    this.model = this.registerModel()
    this.send('ann', 'channel.open', { number: 0, deposit: 10n * credit })
    this.send('bob', 'stake', { amount: 1000n * credit, roles: 3 })
    this.send('cat', 'stake', { amount: 500n * credit, roles: 2 })
    this.terms = { model: this.model, hosts: [{ account: this.who('bob').id, from: 0, to: 4 }], limit: 2n * credit, untilMs: this.timeMs + day }
    const halves = ['bob', 'cat'].map((name, i) => ({ account: this.who(name).id, from: i * 2, to: i * 2 + 2 }))
    this.pair = { ...this.terms, hosts: halves }
    this.block()
    this.send('bob', 'channel.settle', this.voucher('ann', 0, this.terms, credit, false))
    this.freshJob = this.createJob(1)
    this.committedJob = this.createJob(2)
    this.answeredJob = this.createJob(3)
    this.send('bob', 'job.commit', { job: this.committedJob, commitment: this.commitment(this.committedJob) })
    this.send('bob', 'job.commit', { job: this.answeredJob, commitment: this.commitment(this.answeredJob) })
    this.block()
    this.send('bob', 'job.reveal', { job: this.answeredJob, ...this.out, answer: word('answer'), nonce: this.nonce })
    this.claim = claimIdOf(outOf(this.answeredJob, this.out), this.who('bob').id)
    this.block()
  }

  commitment(job: Uint8Array): Uint8Array {
    return commitmentOf(this.name, this.who('bob').id, outOf(job, this.out), this.nonce)
  }

  createJob(seed: number): Uint8Array {
    const body = this.jobBody(this.model, { seed: word(`seed ${seed}`) })
    const { id } = this.who('ann')
    const nonce = this.chain.state.account(id).nonce
    this.send('ann', 'job.create', body)
    return jobIdOf(this.name, id, nonce, body)
  }

  get sessionId(): Uint8Array {
    return sessionIdOf(this.name, this.who('ann').id, 0, 0)
  }

  registration(change: object = {}): Body {
    return {
      kind: 'model.register',
      core: testCore('second'),
      tensorTableRoot: word('a'),
      constTablesRoot: word('b'),
      shardListHash: word('c'),
      price: 1n,
      split: { owner: 1, trainer: 1 },
      trainer: nobody,
      auditRate: 0,
      ...change,
    }
  }

  fee(change: object = {}): Body {
    return { kind: 'model.setFee', model: this.model, price: 5n, split: { owner: 100, trainer: 0 }, trainer: nobody, auditRate: 500, ...change }
  }

  job(change: object = {}): Body {
    return { kind: 'job.create', ...this.jobBody(this.model), ...change }
  }

  reveal(change: object = {}): Body {
    return { kind: 'job.reveal', job: this.committedJob, ...this.out, answer: word('answer'), nonce: this.nonce, ...change }
  }

  /** A voucher of ann's, shown by whoever sends it. */
  settle(amount: bigint, change: object = {}, session = 0, terms = this.terms): Body {
    return { kind: 'channel.settle', ...this.voucher('ann', session, terms, amount, false), ...change }
  }

  /** The last voucher of a session of ann's by bob and cat, whose word comes along. */
  end(amount: bigint, change: object = {}, session = 2, by = 'bob', terms = this.pair): Body {
    return { kind: 'channel.end', ...this.ending('ann', session, terms, amount, by), ...change }
  }

  /** Two records signed by `signer`, said to be by `host`. */
  equivocation(a = 1, b = 2, position = 5, signer = 'cat', host = signer): Body {
    const record = (out: number, at: number) => encode([word('session'), 0, 1, at, word('in'), word(`out ${out}`), 7])
    const [first, second] = [record(a, 5), record(b, position)]
    const signed = (bytes: Uint8Array) => this.signTagged(signer, 'record', join([this.name, bytes]))
    return { kind: 'dispute.equivocation', host: this.who(host).id, first, firstSignature: signed(first), second, secondSignature: signed(second) }
  }

  /** One good transaction of every kind that can succeed now, each on its own: who sends it, and what. */
  good(): [by: string, body: Body][] {
    const ann = this.who('ann').id
    return [
      ['ann', { kind: 'transfer', to: nobody, amount: 1n, note: new Uint8Array(3) }],
      ['ann', { kind: 'stake', amount: credit, roles: 1 }],
      ['cat', { kind: 'unstake', amount: credit }],
      ['eve', this.registration()],
      ['operator', { kind: 'model.transfer', model: this.model, to: nobody }],
      ['operator', this.fee()],
      ['ann', this.job()],
      ['ann', this.job({ maxTokens: 1, segment: { layers: { from: 1, to: 3 }, boundary: nobody }, input: nobody })],
      ['bob', { kind: 'job.commit', job: this.freshJob, commitment: nobody }],
      ['bob', this.reveal()],
      ['ann', { kind: 'job.cancel', job: this.freshJob }],
      ['dan', this.equivocation()],
      ['ann', { kind: 'channel.open', number: 1, deposit: credit }],
      ['ann', { kind: 'channel.topUp', number: 0, amount: credit }],
      ['bob', this.settle(credit + credit / 2n)],
      ['bob', this.settle(credit / 2n, {}, 1)],
      ['ann', { kind: 'channel.close', owner: ann, number: 0, session: null }],
      ['bob', { kind: 'channel.close', owner: ann, number: 0, session: 0 }],
      ['cat', this.end(credit / 2n, {}, 2, 'cat')],
      ['ann', this.end(credit, { terms: null }, 0, 'ann', this.terms)],
      ['operator', { kind: 'faucet.grant', to: nobody }],
      ['operator', { kind: 'parameters.set', parameters: { ...this.chain.parameters, feeBase: 90n } }],
      ['operator', { kind: 'validators.set', validators: [{ key: nobody, power: 3 }] }],
    ]
  }

  /** Kinds whose time has not come in this scene: refused by their rule, but everything before it is reached. */
  early(): [by: string, body: Body][] {
    const bytes = new Uint8Array(40)
    return [
      ['bob', { kind: 'job.claim', job: this.answeredJob }],
      ['dan', { kind: 'job.expire', job: this.freshJob }],
      ['cat', { kind: 'audit.commit', claim: this.claim, commitment: nobody }],
      ['cat', { kind: 'audit.report', claim: this.claim, answer: nobody, leaves: [nobody], salt: nobody }],
      ['dan', { kind: 'dispute.open', claim: this.claim, host: 0, opening: bytes }],
      ['dan', { kind: 'dispute.move', dispute: nobody, move: bytes }],
      ['dan', { kind: 'dispute.judge', dispute: nobody, evidence: bytes }],
      ['dan', { kind: 'dispute.timeout', dispute: nobody }],
      ['ann', { kind: 'channel.reclaim', number: 0 }],
    ]
  }
}
