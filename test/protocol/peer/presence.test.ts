import { describe, expect, test } from 'vitest'
import { MessageError } from '../../../protocol/codec.ts'
import { hex } from '../../../protocol/hash.ts'
import { publicKeyOf } from '../../../protocol/keys.ts'
import { presenceBytesMax } from '../../../protocol/limits.ts'
import { encodePresence, networkOf, type Presence, PresenceTable } from '../../../protocol/peer/presence.ts'
import { goodPresence } from '../../fuzz/messages.ts'
import { useNative } from '../../sim/native.ts'

useNative()
const secret = new Uint8Array(32).fill(5)
const record = (change: Partial<Presence> = {}, by = secret): Uint8Array => encodePresence(by, { ...goodPresence(), peer: hex(publicKeyOf(by)), ...change })

describe('the table', () => {
  test('takes what is newer, ignores what is known or older, and says so', () => {
    const table = new PresenceTable('main')
    expect(table.offer(record({ sequence: 5 }), 0)).toBe('new')
    expect(table.offer(record({ sequence: 5 }), 0)).toBe('old')
    expect(table.offer(record({ sequence: 4 }), 0)).toBe('old')
    expect(table.offer(record({ sequence: 6 }), 0)).toBe('new')
    // Started again: the counter begins anew under a greater boot.
    expect(table.offer(record({ boot: 8, sequence: 0 }), 0)).toBe('new')
    expect(table.offer(record({ boot: 7, sequence: 99 }), 0)).toBe('old')
    expect(table.size).toBe(1)
  })

  test('forgets what was not renewed, by its own clock, and old records do not bring it back', () => {
    const table = new PresenceTable('main')
    table.offer(record({ sequence: 5 }), 1000)
    expect(table.expire(90_999)).toBe(false)
    expect(table.expire(91_000)).toBe(true)
    expect(table.size).toBe(0)
    expect(table.offer(record({ sequence: 5 }), 91_001)).toBe('old')
    expect(table.offer(record({ sequence: 6 }), 91_001)).toBe('new')
  })

  test('a record that is told on is not younger for it', () => {
    const table = new PresenceTable('main')
    table.offer(record(), 0, 80_000)
    table.expire(10_000)
    expect(table.size).toBe(0)
  })

  test('a goodbye removes at once', () => {
    const table = new PresenceTable('main')
    table.offer(record({ sequence: 1 }), 0)
    expect(table.offer(record({ sequence: 2, state: 'gone', held: [] }), 0)).toBe('new')
    expect(table.size).toBe(0)
    expect(table.offer(record({ sequence: 1 }), 0)).toBe('old')
  })

  test('refuses records that are forged, altered, of another network, or impossible', () => {
    const table = new PresenceTable('main')
    const good = record()
    const forged = encodePresence(secret, { ...goodPresence() }).slice()
    forged[forged.length - 1] ^= 1
    const { held } = goodPresence()
    for (const bad of [
      forged,
      good.slice(0, -1),
      record({ network: 'elsewhere' }),
      record({ held: [{ ...held[0], from: 20, to: 10 }] }),
      record({ held: [{ ...held[0], to: 31 }] }),
      record({ held: [held[0], held[0]] }),
      new Uint8Array(presenceBytesMax + 1),
    ])
      expect(() => table.offer(bad, 0)).toThrow(MessageError)
    expect(table.size).toBe(0)
    // Somebody else's key in one's own record.
    const other = new Uint8Array(32).fill(9)
    const stolen = record({}, other)
    expect(table.offer(stolen, 0)).toBe('new')
    expect(table.get(hex(publicKeyOf(secret)))).toBeUndefined()
  })

  test('a peer that floods is not even listened to, and heard again later', () => {
    const table = new PresenceTable('main')
    const taken = Array.from({ length: 50 }, (_, i) => table.offer(record({ sequence: i + 1 }), 0)).filter((said) => said === 'new').length
    expect(taken).toBe(11)
    expect(table.offer(record({ sequence: 99 }), 2000)).toBe('new')
    expect(table.offer(record({ sequence: 100, state: 'gone', held: [] }), 2000)).toBe('new')
  })

  test('is bounded: those that were silent longest go first', () => {
    const table = new PresenceTable('main', 20)
    const keys = Array.from({ length: 23 }, (_, i) => new Uint8Array(32).fill(i + 1))
    for (const [i, key] of keys.entries()) table.offer(record({ held: [] }, key), i)
    expect(table.size).toBe(20)
    expect(table.get(hex(publicKeyOf(keys[0])))).toBeUndefined()
    expect(table.get(hex(publicKeyOf(keys[keys.length - 1])))).toBeDefined()
  })
})

test('a network name tells nothing of the invitation', () => {
  expect(networkOf(null)).toBe('main')
  expect(networkOf(new TextEncoder().encode('may'))).toMatch(/^[0-9a-f]{64}$/)
})

test('a usual record is small', () => {
  expect(record().length).toBeLessThan(600)
})
