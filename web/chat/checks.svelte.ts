// "Check this answer on my device": a worker computes the answer again, host by host, and compares with what each signed. One check at a time; results last as
// long as the page.
import type { AnswerReceipt } from '../../protocol/peer/receipt.ts'
import { Channel } from '../peer/channel.ts'
import type { CheckReply, CheckRequest } from '../workers/check.ts'
import { verdictText } from './route-text.ts'

export interface Check {
  state: 'running' | 'equal' | 'differs' | 'failed'
  /** While it runs. */
  doing: string
  share: number
  /** The outcome, a sentence. */
  text: string
}

export class Checks {
  private results = $state<Record<string, Check>>({})
  busy = $state(false)
  private channel: Channel<CheckRequest, CheckReply> | null = null
  private readonly makeWorker: () => Worker

  constructor(makeWorker: () => Worker) {
    this.makeWorker = makeWorker
  }

  of(session: string): Check | null {
    return this.results[session] ?? null
  }

  async start(receipt: AnswerReceipt): Promise<void> {
    if (this.busy) return
    this.busy = true
    const { session } = receipt
    this.results[session] = { state: 'running', doing: 'Opening the model…', share: 0, text: '' }
    const check = this.results[session]
    this.channel = new Channel(this.makeWorker())
    try {
      await this.channel.send({ kind: 'check', receipt }, (reply) => {
        if (reply.kind === 'progress') {
          check.doing = reply.doing
          check.share = reply.share
        }
        if (reply.kind !== 'checked') return false
        check.state = reply.verdict.equal ? 'equal' : 'differs'
        check.text = verdictText(reply.verdict, receipt.tokens.length)
        return true
      }).ended
    } catch (error) {
      check.state = 'failed'
      check.text = (error as Error).name === 'AbortError' ? 'Stopped before the end: nothing was found out.' : (error as Error).message
    } finally {
      this.channel?.close(new DOMException('Stopped.', 'AbortError'))
      this.channel = null
      this.busy = false
    }
  }

  stop(): void {
    this.channel?.close(new DOMException('Stopped.', 'AbortError'))
  }
}
