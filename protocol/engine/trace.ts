// Comparing two engines step by step: the first divergence, by step, index and values.
import type { StepValues } from './engine.ts'

export interface Divergence {
  label: string
  /** Index into the step's values, −1 when labels or lengths differ. */
  index: number
  expected: number | string
  actual: number | string
}

/** The first place where two traces differ, or null. */
export function firstDivergence(expected: StepValues[], actual: StepValues[]): Divergence | null {
  for (let i = 0; i < Math.max(expected.length, actual.length); i++) {
    const e = expected[i]
    const a = actual[i]
    if (!e || !a || e.label !== a.label) return { label: (e ?? a).label, index: -1, expected: e?.label ?? 'no step', actual: a?.label ?? 'no step' }
    if (e.values.length !== a.values.length) return { label: e.label, index: -1, expected: `${e.values.length} values`, actual: `${a.values.length} values` }
    for (let j = 0; j < e.values.length; j++) if (e.values[j] !== a.values[j]) return { label: e.label, index: j, expected: e.values[j], actual: a.values[j] }
  }
  return null
}
