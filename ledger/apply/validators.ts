// Who may order transactions. Embedded mode has one producer and only keeps the list; under CometBFT a change of it becomes a validator update.
import { hex } from '../../protocol/hash.ts'
import { keyOf } from '../records.ts'
import { onlyOperator, type Rule, refuse } from './rule.ts'

export const validatorsSet: Rule<'validators.set'> = (context, { validators }, { from }) => {
  onlyOperator(context, from)
  const keys = validators.map((one) => hex(one.key))
  if (keys.some((key, i) => i > 0 && key <= keys[i - 1])) throw refuse('range', 'validators must be ordered by key, each once')
  if (!validators.some((one) => one.power > 0)) throw refuse('range', 'somebody must have power')
  context.state.set(keyOf.validators, { validators })
}
