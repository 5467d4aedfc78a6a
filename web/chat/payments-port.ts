// What the chat needs of whoever pays for it (web/peer/payments.svelte.ts). Null where the page asks for free only: cards in other sites, relays without a ledger.

/** µ. */
export interface PriceQuote {
  /** The most it can cost: reserved, and what is not used comes back at once. */
  limit: bigint
  perToken: bigint
  /** Part of the limit that the settlement costs, whatever the length. */
  fee: bigint
}

export type Consent = { kind: 'grant' } | { kind: 'channel'; deposit: bigint }

export interface PaymentsPort {
  /** Whether the relay has a ledger; null before `refresh`. */
  readonly available: boolean | null
  /** This page pays for answers of the swarm. */
  readonly on: boolean
  readonly account: {
    readonly balance: bigint
    readonly granted: boolean
    readonly channels: readonly { readonly deposit: bigint; readonly promised: bigint }[]
  } | null
  readonly problem: string
  refresh(): Promise<void>
  quote(modelId: string, maxTokens: number): Promise<PriceQuote | null>
  setOn(on: boolean): void
  grant(): Promise<void>
  consent: (what: Consent) => Promise<boolean>
}

/** Of an answer that was paid, µ. */
export interface Paid {
  paid: number
  limit: number
  returned: number
  /** Names of its sessions on the ledger, 64 hex digits. */
  sessions: string[]
}
