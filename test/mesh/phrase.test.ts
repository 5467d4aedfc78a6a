import { expect, test } from 'vitest'
import { PhraseError, phraseOf, secretOf } from '../../mesh/phrase.ts'

test('phrases are those of the BIP39 test vectors', () => {
  expect(phraseOf(new Uint8Array(32))).toBe(`${'abandon '.repeat(23)}art`)
  expect(phraseOf(new Uint8Array(32).fill(0x7f))).toBe(
    'legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth title',
  )
  expect(phraseOf(new Uint8Array(32).fill(255))).toBe(`${'zoo '.repeat(23)}vote`)
})

test('a phrase gives its key back, however it is spaced and capitalised', () => {
  const secret = Uint8Array.from({ length: 32 }, (_, i) => i * 7)
  expect(secretOf(phraseOf(secret))).toEqual(secret)
  expect(secretOf(`  ${phraseOf(secret).toUpperCase().replaceAll(' ', '\n  ')} `)).toEqual(secret)
})

test('what is wrong with a phrase is said without repeating its words', () => {
  const words = phraseOf(new Uint8Array(32)).split(' ')
  expect(() => secretOf(words.slice(1).join(' '))).toThrow('a recovery phrase has 24 words, not 23')
  expect(() => secretOf(words.with(4, 'meadows').join(' '))).toThrow('word 5 is not in the list')
  expect(() => secretOf(words.with(4, 'zoo').join(' '))).toThrow(PhraseError)
  expect(() => secretOf(words.with(4, 'zoo').join(' '))).toThrow(/checksum/)
})
