// What crosses between the page and the check worker.
import type { Verdict } from '../../protocol/peer/blame.ts'
import type { AnswerReceipt } from '../../protocol/peer/receipt.ts'
import type { WireError } from './messages.ts'

export type CheckRequest = { id: number; kind: 'check'; receipt: AnswerReceipt }

export type CheckReply = { id: number } & (
  | { kind: 'progress'; doing: string; share: number }
  | { kind: 'checked'; verdict: Verdict }
  | { kind: 'failed'; error: WireError }
)
