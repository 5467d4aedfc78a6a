// The explorer page: looks at the relay's ledger, checks what it is shown, and changes nothing.
import { mount } from 'svelte'
import '../ui/tokens.css'
import '../ui/base.css'
import '../ui/page.css'
import '../ledger/ledger.css'
import { Ledger } from '../ledger/client.ts'
import { LedgerFeed } from '../ledger/feed.svelte.ts'
import { nextTask } from '../ui/next-task.ts'
import { registerOffline } from '../ui/offline.ts'
import App from './App.svelte'

// Its modules have run: building the page is a task of its own.
await nextTask()
mount(App, { target: document.querySelector('#app')!, props: { feed: new LedgerFeed(new Ledger()) } })
registerOffline()
