// What a card in its frame and the script on the site's page (v1.ts) tell each other. Both check origin and source of every message.
// The site may pause a card, never start one: only the visitor's own click inside the frame does.

export type CardState = 'waiting' | 'starting' | 'running' | 'paused' | 'failed'

export type FromCard = { meadow: 1; kind: 'size'; height: number } | { meadow: 1; kind: 'state'; state: CardState }

export type ToCard = { meadow: 1; kind: 'pause' }
