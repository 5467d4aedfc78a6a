import { encode } from '@ipld/dag-cbor'
import { expect, test } from 'vitest'
import { boolean, bytes, codec, hexBytes, hexText, integer, list, MessageError, map, nullable, oneOf, text } from '../../protocol/codec.ts'
import { fromHex } from '../../protocol/hash.ts'

const shape = map({
  count: integer(0, 10),
  name: text(5),
  key: hexBytes(2),
  kind: oneOf(['a', 'b']),
  raw: nullable(bytes(1, 3)),
  on: boolean,
  all: list(integer(-5, 5), 2),
})
const thing = codec('a thing', shape, 100)
const good = { count: 3, name: 'ab', key: 'beef', kind: 'a' as const, raw: Uint8Array.of(1), on: true, all: [1, -2] }
const wire = { ...good, key: fromHex('beef') }

test('a value comes back as it was', () => {
  expect(thing.decode(thing.encode(good))).toEqual(good)
  expect(thing.decode(thing.encode({ ...good, raw: null, all: [] }))).toEqual({ ...good, raw: null, all: [] })
})

test('what does not fit is refused with a sentence that names the place', () => {
  for (const [change, why] of [
    [{ count: 11 }, 'a thing.count is not an integer from 0 to 10'],
    [{ count: 1.5 }, 'a thing.count is not'],
    [{ name: 'abcdef' }, 'a thing.name is not a text of at most 5 bytes'],
    [{ name: 'ééé' }, 'a thing.name is not a text'],
    [{ key: Uint8Array.of(1) }, 'a thing.key is not 2 bytes'],
    [{ kind: 'c' }, 'a thing.kind is not one of a, b'],
    [{ raw: new Uint8Array() }, 'a thing.raw is not 1 to 3 bytes'],
    [{ on: 1 }, 'a thing.on is not true or false'],
    [{ all: [1, 2, 3] }, 'a thing.all is not a list of 0 to 2'],
    [{ all: [9] }, 'a thing.all[0] is not an integer'],
    [{ more: 1 }, 'a thing has an unknown field "more"'],
  ] as [object, string][]) {
    expect(() => thing.decode(encode({ ...wire, ...change }))).toThrow(why)
    expect(() => thing.decode(encode({ ...wire, ...change }))).toThrow(MessageError)
  }
  const { on: _, ...less } = wire
  expect(() => thing.decode(encode(less))).toThrow('a thing lacks the field on')
})

test('one value has one byte string: everything else that means the same is refused', () => {
  const raw = thing.encode(good)
  expect(() => thing.decode(Uint8Array.from([...raw, 0]))).toThrow(MessageError)
  // 3 written in two bytes; a float that is whole; keys in another order; a length without end.
  const small = codec('a number', map({ n: integer(0, 9) }), 100)
  expect(small.decode(fromHex('a1616e03'))).toEqual({ n: 3 })
  for (const other of ['a1616e1803', 'a1616efb4008000000000000', 'bf616e03ff', 'a2616e03616e03', 'c1a1616e03'])
    expect(() => small.decode(fromHex(other))).toThrow(MessageError)
  const pair = codec('a pair', map({ a: integer(0, 9), b: integer(0, 9) }), 100)
  expect(pair.decode(fromHex('a2616101616202'))).toEqual({ a: 1, b: 2 })
  expect(() => pair.decode(fromHex('a2616202616101'))).toThrow('not in canonical form')
})

test('size is checked before anything is read', () => {
  expect(() => thing.decode(new Uint8Array(101))).toThrow('a thing has 101 bytes, at most 100 are allowed')
})

test('nesting without end is an error like any other', () => {
  const deep = codec('a thing', shape, 1 << 20)
  expect(() => deep.decode(new Uint8Array(500_000).fill(0x81))).toThrow(MessageError)
})

test('hexadecimal digits of JSON must be lower case and of the right length', () => {
  expect(hexText(2).read('beef', 'x')).toBe('beef')
  for (const bad of ['BEEF', 'bee', 'beefbe', 7, null]) expect(() => hexText(2).read(bad, 'x')).toThrow('x is not 4 hexadecimal digits')
})
