// Paying and earning in a page: the ledger's code, loaded only when money is looked at. State for people is payments.svelte.ts.
import rootsUrl from '../../build/roots.wasm?url'
import { Offer } from '../../ledger/follow.ts'
import { RemoteLedger } from '../../ledger/remote.ts'
import { type Settled, settlePass } from '../../ledger/settling.ts'
import { type Budget, quoteFrom, Wallet } from '../../ledger/wallet.ts'
import type { Vault } from '../../mesh/shell.ts'
import { setResidualRoots } from '../../protocol/engine/proof/residual.ts'
import { rootsFrom } from '../../protocol/engine/proof/roots.ts'
import { publicKeyOf, verify } from '../../protocol/keys.ts'
import type { PeerOptions } from '../../protocol/peer/machine.ts'
import { ownAccount } from './identity.ts'
import { PaymentStore } from './payment-store.ts'

export { fundedBudget, type Unfunded } from '../../ledger/funding.ts'
export type { Budget, Settled }

const http = async (path: string, init?: { method: string; body: Uint8Array | string; type: string }): Promise<{ status: number; body: Uint8Array }> => {
  const response = await fetch(`/ledger/${path}`, {
    cache: 'no-store',
    ...(init ? { method: init.method, body: init.body as Uint8Array<ArrayBuffer> | string, headers: { 'Content-Type': init.type } } : {}),
  }).catch(() => {
    throw new Error('The relay cannot be reached.')
  })
  return { status: response.status, body: new Uint8Array(await response.arrayBuffer()) }
}

/** The relay's ledger, for whoever has no account too. */
export const ledger = new RemoteLedger(http)

export const quote = (modelId: string, maxTokens: number) => quoteFrom(ledger, modelId, maxTokens)

export interface Money {
  wallet: Wallet
  secret: Uint8Array
  account: Uint8Array
  store: PaymentStore
}

/** This browser's account. `make` false: null while it has no key. */
export async function openMoney(make: boolean): Promise<Money | null> {
  const own = await ownAccount(make)
  if (!own) return null
  const store = await PaymentStore.open()
  const account = publicKeyOf(own.secret)
  return { wallet: new Wallet(ledger, own.secret, account, store, () => Date.now()), secret: own.secret, account, store }
}

/** Four boundaries' roots at once; without them they are hashed one by one. */
const fasterRoots = async (): Promise<void> => {
  const response = await fetch(rootsUrl)
  if (response.ok) setResidualRoots(await rootsFrom(await WebAssembly.compile(await response.arrayBuffer())))
}

const retryMs = 5_000

export interface TabEarning {
  readonly earnings: NonNullable<PeerOptions['earnings']>
  readonly vault: Vault
  end(): void
}

/** Lets this tab be paid for what it computes, and settles what its tabs have earned. `modelIds` may grow later. */
export function earn({ wallet, secret, account, store }: Money, modelIds: () => string[], onSettled: (settled: Settled) => void): TabEarning {
  const earnings: TabEarning['earnings'] = { payee: null }
  const offer = new Offer(wallet.ledger, { secret, account, verify }, () => Date.now())
  let ended = false
  let followTimer: ReturnType<typeof setTimeout> | undefined
  let settleTimer: ReturnType<typeof setTimeout> | undefined

  const follow = async (): Promise<void> => {
    const { payee, waitMs } = await offer.look(modelIds())
    if (ended) return
    earnings.payee = payee
    followTimer = setTimeout(() => void follow(), waitMs)
  }

  const settle = async (): Promise<void> => {
    clearTimeout(settleTimer)
    const work = async (): Promise<number | null> => {
      await store.settleLeft()
      const { settled, againMs } = await settlePass(store, wallet.ledger, secret, Date.now())
      for (const one of settled) onSettled(one)
      return againMs
    }
    // One tab at a time: they share an account, hence its nonces.
    const againMs = await (navigator.locks ? navigator.locks.request('meadow-settling', work) : work()).catch(() => Date.now() + retryMs)
    if (againMs !== null && !ended) settleTimer = setTimeout(() => void settle(), Math.max(50, againMs - Date.now()))
  }

  void fasterRoots().catch(() => {})
  store.onDue = () => void settle()
  void store.hold()
  void follow()
  void settle()
  return {
    earnings,
    vault: store,
    end() {
      ended = true
      earnings.payee = null
      clearTimeout(followTimer)
      clearTimeout(settleTimer)
    },
  }
}
