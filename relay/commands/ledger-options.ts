// What the commands about money share: which key acts, how much, and how an acknowledgement is shown.
import { formatAmount, parseAmount } from '../../ledger/amount.ts'
import { LedgerError } from '../../ledger/errors.ts'
import type { Body } from '../../ledger/transaction.ts'
import { fromHex, hex } from '../../protocol/hash.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { printJson } from '../cli.ts'
import { UsageError } from '../errors.ts'
import { LedgerClient } from '../ledger/client.ts'
import { type Role, readSecret, roles } from '../mesh/identity.ts'
import { homeFolder } from '../store.ts'
import { jsonOption, relayOption } from './options.ts'

export const moneyOptions = {
  as: {
    type: 'enum' as const,
    options: [...roles],
    default: 'ask',
    description: 'Whose account of this machine: ask (pays), host (earns), relay (the operator)',
  },
  relay: relayOption,
  json: jsonOption,
}

export interface MoneyArgs {
  as?: string
  relay?: string
  json?: boolean
}

export const secretFor = (args: MoneyArgs): Promise<Uint8Array> => readSecret(homeFolder(), (args.as ?? 'ask') as Role)

/** "1.5" credits in µ. Throws UsageError. */
export function credits(text: string): bigint {
  try {
    return parseAmount(text)
  } catch (error) {
    throw new UsageError(error instanceof LedgerError ? `${error.message}.` : String(error))
  }
}

/** 64 hex digits. Throws UsageError. */
export function hexId(text: string, what: string): Uint8Array {
  if (!/^[0-9a-f]{64}$/.test(text)) throw new UsageError(`${what} must be 64 hex digits.`)
  return fromHex(text)
}

/** An account by 64 hex digits, or one of this machine's by its role. Throws UsageError. */
export async function accountId(text: string): Promise<Uint8Array> {
  if ((roles as readonly string[]).includes(text)) return publicKeyOf(await readSecret(homeFolder(), text as Role))
  return hexId(text, 'An account')
}

/** Submits and says what became of it. */
export async function act(args: MoneyArgs, body: Body, sentence: string, more: Record<string, unknown> = {}): Promise<void> {
  const client = new LedgerClient(args.relay)
  const secret = await secretFor(args)
  const done = await client.submit(secret, body)
  if (args.json) return printJson({ ...done, fee: done.fee.toString(), account: hex(publicKeyOf(secret)), ...more })
  process.stdout.write(`${sentence} Block ${done.height}, transaction ${done.id.slice(0, 16)}, fee ${formatAmount(done.fee)}.\n`)
}
