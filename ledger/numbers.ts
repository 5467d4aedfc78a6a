// Numbers of paid sessions, taken and proven ahead: while tokens come nobody waits for the ledger.
import { sessionIdOf } from './names.ts'
import { keyOf } from './records.ts'
import type { Proven, RemoteLedger } from './remote.ts'
import type { Evidence } from './session.ts'

/** Numbers taken at once: a ring and those that may follow it. */
const numbersAtOnce = 4

/** Whose numbers they are: the wallet. */
export interface NumbersOf {
  readonly ledger: RemoteLedger
  readonly account: Uint8Array
  takeNumbers(channel: string, count: number, atLeast: number): Promise<number>
}

/** Numbers of sessions with their proofs, a few ahead. */
export class PreparedNumbers {
  private ready: { number: number; evidence: Evidence }[] = []
  private filling: Promise<void> | null = null
  private readonly wallet: NumbersOf
  private readonly chain: Uint8Array
  private readonly channel: number
  private readonly name: string
  private readonly used = new Map<number, Evidence>()

  constructor(wallet: NumbersOf, chain: Uint8Array, channel: number, name: string) {
    this.wallet = wallet
    this.chain = chain
    this.channel = channel
    this.name = name
  }

  take(): { number: number; evidence: Evidence } | null {
    const next = this.ready.shift() ?? null
    if (next) this.used.set(next.number, next.evidence)
    if (this.ready.length < 2) void this.fill().catch(() => {})
    return next
  }

  giveBack(number: number): void {
    const evidence = this.used.get(number)
    if (evidence) this.ready.unshift({ number, evidence })
  }

  /** Renews the proofs of what is ready, and takes more numbers when few are left. */
  fill(): Promise<void> {
    this.filling ??= this.work().finally(() => {
      this.filling = null
    })
    return this.filling
  }

  private async work(): Promise<void> {
    let numbers = this.ready.map((one) => one.number)
    for (let atLeast = 0, tries = 0; numbers.length < 2 && tries < 16; tries++) {
      const first = await this.wallet.takeNumbers(this.name, numbersAtOnce, atLeast)
      const fresh = Array.from({ length: numbersAtOnce }, (_, i) => first + i)
      // A store that was lost counts from zero again: the ledger knows which numbers were used.
      const proven = await this.prove(fresh)
      numbers = [...numbers, ...fresh.filter((_, i) => !proven.entries[i + 1]!.value)]
      atLeast = (first + numbersAtOnce) * (numbers.length === 0 ? 2 : 1)
    }
    const proven = await this.prove(numbers)
    const { header, entries } = proven
    const channel = entries[0]!
    const evidence = (i: number): Evidence => ({ header, channel: channel.value!, channelProof: channel.proof, absence: entries[i + 1]!.proof })
    // While this was asked, some may have been taken or come back: those keep the proofs they had.
    const renewed = new Map(numbers.map((number, i) => [number, evidence(i)]))
    const before = this.ready.filter((one) => !renewed.has(one.number))
    this.ready = [...numbers.filter((number) => !this.used.has(number)).map((number) => ({ number, evidence: renewed.get(number)! })), ...before]
    for (const number of numbers) if (this.used.has(number)) this.used.set(number, renewed.get(number)!)
  }

  private prove(numbers: readonly number[]): Promise<Proven> {
    const { account } = this.wallet
    return this.wallet.ledger.prove([
      keyOf.channel(account, this.channel),
      ...numbers.map((n) => keyOf.session(sessionIdOf(this.chain, account, this.channel, n))),
    ])
  }
}
