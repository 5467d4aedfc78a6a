import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FrameError, FrameReader, frameWrites, writeBytesMax } from '../../mesh/frames.ts'

const joined = (pieces: Uint8Array[]) => Buffer.concat(pieces)

test('frames come out as they went in, however the stream is cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 60_000 }), { maxLength: 6 }),
      fc.array(fc.integer({ min: 1, max: 20_000 }), { minLength: 1, maxLength: 20 }),
      (frames, cuts) => {
        const stream = joined([...frameWrites(frames)])
        const reader = new FrameReader(60_000)
        const out: Uint8Array[] = []
        for (let at = 0, i = 0; at < stream.length; i++) {
          const length = cuts[i % cuts.length]!
          out.push(...reader.push(stream.subarray(at, at + length)))
          at += length
        }
        expect(out.map((frame) => Buffer.from(frame).toString('hex'))).toEqual(frames.map((frame) => Buffer.from(frame).toString('hex')))
        expect(reader.unfinished).toBe(0)
      },
    ),
    { numRuns: 200 },
  )
})

test('no write is longer than 16 KiB, and a small frame is one write', () => {
  expect([...frameWrites([new Uint8Array(2304)])]).toHaveLength(1)
  const writes = [...frameWrites([new Uint8Array(100_000)])]
  expect(Math.max(...writes.map((write) => write.length))).toBe(writeBytesMax)
  expect(writes.reduce((sum, write) => sum + write.length, 0)).toBe(100_004)
})

test('a frame beyond the limit is refused by its announced length, before any of it is held', () => {
  const reader = new FrameReader(1000)
  const head = new Uint8Array(4)
  new DataView(head.buffer).setUint32(0, 1001, true)
  expect(() => reader.push(head)).toThrow(FrameError)
  const huge = new FrameReader(1000)
  expect(() => huge.push(Uint8Array.of(255, 255, 255, 255))).toThrow('a frame of 4294967295 bytes came, the limit is 1000')
})

test('a frame that never ends holds only what came of it', () => {
  const reader = new FrameReader(1 << 20)
  const [first] = frameWrites([new Uint8Array(1 << 20)])
  expect(reader.push(first!)).toEqual([])
  expect(reader.unfinished).toBe(writeBytesMax - 4)
})
