// The models a relay offers (GET /models), and the one a command means.
import { setTimeout } from 'node:timers/promises'
import { z } from 'zod'
import { messageOf, RelayError } from '../errors.ts'

const offer = z.object({
  id: z.string().regex(/^[0-9a-f]{64}$/),
  name: z.string().max(256),
  title: z.string().max(256),
  isDefault: z.boolean(),
  layers: z.number().int(),
  bytes: z.number(),
})
export type Offer = z.infer<typeof offer>

/** Throws RelayError. */
export async function fetchOffers(relay: URL): Promise<Offer[]> {
  const url = new URL('/models', relay)
  const response = await fetch(url, { signal: AbortSignal.timeout(10_000) }).catch((error) => {
    throw new RelayError(`The relay at ${relay.origin} cannot be reached: ${messageOf(error)}. Is it running (\`npm start\`), or elsewhere (--relay)?`)
  })
  const parsed = z
    .array(offer)
    .max(1000)
    .safeParse(await response.json().catch(() => null))
  if (!response.ok || !parsed.success) throw new RelayError(`${url} does not answer as a relay of this version of Meadow does.`)
  return parsed.data
}

const retryMs = 2000

/** Like fetchOffers, for as long as it takes until the relay answers: a host may be started before it. `say` hears of the waiting once. */
export async function awaitOffers(relay: URL, say: (line: string) => void, signal: AbortSignal): Promise<Offer[]> {
  for (let attempt = 0; ; attempt++) {
    try {
      const offers = await fetchOffers(relay)
      if (offers.length > 0) return offers
      if (attempt === 0) say('The relay offers no models yet; waiting.')
    } catch (error) {
      signal.throwIfAborted()
      if (attempt === 0) say(`${messageOf(error)} Trying until it answers.`)
    }
    await setTimeout(retryMs, undefined, { signal })
  }
}

/** By id, the beginning of one (4 digits or more) or name; the relay's default without a wish. Throws RelayError. */
export function chooseOffer(offers: readonly Offer[], wanted: string | undefined): Offer {
  const list = offers.length === 0 ? 'it offers none' : `it offers ${offers.map((one) => one.name).join(', ')}`
  if (wanted === undefined) {
    const first = offers.find((one) => one.isDefault) ?? offers[0]
    if (!first) throw new RelayError('The relay offers no models yet.')
    return first
  }
  const key = wanted.toLowerCase()
  const found = offers.filter(
    (one) => one.name.toLowerCase() === key || one.title.toLowerCase() === key || (/^[0-9a-f]{4,64}$/.test(key) && one.id.startsWith(key)),
  )
  if (found.length === 1) return found[0]!
  throw new RelayError(
    found.length === 0 ? `The relay has no model ${wanted} (${list}).` : `${wanted} fits ${found.length} models of the relay: name more digits.`,
  )
}
