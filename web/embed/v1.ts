// The one script a site includes: <script src="https://relay/embed/v1.js" data-meadow="chat"></script> (or "contribute").
// It puts a card in a frame of the relay's origin, where the script tag stands, and keeps the frame as high as its card. It reads nothing of the site,
// stores nothing, and starts nothing: that takes the visitor's click inside the frame.
//
// Attributes: data-meadow (chat | contribute), data-model (a model id), data-theme (light | dark), data-place (a selector: the card goes in there instead).
// Events on the frame: `meadow:state` with detail waiting | starting | running | paused | failed. `dispatchEvent(new Event('meadow:pause'))` on window pauses every card.
import type { FromCard, ToCard } from './messages.ts'

// All in a function, because the top level of a classic script is the site's.
;(() => {
  const kinds: Record<string, [title: string, height: number]> = { chat: ['Meadow: chat', 204], contribute: ['Meadow: lend this device', 248] }
  const heightMin = 80
  const heightMax = 720
  const script =
    (document.currentScript as HTMLScriptElement | null) ??
    document.querySelector<HTMLScriptElement>('script[data-meadow][src*="/embed/v1.js"]:not([data-meadow-card])')
  const { meadow = '', model = '', theme = '', place = '' } = script?.dataset ?? {}
  if (!script || !Object.hasOwn(kinds, meadow)) return console.warn('Meadow: data-meadow must be "chat" or "contribute".')
  // A script that runs twice (some routers do that) shows one card.
  if (script.dataset.meadowCard !== undefined) return
  script.dataset.meadowCard = ''
  const { origin } = new URL(script.src)
  const [title, height] = kinds[meadow]
  const frame = document.createElement('iframe')
  const wishes = new URLSearchParams({ site: location.origin, model, theme })
  frame.src = `${origin}/embed/${meadow}/#${wishes}`
  frame.title = title
  frame.loading = 'lazy'
  frame.referrerPolicy = 'no-referrer'
  frame.allow = 'cross-origin-isolated; clipboard-write; screen-wake-lock'
  frame.setAttribute('sandbox', 'allow-scripts allow-same-origin allow-popups allow-popups-to-escape-sandbox allow-downloads')
  // Through the object model: a site's policy may forbid style attributes.
  Object.assign(frame.style, { display: 'block', width: '100%', maxWidth: '27rem', height: `${height}px`, border: '0', borderRadius: '14px' })
  const show = (): void => {
    const holder = place ? document.querySelector(place) : null
    if (holder) holder.append(frame)
    else if (document.body?.contains(script)) script.after(frame)
    else document.body.append(frame)
  }
  if (document.body && (!place || document.querySelector(place))) show()
  else addEventListener('DOMContentLoaded', show, { once: true })

  addEventListener('message', ({ data, origin: from, source }: MessageEvent<FromCard>) => {
    if (from !== origin || source !== frame.contentWindow || data?.meadow !== 1) return
    if (data.kind === 'size' && Number.isFinite(data.height)) frame.style.height = `${Math.min(heightMax, Math.max(heightMin, Math.ceil(data.height)))}px`
    if (data.kind === 'state') frame.dispatchEvent(new CustomEvent('meadow:state', { detail: String(data.state), bubbles: true }))
  })
  addEventListener('meadow:pause', () => frame.contentWindow?.postMessage({ meadow: 1, kind: 'pause' } satisfies ToCard, origin))
})()
