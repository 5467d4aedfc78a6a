// The swarm page: looks, and changes nothing. It talks to the relay only and joins no mesh, unless its link names a private group, of which no relay can tell.
import { mount } from 'svelte'
import '../ui/tokens.css'
import '../ui/base.css'
import '../ui/page.css'
import { GroupFeed } from '../peer/group-feed.svelte.ts'
import { invitationOf } from '../peer/mesh-config.ts'
import { SwarmFeed } from '../peer/swarm-feed.svelte.ts'
import { nextTask } from '../ui/next-task.ts'
import { registerOffline } from '../ui/offline.ts'
import App from './App.svelte'

const invitation = invitationOf(location.hash)
// Its modules have run: building the page is a task of its own.
await nextTask()
mount(App, { target: document.querySelector('#app')!, props: { feed: invitation === null ? new SwarmFeed() : new GroupFeed(invitation), invitation } })
// Another link of the same page, pasted over this one, changes only the fragment.
addEventListener('hashchange', () => location.reload())
registerOffline()
