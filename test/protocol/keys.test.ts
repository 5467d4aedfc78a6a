import { createHash, createPrivateKey, createPublicKey, sign as nativeSign, verify as nativeVerify } from 'node:crypto'
import { ed25519 } from '@noble/curves/ed25519.js'
import { afterEach, expect, test } from 'vitest'
import { fromHex, hashTagged, hex } from '../../protocol/hash.ts'
import { publicKeyOf, setEd25519, sign, verify } from '../../protocol/keys.ts'

const der = { secret: Buffer.from('302e020100300506032b657004220420', 'hex'), public: Buffer.from('302a300506032b6570032100', 'hex') }
const secretOf = (bytes: Uint8Array) => createPrivateKey({ key: Buffer.concat([der.secret, bytes]), format: 'der', type: 'pkcs8' })
const publicOf = (bytes: Uint8Array) => createPublicKey({ key: Buffer.concat([der.public, bytes]), format: 'der', type: 'spki' })
const native = {
  publicKey: (secret: Uint8Array) => new Uint8Array(createPublicKey(secretOf(secret)).export({ format: 'der', type: 'spki' }).subarray(-32)),
  sign: (secret: Uint8Array, message: Uint8Array) => new Uint8Array(nativeSign(null, message, secretOf(secret))),
  verify: (key: Uint8Array, message: Uint8Array, signature: Uint8Array) => nativeVerify(null, message, publicOf(key), signature),
}
const sha512 = (bytes: Uint8Array): Uint8Array => new Uint8Array(createHash('sha512').update(bytes).digest())
afterEach(() => setEd25519(null))

const message = new TextEncoder().encode('rows')
const secret = Uint8Array.from({ length: 32 }, (_, i) => i * 7)

/** The verdict of both implementations. */
function both(key: Uint8Array, domain: string, bytes: Uint8Array, signature: Uint8Array): [boolean, boolean] {
  setEd25519(null)
  const portable = verify(key, domain, bytes, signature)
  setEd25519(native)
  return [portable, verify(key, domain, bytes, signature)]
}

test('keys and signatures are those of RFC 8032, and the same natively', () => {
  const vector = fromHex('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60')
  expect(hex(publicKeyOf(vector))).toBe('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a')
  const signature = sign(secret, 'a', message)
  setEd25519(native)
  expect(hex(publicKeyOf(vector))).toBe('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a')
  expect(hex(sign(secret, 'a', message))).toBe(hex(signature))
  expect(nativeVerify(null, hashTagged('a', message), publicOf(publicKeyOf(secret)), signature)).toBe(true)
})

test('a signature holds for its key, domain and bytes, and for nothing else', () => {
  const key = publicKeyOf(secret)
  const signature = sign(secret, 'a', message)
  expect(both(key, 'a', message, signature)).toEqual([true, true])
  expect(both(key, 'b', message, signature)).toEqual([false, false])
  expect(both(key, 'a', message.subarray(1), signature)).toEqual([false, false])
  expect(both(publicKeyOf(new Uint8Array(32)), 'a', message, signature)).toEqual([false, false])
  for (let bit = 0; bit < 512; bit += 37) {
    const changed = signature.slice()
    changed[bit >> 3] ^= 1 << (bit & 7)
    expect(both(key, 'a', message, changed)).toEqual([false, false])
  }
})

test('what is no key or signature is false and throws nothing', () => {
  const key = publicKeyOf(secret)
  const signature = sign(secret, 'a', message)
  for (const [k, s] of [
    [new Uint8Array(31), signature],
    [key, new Uint8Array(63)],
    [new Uint8Array(32).fill(255), signature],
    [key, new Uint8Array(64).fill(255)],
    [new Uint8Array(), new Uint8Array()],
  ])
    expect(both(k, 'a', message, s)).toEqual([false, false])
  expect(() => publicKeyOf(new Uint8Array(31))).toThrow(RangeError)
  expect(() => sign(new Uint8Array(33), 'a', message)).toThrow(RangeError)
})

test('signatures that implementations could disagree about are refused by all', () => {
  const order = ed25519.Point.Fn.ORDER
  const number = (bytes: Uint8Array): bigint => bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n)
  const bytesOf = (value: bigint): Uint8Array => Uint8Array.from({ length: 32 }, (_, i) => Number((value >> BigInt(8 * i)) & 255n))
  const key = publicKeyOf(secret)
  const signature = sign(secret, 'a', message)
  // s + order means the same to whoever does not look.
  const larger = Uint8Array.from([...signature.subarray(0, 32), ...bytesOf(number(signature.subarray(32)) + order)])
  expect(both(key, 'a', message, larger)).toEqual([false, false])
  // Keys of small order sign everything.
  for (const small of [
    '01'.padEnd(64, '0'),
    '00'.repeat(32),
    '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
    `ec${'ff'.repeat(30)}7f`,
    `ee${'ff'.repeat(30)}7f`,
  ]) {
    const trivial = Uint8Array.from([...fromHex('01'.padEnd(64, '0')), ...new Uint8Array(32)])
    expect(both(fromHex(small), 'a', message, trivial)).toEqual([false, false])
  }
  // R plus a point of order 8 satisfies the equation with cofactor (noble's own), not the one without (native ones, and ours).
  const torsion = ed25519.Point.fromHex('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05')
  const digest = hashTagged('a', message)
  const r = ed25519.Point.BASE.multiply(12345n).add(torsion).toBytes()
  const { scalar } = ed25519.utils.getExtendedPublicKey(secret)
  const k = number(sha512(Uint8Array.from([...r, ...key, ...digest]))) % order
  const crafted = Uint8Array.from([...r, ...bytesOf((12345n + k * scalar) % order)])
  expect(ed25519.verify(crafted, digest, key, { zip215: true })).toBe(true)
  expect(both(key, 'a', message, crafted)).toEqual([false, false])
})
