// The small grant with which a newcomer can ask. Only the operator grants, once an account: whether a person is new is for its relay to judge, not for the ledger.

import { subtract } from '../amount.ts'
import { emit } from '../context.ts'
import { editAccount, editMoney, give } from '../purse.ts'
import { onlyOperator, type Rule, refuse } from './rule.ts'

export const faucetGrant: Rule<'faucet.grant'> = (context, { to }, { from }) => {
  onlyOperator(context, from)
  const { open, grant } = context.parameters.faucet
  if (!open) throw refuse('phase', 'the faucet is closed')
  if (context.state.account(to).granted) throw refuse('exists', 'this account had its grant already')
  editMoney(context.state, (one) => ({ faucet: subtract(one.faucet, grant, 'the faucet') }))
  give(context.state, to, grant)
  editAccount(context.state, to, () => ({ granted: true }))
  emit(context, 'granted', to, grant)
}
