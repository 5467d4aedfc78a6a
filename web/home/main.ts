// The home page is plain HTML; this adds the theme button and the offline copy.
import { mount } from 'svelte'
import '../ui/tokens.css'
import '../ui/base.css'
import './home.css'
import { registerOffline } from '../ui/offline.ts'
import ThemeButton from '../ui/ThemeButton.svelte'

mount(ThemeButton, { target: document.querySelector('#theme')! })
registerOffline()
