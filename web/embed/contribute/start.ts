// The lending card after the click: this frame is a host like the contribute page, with the same limits. Without the visitor's leave nothing outlives it.
import { mount } from 'svelte'
import '../../ui/base.css'
import { Host } from '../../peer/host.svelte.ts'
import { Mesh } from '../../peer/mesh.svelte.ts'
import type { CardHost, Running } from '../card.ts'
import { newStranger } from '../stranger.ts'
import { forgetAll } from './forget.ts'
import LendCard from './LendCard.svelte'

// The name says which store a worker uses (web/workers/store/space.ts).
const storeWorker = (name: string): Worker => new Worker(new URL('../../workers/store.worker.ts', import.meta.url), { type: 'module', name })
const segmentWorker = (name: string): Worker => new Worker(new URL('../../workers/segment.worker.ts', import.meta.url), { type: 'module', name })

export async function start({ target, modelId, keep, tell }: CardHost): Promise<Running> {
  // Layers have to lie somewhere. Private windows and strict settings forbid storage inside other sites' pages.
  const allowed = await indexedDB.databases?.().then(
    () => true,
    () => false,
  )
  if (allowed === false) throw new Error('this browser allows no storage inside other sites’ pages. A tab of its own can lend.')
  // What a frame that was closed in a hurry could not remove.
  if (!keep) await forgetAll()
  const host = new Host(
    new Mesh(keep ? null : newStranger),
    () => (keep ? storeWorker('meadow-store') : storeWorker('meadow-store-card')),
    () => (keep ? segmentWorker('meadow-segment') : segmentWorker('meadow-segment-card')),
  )
  host.keeps = keep
  await host.look()
  if (host.problem) throw new Error(host.problem)
  if (modelId !== null && host.offers.some((offer) => offer.id === modelId)) host.offers = host.offers.filter((offer) => offer.id === modelId)
  addEventListener('pagehide', () => {
    host.goodbye()
    if (!keep) void forgetAll()
  })
  target.replaceChildren()
  mount(LendCard, { target, props: { host, keep, tell } })
  void host.lend(null)
  return {
    pause: () => host.pause(),
  }
}
