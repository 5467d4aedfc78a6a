// Starts the chat page: workers, state, service worker. No model is touched and nothing is downloaded until the person asks.
import { mount } from 'svelte'
import '../ui/tokens.css'
import '../ui/base.css'
import { Engine } from '../peer/engine.svelte.ts'
import { Library } from '../peer/library.svelte.ts'
import { invitationOf } from '../peer/mesh-config.ts'
import { payments } from '../peer/payments.svelte.ts'
import { nextTask } from '../ui/next-task.ts'
import { registerOffline } from '../ui/offline.ts'
import App from './App.svelte'
import { Chat } from './chat.svelte.ts'
import { Checks } from './checks.svelte.ts'
import { openHistory } from './history.ts'
import { readPreferences } from './preferences.ts'
import { SwarmSide } from './swarm-side.svelte.ts'

const preferences = readPreferences()
const library = new Library(new Worker(new URL('../workers/store.worker.ts', import.meta.url), { type: 'module', name: 'meadow-store' }))
let chat: Chat
const engine = new Engine(
  () => new Worker(new URL('../workers/engine.worker.ts', import.meta.url), { type: 'module', name: 'meadow-engine' }),
  () => chat.preferences.measured,
  (measured) => chat.savePreferences({ measured }),
)
const swarm = new SwarmSide()
swarm.titleOf = (id) => library.model(id)?.title ?? ''
const checks = new Checks(() => new Worker(new URL('../workers/check.worker.ts', import.meta.url), { type: 'module', name: 'meadow-check' }))
// A door of the swarm page, or a link: for this visit, and the page says who can read what is written.
const wishes = new URLSearchParams(location.search)
const model = wishes.get('model')
if (model && /^[0-9a-f]{64}$/.test(model)) preferences.modelId = model
chat = new Chat(library, engine, swarm, checks, preferences)
chat.payments = payments
if (wishes.get('where') === 'swarm' || swarm.invitation !== null) chat.visit('swarm')
addEventListener('hashchange', () => void chat.setInvitation(invitationOf(location.hash)))
addEventListener('pagehide', () => swarm.goodbye())
// Back from the browser's own cache: the goodbye was said, so the next question joins anew.
addEventListener('pageshow', (event) => {
  if (event.persisted) void swarm.mesh.leave()
})

void library.open()
void openHistory().then((history) => chat.open(history))
engine.warm()
// Its modules have run: building the page is a task of its own.
await nextTask()
mount(App, { target: document.querySelector('#app')!, props: { chat } })
registerOffline()
