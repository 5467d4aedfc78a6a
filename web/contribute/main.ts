// The contribute page. Before the click it asks the relay what there is to lend, and this device nothing: no worker, no GPU, no connection to any peer.
import { mount } from 'svelte'
import '../ui/tokens.css'
import '../ui/base.css'
import '../ui/page.css'
import { Host } from '../peer/host.svelte.ts'
import { Mesh } from '../peer/mesh.svelte.ts'
import { holdOf, invitationOf } from '../peer/mesh-config.ts'
import { nextTask } from '../ui/next-task.ts'
import { registerOffline } from '../ui/offline.ts'
import App from './App.svelte'

/** Who has not pressed the button by then is reading. */
const readersMs = 10_000

const host = new Host(
  new Mesh(),
  () => new Worker(new URL('../workers/store.worker.ts', import.meta.url), { type: 'module', name: 'meadow-store' }),
  () => new Worker(new URL('../workers/segment.worker.ts', import.meta.url), { type: 'module', name: 'meadow-segment' }),
)
host.hold = holdOf(location.hash)
void host.look()
// Its modules have run: building the page is a task of its own.
await nextTask()
mount(App, { target: document.querySelector('#app')!, props: { host, invitation: invitationOf(location.hash) } })
// Copies for a day without a network compete with joining and fetching: they wait until this device serves, or for whoever only reads the page.
setTimeout(() => {
  if (!host.lending) registerOffline()
}, readersMs)
