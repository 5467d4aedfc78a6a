// The swarm page: looks, and changes nothing. It talks to the relay only and joins no mesh.
import { mount } from 'svelte'
import '../ui/tokens.css'
import '../ui/base.css'
import { SwarmFeed } from '../peer/swarm-feed.svelte.ts'
import { registerOffline } from '../ui/offline.ts'
import App from './App.svelte'

mount(App, { target: document.querySelector('#app')!, props: { feed: new SwarmFeed() } })
registerOffline()
