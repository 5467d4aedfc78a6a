// The account page. Before the person asks for it no key is made here; what is signed is signed in this tab.
import { mount } from 'svelte'
import '../ui/tokens.css'
import '../ui/base.css'
import '../ui/page.css'
import '../ledger/ledger.css'
import './account.css'
import { Ledger } from '../ledger/client.ts'
import { nextTask } from '../ui/next-task.ts'
import { registerOffline } from '../ui/offline.ts'
import App from './App.svelte'

// Its modules have run: building the page is a task of its own.
await nextTask()
mount(App, { target: document.querySelector('#app')!, props: { ledger: new Ledger() } })
registerOffline()
