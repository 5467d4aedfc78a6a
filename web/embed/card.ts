// What a card is before the click: a few words and a button. Everything else (pages' framework, mesh, engine) is fetched by the click; until then the frame has
// asked for nothing but this, opened no connection, touched no GPU and stored nothing.
import './card.css'
import type { CardState, FromCard, ToCard } from './messages.ts'

/** What runs in a card once it was started. */
export interface Running {
  pause(): void
}

export interface CardHost {
  /** Where the card's own page goes, in place of the words. */
  target: HTMLElement
  /** 64 hex digits, or null for the relay's choice. */
  modelId: string | null
  /** The visitor allowed this card to keep things in the browser. */
  keep: boolean
  tell(state: CardState): void
}

const cards: Record<string, () => Promise<{ start(host: CardHost): Promise<Running> }>> = {
  chat: () => import('./chat/start.ts'),
  contribute: () => import('./contribute/start.ts'),
}

function open(): void {
  const wishes = new URLSearchParams(location.hash.slice(1))
  const site = wishes.get('site') ?? ''
  const theme = wishes.get('theme')
  const model = wishes.get('model') ?? ''
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme
  const main = document.querySelector('main')!
  const button = document.querySelector('button')!
  const note = document.querySelector<HTMLElement>('[role=status]')!
  let running: Running | null = null
  /** The site asked for a pause while the card was starting. */
  let pauseFirst = false

  const post = (message: FromCard): void => {
    // Only to the site that the script named; a frame without one (opened by hand) tells nobody.
    if (window.parent !== window && /^https?:/.test(site)) window.parent.postMessage(message, site)
  }
  const tell = (state: CardState): void => post({ meadow: 1, kind: 'state', state })
  new ResizeObserver(() => post({ meadow: 1, kind: 'size', height: document.documentElement.offsetHeight })).observe(document.documentElement)

  addEventListener('message', ({ data, origin, source }: MessageEvent<ToCard>) => {
    if (source !== window.parent || origin !== site || data?.meadow !== 1) return
    if (data.kind !== 'pause') return
    if (running) running.pause()
    else pauseFirst = button.getAttribute('aria-disabled') === 'true'
  })

  button.addEventListener('click', async (event) => {
    // A click that a script made is no click of the visitor.
    if (!event.isTrusted || button.getAttribute('aria-disabled') === 'true') return
    button.setAttribute('aria-disabled', 'true')
    note.textContent = 'Starting…'
    tell('starting')
    const keep = document.querySelector<HTMLInputElement>('input[name=keep]')?.checked === true
    try {
      const { start } = await cards[main.dataset.card!]()
      running = await start({ target: main, modelId: /^[0-9a-f]{64}$/.test(model) ? model : null, keep, tell })
      if (pauseFirst) running.pause()
    } catch (error) {
      button.removeAttribute('aria-disabled')
      note.textContent = `It could not start: ${(error as Error).message}`
      tell('failed')
    }
  })
  tell('waiting')
}

open()
