// `meadow unstake`: takes free stake back, after the unbonding time.
import { formatAmount } from '../../ledger/amount.ts'
import { command } from '../cli.ts'
import { act, credits, moneyOptions } from './ledger-options.ts'

export const unstake = command({
  meta: { name: 'unstake', description: 'Take back stake that answers for no open claim; it returns after the unbonding time' },
  args: { amount: { type: 'positional', required: true, description: 'Credits' }, ...moneyOptions },
  async run({ args }) {
    const amount = credits(args.amount)
    await act(args, { kind: 'unstake', amount }, `Unbonding ${formatAmount(amount)}.`)
  },
})
