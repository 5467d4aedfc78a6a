// The home page is plain HTML; this adds the theme button, the invitation, the embed snippet and the offline copy.
import { mount } from 'svelte'
import '../ui/tokens.css'
import '../ui/base.css'
import './home.css'
import { registerOffline } from '../ui/offline.ts'
import ThemeButton from '../ui/ThemeButton.svelte'
import Invite from './Invite.svelte'
import Snippet from './Snippet.svelte'

mount(ThemeButton, { target: document.querySelector('#theme')! })
mount(Invite, { target: document.querySelector('#share')! })
mount(Snippet, { target: document.querySelector('#snippet')! })
registerOffline()
