// A secret key as 24 words (BIP39, English list): what people write down. The words are the key itself, not a seed for deriving one.
import { entropyToMnemonic, mnemonicToEntropy } from '@scure/bip39'
import { wordlist } from '@scure/bip39/wordlists/english.js'

/** Words that are no recovery phrase; the sentence says what is wrong without repeating them. */
export class PhraseError extends Error {
  override name = 'PhraseError'
}

/** 24 words for the 32 bytes of a secret key. */
export function phraseOf(secret: Uint8Array): string {
  if (secret.length !== 32) throw new RangeError(`a secret key has 32 bytes, not ${secret.length}`)
  return entropyToMnemonic(secret, wordlist)
}

/** The secret key of 24 words, however spaced and capitalised. Throws PhraseError. */
export function secretOf(phrase: string): Uint8Array {
  const words = phrase.trim().toLowerCase().split(/\s+/).filter(Boolean)
  if (words.length !== 24) throw new PhraseError(`a recovery phrase has 24 words, not ${words.length}`)
  const unknown = words.findIndex((word) => !wordlist.includes(word))
  if (unknown >= 0) throw new PhraseError(`word ${unknown + 1} is not in the list of recovery words`)
  try {
    return mnemonicToEntropy(words.join(' '), wordlist)
  } catch {
    throw new PhraseError('the words are in the list, but their checksum is wrong: one of them is another word, or two have changed places')
  }
}
