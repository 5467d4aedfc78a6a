// New parameters by the operator's key (embedded mode; governance takes its place later). They act from the next transaction on.
import { checkParameters } from '../genesis.ts'
import { keyOf } from '../records.ts'
import { onlyOperator, type Rule } from './rule.ts'

export const parametersSet: Rule<'parameters.set'> = (context, { parameters }, { from }) => {
  onlyOperator(context, from)
  checkParameters(parameters)
  context.state.set(keyOf.rules, { ...context.state.must(keyOf.rules), parameters })
  context.state.forgetAuditorTable()
  context.parameters = parameters
}
