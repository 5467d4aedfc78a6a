// Starts the chat page: workers, state, service worker. No model is touched and nothing is downloaded until the person asks.
import { mount } from 'svelte'
import '../ui/tokens.css'
import '../ui/base.css'
import { Engine } from '../peer/engine.svelte.ts'
import { Library } from '../peer/library.svelte.ts'
import { registerOffline } from '../ui/offline.ts'
import App from './App.svelte'
import { Chat } from './chat.svelte.ts'
import { openHistory } from './history.ts'
import { readPreferences } from './preferences.ts'

const preferences = readPreferences()
const library = new Library(new Worker(new URL('../workers/store.worker.ts', import.meta.url), { type: 'module', name: 'meadow-store' }))
let chat: Chat
const engine = new Engine(
  () => new Worker(new URL('../workers/engine.worker.ts', import.meta.url), { type: 'module', name: 'meadow-engine' }),
  () => chat.preferences.measured,
  (measured) => chat.savePreferences({ measured }),
)
chat = new Chat(library, engine, preferences)

void library.open()
void openHistory().then((history) => chat.open(history))
engine.warm()
mount(App, { target: document.querySelector('#app')!, props: { chat } })
registerOffline()
