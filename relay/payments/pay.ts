// Paying for a swarm answer from the command line: a quote, a channel when there is none (asked for first), and the budget that the question is asked with.
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { formatAmount } from '../../ledger/amount.ts'
import { LedgerError } from '../../ledger/errors.ts'
import { type Asked, fundedBudget, Unfunded } from '../../ledger/funding.ts'
import { type Budget, Wallet } from '../../ledger/wallet.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { RelayError, UsageError } from '../errors.ts'
import { type Role, readSecret } from '../mesh/identity.ts'
import { remoteLedger } from './remote.ts'
import { PaymentStore } from './store.ts'

export interface PayOptions {
  home: string
  relay: URL
  modelId: string
  maxTokens: number
  /** µ; a quote above it is refused. */
  priceMax: bigint | null
  /** Whose account: `ask` unless said otherwise. */
  role?: Role
  /** Asked before money moves: a sentence that ends with a question mark. */
  consent: (question: string) => Promise<boolean>
  onLine: (line: string) => void
  signal: AbortSignal
}

export interface Paid {
  budget: Budget
  close(): Promise<void>
}

/** Proofs are renewed so often while an answer comes (ledger/payee.ts refuses those a minute older than the newest block). */
const freshenMs = 20_000

const questionOf = (asked: Asked): string =>
  asked.kind === 'grant'
    ? "This account has not enough credits. Take the newcomer's grant of this relay?"
    : `Open a channel with ${formatAmount(asked.deposit)} credits to pay from? What is not used comes back when it is closed.`

/** Throws RelayError when there is not enough money or nobody agreed, UsageError when it costs more than allowed. */
export async function prepareBudget(options: PayOptions): Promise<Paid> {
  const { home, relay, modelId, maxTokens, priceMax, onLine, role = 'ask' } = options
  const secret = await readSecret(home, role)
  const account = publicKeyOf(secret)
  const store = new PaymentStore(join(home, 'payments', role))
  try {
    const wallet = new Wallet(remoteLedger(relay), secret, account, store, () => Date.now())
    const quote = await wallet.quote(modelId, maxTokens)
    if (!quote) throw new RelayError('The ledger of this relay does not know the model, so it cannot be paid for (`meadow model register`).')
    onLine(
      `At most ${formatAmount(quote.limit)} credits: ${formatAmount(quote.perToken)} a token, ${formatAmount(quote.fee)} for settling. What is not used returns.`,
    )
    if (priceMax !== null && quote.limit > priceMax)
      throw new UsageError(
        `It may cost ${formatAmount(quote.limit)} credits, more than --max-price ${formatAmount(priceMax)}: ask for fewer tokens (--max-tokens).`,
      )
    const budget = await fundedBudget(wallet, modelId, quote.limit, {
      consent: (asked) => options.consent(questionOf(asked)),
      pause: (ms) => setTimeout(ms, undefined, { signal: options.signal }),
      opened: (number, deposit) => onLine(`Channel ${number} holds ${formatAmount(deposit)} credits.`),
    })
    if (!budget) throw new RelayError('This model costs nothing: ask without --pay.')
    const timer = setInterval(() => void budget.freshen().catch(() => {}), freshenMs)
    timer.unref()
    return {
      budget,
      async close() {
        clearInterval(timer)
        store.close()
      },
    }
  } catch (error) {
    store.close()
    if (error instanceof Unfunded) throw new RelayError(`Nothing was paid: ${error.message}`)
    if (error instanceof LedgerError) throw new RelayError(`Paying is not possible: ${error.message}.`)
    throw error
  }
}
