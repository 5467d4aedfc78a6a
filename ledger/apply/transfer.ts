// Money from one account to another.
import { equalBytes } from '../../protocol/hash.ts'
import { emit } from '../context.ts'
import { give, take } from '../purse.ts'
import { positive, type Rule, refuse } from './rule.ts'

export const transfer: Rule<'transfer'> = (context, { to, amount }, { from }) => {
  positive(amount, 'the amount')
  if (equalBytes(from, to)) throw refuse('range', 'a transfer to oneself moves nothing')
  take(context.state, from, amount)
  give(context.state, to, amount)
  emit(context, 'sent', from, amount, to)
  emit(context, 'received', to, amount, from)
}
