// Who this browser is: one Ed25519 secret, made on first use, kept in IndexedDB, taken along as 24 words. Open tabs must not share one name on the network (two
// would answer to it), so each takes the lowest free place: place 0 is the browser's own key, the others are made from it.
import { type DBSchema, openDB } from 'idb'
import { hashTagged, hex, u32 } from '../../protocol/hash.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { nextTask } from '../ui/next-task.ts'

interface Schema extends DBSchema {
  keys: { key: 'own'; value: Uint8Array }
}

/** A browser holds about 100 peer connections: more tabs than this gain nothing. */
export const placesMax = 16

export interface Identity {
  /** 32 bytes. Never leaves this device but as the words. */
  secret: Uint8Array
  /** 64 hex digits. */
  key: string
  /** The tab's place among those of this browser. */
  place: number
  /** Keys of all places: requests of one's own tabs go first. */
  own: string[]
  /** Not kept when the browser forbids storage: the next visit is somebody else. */
  kept: boolean
}

const open = () =>
  openDB<Schema>('meadow-identity', 1, {
    upgrade(db) {
      db.createObjectStore('keys')
    },
    blocking: (_current, _blocked, event) => (event.target as IDBDatabase).close(),
  })

/** The browser's secret, made when there is none. In one transaction: two tabs that start together agree. */
async function ownSecret(): Promise<{ secret: Uint8Array; kept: boolean }> {
  const fresh = crypto.getRandomValues(new Uint8Array(32))
  try {
    const db = await open()
    const transaction = db.transaction('keys', 'readwrite')
    const known = await transaction.store.get('own')
    if (!known) await transaction.store.put(fresh, 'own')
    await transaction.done
    db.close()
    return { secret: known ?? fresh, kept: true }
  } catch {
    return { secret: fresh, kept: false }
  }
}

/** The browser's own account: its key without a place among the tabs. `make` false: null where there is no key yet. */
export async function ownAccount(make: boolean): Promise<{ secret: Uint8Array; key: string; kept: boolean } | null> {
  if (!make) {
    const db = await open().catch(() => null)
    const known = await db?.get('keys', 'own')
    db?.close()
    return known ? { secret: known, key: hex(publicKeyOf(known)), kept: true } : null
  }
  const { secret, kept } = await ownSecret()
  return { secret, key: hex(publicKeyOf(secret)), kept }
}

/** The secret of a place. */
const secretAt = (own: Uint8Array, place: number): Uint8Array => (place === 0 ? own : hashTagged('tab', own, u32(place)))

/** Takes a place until the page is gone. Without locks (plain http from another machine) a random place keeps tabs apart well enough. */
async function takePlace(): Promise<number> {
  if (!navigator.locks) return crypto.getRandomValues(new Uint8Array(1))[0] % placesMax
  for (let place = 0; place < placesMax; place++) {
    const taken = await new Promise<boolean>((resolve, reject) => {
      const hold = (lock: Lock | null): Promise<void> | undefined => {
        resolve(lock !== null)
        // Held until the page goes: the promise never ends.
        return lock ? new Promise(() => {}) : undefined
      }
      navigator.locks.request(`meadow-place ${place}`, { ifAvailable: true }, hold).catch(reject)
    })
    if (taken) return place
  }
  throw new Error(`${placesMax} tabs of this browser take part already.`)
}

let taken: Promise<Identity> | undefined

/** This tab's identity, the same for the life of the page. Throws when 16 tabs take part already. */
export function takeIdentity(): Promise<Identity> {
  taken ??= (async () => {
    const { secret: own, kept } = await ownSecret()
    const place = await takePlace()
    const secret = secretAt(own, place)
    const keys: string[] = []
    for (let i = 0; i < placesMax; i++) {
      keys.push(hex(publicKeyOf(secretAt(own, i))))
      // The first takes 30 ms, the others 1 (measured): in between the page may breathe.
      if (i % 4 === 0) await nextTask()
    }
    return { secret, key: keys[place], place, own: keys, kept }
  })()
  return taken
}

/** The 24 words (BIP39, English) that are the browser's secret. Whoever has them is this browser. */
export async function recoveryPhrase(): Promise<string> {
  const { phraseOf } = await import('../../mesh/phrase.ts')
  return phraseOf((await ownSecret()).secret)
}

/** Becomes whoever wrote the words down, from the next visit on. Throws PhraseError saying what is wrong with them, or what the browser's storage says. */
export async function restore(phrase: string): Promise<void> {
  const { secretOf } = await import('../../mesh/phrase.ts')
  await restoreSecret(secretOf(phrase))
}

/** The same with the secret itself, 32 bytes. */
export async function restoreSecret(secret: Uint8Array): Promise<void> {
  const db = await open()
  await db.put('keys', secret.slice(), 'own')
  db.close()
}
