// The pure parts of lending in a tab: where pieces lie in shards, hours of the day, what links and relays may say.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Manifest } from '../../protocol/model/manifest.ts'
import { withinHours } from '../../web/peer/lending.ts'
import { holdOf, invitationOf, onePerRelay, parseMeshConfig } from '../../web/peer/mesh-config.ts'
import { bytesOf, covers, PieceLayout, type Range, withRange } from '../../web/workers/store/layout.ts'

const manifestOf = (sizes: number[]): Manifest => ({ shards: sizes.map((bytes, i) => ({ name: `layer-${i}`, bytes })) }) as unknown as Manifest

describe('pieces', () => {
  test('stretches of all pieces cover every byte of every shard once, in order', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 12 }), fc.integer({ min: 1, max: 256 }), (sizes, pieceBytes) => {
        const layout = new PieceLayout(manifestOf(sizes), pieceBytes)
        const reached = sizes.map(() => 0)
        for (let index = 0; index < layout.pieceCount; index++) {
          let at = 0
          for (const stretch of layout.stretches(index)) {
            expect(stretch.at).toBe(at)
            expect(stretch.from).toBe(reached[stretch.shard])
            reached[stretch.shard] += stretch.bytes
            at += stretch.bytes
          }
          expect(at).toBe(layout.sizeOf(index))
        }
        expect(reached).toEqual(sizes)
      }),
    )
  })

  test('ranges that are joined hold exactly the bytes that were put in, apart and sorted', () => {
    const range = fc.tuple(fc.nat(60), fc.integer({ min: 1, max: 12 })).map(([from, length]): Range => [from, from + length])
    fc.assert(
      fc.property(fc.array(range, { maxLength: 20 }), (put) => {
        const bytes = new Set(put.flatMap(([from, to]) => Array.from({ length: to - from }, (_, i) => from + i)))
        const ranges = put.reduce<Range[]>(withRange, [])
        expect(bytesOf(ranges)).toBe(bytes.size)
        for (const [i, [from]] of ranges.entries()) if (i > 0) expect(from).toBeGreaterThan(ranges[i - 1][1])
        for (const one of put) expect(covers(ranges, one)).toBe(true)
      }),
    )
  })
})

test('hours of the day may reach over midnight; equal ends mean always', () => {
  const hours = (from: number, to: number) => Array.from({ length: 24 }, (_, hour) => hour).filter((hour) => withinHours(hour, from, to))
  expect(hours(9, 12)).toEqual([9, 10, 11])
  expect(hours(22, 2)).toEqual([0, 1, 22, 23])
  expect(hours(0, 0).length).toBe(24)
})

test('a link names layers and an invitation, and nothing else gets through', () => {
  const id = 'f'.repeat(64)
  expect(holdOf(`#hold=${id}:0-10,abcdef12:3-4`)).toEqual([
    { model: id, from: 0, to: 10 },
    { model: 'abcdef12', from: 3, to: 4 },
  ])
  for (const wrong of ['', '#hold=', '#hold=xyz:0-1', '#hold=abcdef12:5-5', '#hold=abcdef12:9-2', '#hold=abc:0-1']) expect(holdOf(wrong)).toEqual([])
  const secret = '0123456789abcdef'.repeat(2)
  expect(invitationOf(`#hold=abcdef12:0-1&invite=${secret}`)).toBe(secret)
  for (const wrong of ['', '#invite=', `#invite=${secret}0`, '#invite=zz', `#xinvite=${secret}`]) expect(invitationOf(wrong)).toBe(null)
})

test('what a relay says of its mesh is read as a stranger’s JSON', () => {
  for (const wrong of [null, 3, 'x', [], {}, { relays: 'x' }, { relays: [1, null] }]) expect(parseMeshConfig(wrong).relays).toEqual([])
  const config = parseMeshConfig({
    relays: ['/ip4/1.2.3.4/tcp/1/ws/p2p/a'],
    tracker: 'javascript:alert(1)',
    iceServers: [{ urls: 'stun:a' }, {}, 'x'],
    version: 'v'.repeat(100),
  })
  expect(config).toEqual({ relays: ['/ip4/1.2.3.4/tcp/1/ws/p2p/a'], tracker: '', iceServers: [{ urls: ['stun:a'] }], version: 'v'.repeat(64) })
})

test('of each relay one address is used: the own one by WebSocket, others by WebRTC only', () => {
  expect(
    onePerRelay([
      '/dns/localhost/tcp/8787/ws/p2p/own',
      '/ip4/127.0.0.1/udp/8787/webrtc-direct/certhash/u/p2p/own',
      '/ip4/9.9.9.9/tcp/1/ws/p2p/other',
      '/ip4/9.9.9.9/udp/1/webrtc-direct/certhash/u/p2p/other',
      '/ip4/8.8.8.8/tcp/1/ws/p2p/unreachable',
    ]),
  ).toEqual(['/dns/localhost/tcp/8787/ws/p2p/own', '/ip4/9.9.9.9/udp/1/webrtc-direct/certhash/u/p2p/other'])
})
