// Where a question is answered. Pure: what is here and what the swarm says come as arguments.
import type { ModelRow } from '../peer/snapshot.ts'

export type Where = 'local' | 'swarm' | 'auto'

export const wheres: { value: Where; label: string; hint: string }[] = [
  { value: 'local', label: 'This device', hint: 'Your words stay here. Needs the model on this device.' },
  { value: 'swarm', label: 'The swarm', hint: 'Other people’s devices compute, a few layers each, and can read your words. No download.' },
  {
    value: 'auto',
    label: 'Automatic',
    hint: 'Starts here at once if the model is here; the swarm takes over when it is faster, or when it is the only way. It may read your words.',
  },
]

export interface Target {
  place: 'local' | 'swarm'
  modelId: string
  /** The swarm runs the model too, and may go on with an answer that starts here. */
  swarmToo: boolean
}

/**
 * Who answers next, or null. `localId`: the model this device would use; `chosenId`: the one the person picked, here or not; `models`: those of the swarm, runnable or not.
 */
export function targetOf(where: Where, localId: string | null, chosenId: string | null, models: readonly ModelRow[]): Target | null {
  const runs = (id: string | null): boolean => models.some((model) => model.id === id && model.runnable)
  const swarmId = runs(chosenId) ? chosenId : (models.find((model) => model.runnable)?.id ?? null)
  const local: Target | null = localId === null ? null : { place: 'local', modelId: localId, swarmToo: where === 'auto' && runs(localId) }
  const swarm: Target | null = swarmId === null ? null : { place: 'swarm', modelId: swarmId, swarmToo: true }
  if (where === 'local') return local
  if (where === 'swarm') return swarm
  // The person picked a model that is not here but that the swarm runs: the only way to get it.
  if (local && swarm && chosenId === swarmId && chosenId !== localId) return swarm
  return local ?? swarm
}

/** The swarm takes over only when it is clearly faster: what was computed here is computed again there. */
export const fasterBy = 1.5

export const swarmIsFaster = (swarmTokensPerSecond: number | null, localTokensPerSecond: number | null): boolean =>
  swarmTokensPerSecond !== null && localTokensPerSecond !== null && swarmTokensPerSecond >= fasterBy * localTokensPerSecond
