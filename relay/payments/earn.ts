// A Node host that is paid: follows the chain of its relay, takes vouchers into its own store, and settles them. A relay without a ledger, or one that is away when the
// host starts, leaves the host free until it is there.
import { readdirSync, renameSync, rmSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Offer } from '../../ledger/follow.ts'
import { type Settled, settlePass } from '../../ledger/settling.ts'
import type { Vault } from '../../mesh/shell.ts'
import { setResidualRoots } from '../../protocol/engine/proof/residual.ts'
import { rootsFrom } from '../../protocol/engine/proof/roots.ts'
import { publicKeyOf, verify } from '../../protocol/keys.ts'
import type { PeerOptions } from '../../protocol/peer/machine.ts'
import { isAlive } from '../alive.ts'
import { messageOf } from '../errors.ts'
import type { AgentNotice } from '../watch/agent.ts'
import { startDefender } from './defender.ts'
import { remoteLedger } from './remote.ts'
import { RetainedStore } from './retained.ts'
import { PaymentStore } from './store.ts'

export interface EarningOptions {
  home: string
  relay: URL
  /** The account's secret. */
  secret: Uint8Array
  /** Name of its folder under $MEADOW_HOME/payments: one for each process that hosts. */
  name: string
  modelIds: string[]
  creditTokens?: number
  onLine?: (line: string) => void
  onSettled?: (settled: Settled) => void
  /** What the defence of this host's claims tells: somebody disputes one, moves, verdicts. */
  onDefence?: (notice: AgentNotice) => void
}

export interface Earning {
  /** For PeerOptions: filled as soon as the ledger has answered. */
  readonly earnings: NonNullable<PeerOptions['earnings']>
  readonly vault: Vault
  /** Settles what can be settled now, whoever's turn it is not. */
  close(): Promise<void>
}

/** Hosts beside the first of a home keep vouchers in folders that carry their process number: those that ended without settling leave them to whoever starts next. */
function adoptOrphans(home: string, vault: PaymentStore, claims: RetainedStore): void {
  const folder = join(home, 'payments')
  for (const [i, name] of readdirSync(folder).entries()) {
    const pid = Number(/^host-(\d+)(-\d+)?$/.exec(name)?.[1] ?? Number.NaN)
    if (Number.isNaN(pid) || pid === process.pid || isAlive(pid)) continue
    const taken = join(folder, `host-${process.pid}-${i}`)
    try {
      renameSync(join(folder, name), taken)
    } catch {
      // Another host that starts now was first.
      continue
    }
    const left = new PaymentStore(taken)
    for (const { leg, record } of left.all()) {
      vault.adopt(leg, record)
      left.drop(leg)
    }
    left.close()
    const defended = new RetainedStore(taken)
    for (const leg of defended.legs()) claims.retain(leg, defended.get(leg)!)
    defended.close()
    rmSync(taken, { recursive: true, force: true })
  }
}

/** Four boundaries' roots at once; where the file is missing they are hashed one by one. */
async function fasterRoots(): Promise<void> {
  const bytes = await readFile(new URL('../../build/roots.wasm', import.meta.url)).catch(() => null)
  if (bytes) setResidualRoots(await rootsFrom(await WebAssembly.compile(bytes)))
}

/** Rows that enter paid sessions, kept until their claims are signed: 128 answers of 1,000 rows at 576 values a row, 16 at 4,096 (computed). */
const rowsBytesMax = 256 << 20

export function startEarning(options: EarningOptions): Earning {
  const { home, relay, secret, modelIds, onLine = () => {} } = options
  void fasterRoots()
  const vault = new PaymentStore(join(home, 'payments', options.name))
  vault.settleAll()
  const folder = join(home, 'payments', options.name)
  const claims = new RetainedStore(folder)
  adoptOrphans(home, vault, claims)
  const defender = startDefender({ home, relay: relay.href, secret, folder }, claims, (notice) => options.onDefence?.(notice))
  const ledger = remoteLedger(relay)
  const earnings: Earning['earnings'] = { payee: null, rowsBytesMax }
  const { creditTokens } = options
  const offered = { secret, account: publicKeyOf(secret), verify, ...(creditTokens === undefined ? {} : { creditTokens }) }
  const offer = new Offer(ledger, offered, () => Date.now())
  let ended = false
  let followTimer: ReturnType<typeof setTimeout> | undefined
  let settleTimer: ReturnType<typeof setTimeout> | undefined
  let settling: Promise<void> | null = null
  let problem = ''

  const say = (sentence: string): void => {
    if (sentence === problem) return
    problem = sentence
    if (sentence !== '') onLine(sentence)
  }

  const follow = async (): Promise<void> => {
    const { payee, waitMs, problem } = await offer.look(modelIds)
    earnings.payee = payee
    say(problem === '' ? '' : `Not paid for now: ${problem}`)
    if (!ended) followTimer = setTimeout(() => void follow(), waitMs)
    followTimer?.unref()
  }

  const settle = (): Promise<void> => {
    settling ??= pass().finally(() => {
      settling = null
    })
    return settling
  }
  const pass = async (): Promise<void> => {
    clearTimeout(settleTimer)
    const { settled, againMs, problem: failed } = await settlePass(vault, ledger, secret, Date.now())
    for (const one of settled) options.onSettled?.(one)
    if (failed !== '') onLine(`A settlement waits: ${failed}`)
    if (againMs === null || ended) return
    settleTimer = setTimeout(() => void settle(), Math.max(50, againMs - Date.now()))
    settleTimer.unref()
  }

  vault.onDue = () => {
    // A pass that runs may have looked already.
    void settle().then(() => (ended ? undefined : settle()))
  }
  void follow()
  void settle()
  return {
    earnings,
    vault: {
      keep: (leg, record) => vault.keep(leg, record),
      settle: (leg) => vault.settle(leg),
      retain(leg, retained) {
        try {
          claims.retain(leg, retained)
          defender.begin()
        } catch (error) {
          // The answer goes on; whoever has the whole model can still defend what was true.
          onLine(`What would defend session ${leg.slice(0, 8)} could not be kept: ${messageOf(error)}.`)
        }
      },
    },
    async close() {
      ended = true
      clearTimeout(followTimer)
      clearTimeout(settleTimer)
      await settling
      await settle()
      vault.close()
      await defender.close()
      claims.close()
    },
  }
}
