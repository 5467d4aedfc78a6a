// A tab holds few direct connections: those of its rings stay, idle ones make room, and who finds none is told why.
import { expect, test } from 'vitest'
import { hex, sha256 } from '../../../protocol/hash.ts'
import { publicKeyOf } from '../../../protocol/keys.ts'
import { Context } from '../../../protocol/peer/context.ts'
import { Links } from '../../../protocol/peer/links.ts'
import { decodeMessage, encodeMessage } from '../../../protocol/peer/messages.ts'
import { encodePresence } from '../../../protocol/peer/presence.ts'
import { goodPresence } from '../../fuzz/messages.ts'
import { keyOf } from './mesh.ts'

const bytesOf = (name: string): Uint8Array => sha256(new TextEncoder().encode(name)).slice()
const hello = (tells = false): Uint8Array => encodeMessage({ kind: 'hello', version: 1, group: null, tells })

function tab(linksMax: number) {
  const ctx = new Context({ secret: bytesOf('secret'), seed: bytesOf('seed'), boot: 1, linksMax })
  const links = new Links(ctx)
  const needed = new Set<string>()
  links.isNeeded = (peer) => needed.has(peer)
  const come = (i: number, tells = false): string => {
    ctx.now += 10
    links.connected(keyOf(i), true)
    links.frame(keyOf(i), hello(tells))
    return keyOf(i)
  }
  const byes = (): { peer: string; why: string }[] =>
    ctx.takeActions().flatMap((action) => {
      if (action.kind !== 'send') return []
      const message = decodeMessage(action.bytes)
      return message.kind === 'bye' ? [{ peer: action.peer, why: message.why }] : []
    })
  return { ctx, links, needed, come, byes }
}

test('one too many: the idle one that has been silent longest makes room; relays do not count, ring neighbours stay', () => {
  const { ctx, links, needed, come, byes } = tab(3)
  come(9, true)
  const [a, b, c] = [come(1), come(2), come(3)]
  expect(byes()).toEqual([])
  needed.add(a)
  const d = come(4)
  expect(byes()).toEqual([{ peer: b, why: 'this peer needs its place for another one' }])
  expect(links.up().sort()).toEqual([keyOf(9), a, c, d].sort())
  // The connection ends once that is written.
  expect(links.tick()).toEqual([])
  ctx.now += 500
  links.tick()
  expect(ctx.takeActions()).toContainEqual({ kind: 'disconnect', peer: b })
})

test('nobody to spare: who comes is told so and let go, who is dialled is dialled all the same', () => {
  const { ctx, links, needed, come, byes } = tab(2)
  for (const peer of [come(1), come(2)]) needed.add(peer)
  byes()
  const late = come(3)
  expect(byes()).toEqual([{ peer: late, why: 'this peer keeps 2 connections, and all of them are in use' }])
  expect(links.isUp(late)).toBe(false)
  // A ring that this peer chose itself goes before the bound.
  expect(links.want(keyOf(4), [])).toBe(false)
  expect(ctx.takeActions()).toContainEqual({ kind: 'connect', peer: keyOf(4), addresses: [] })
})

test('who is told goodbye hears why, and is free to come again', () => {
  const { ctx, links, come } = tab(5)
  const peer = come(1)
  expect(links.frame(peer, encodeMessage({ kind: 'bye', why: 'no room' }))).toMatchObject({ kind: 'bye', why: 'no room' })
  expect(links.isUp(peer)).toBe(false)
  expect(ctx.takeActions()).toContainEqual({ kind: 'disconnect', peer })
  come(1)
  expect(links.isUp(peer)).toBe(true)
})

test('who has begun anew must show within three seconds that its connection is not one of its former life', () => {
  const { ctx, links } = tab(3)
  const secret = bytesOf('host')
  const peer = hex(publicKeyOf(secret))
  const announce = (boot: number): void => void ctx.table.offer(encodePresence(secret, { ...goodPresence(), peer, boot }), ctx.now)
  announce(1)
  links.connected(peer, true)
  links.frame(peer, hello())
  links.tick()
  ctx.takeActions()
  announce(2)
  ctx.now += 100
  links.tick()
  expect(ctx.takeActions().map((action) => action.kind)).toEqual(['send'])
  expect(links.wakeAt()).toBe(ctx.now + 3000)
  ctx.now += 3000
  expect(links.tick()).toEqual([peer])
  expect(ctx.takeActions()).toEqual([{ kind: 'disconnect', peer }])
})
