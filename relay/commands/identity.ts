// `meadow identity`: the keys of this machine's peers, and their 24 words.
import { defineCommand } from 'citty'
import { peerIdOf } from '../../mesh/peer-key.ts'
import { PhraseError, phraseOf, secretOf } from '../../mesh/phrase.ts'
import { hex } from '../../protocol/hash.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { command, printJson, say } from '../cli.ts'
import { UsageError } from '../errors.ts'
import { type Role, readSecret, roles, writeSecret } from '../mesh/identity.ts'
import { homeFolder } from '../store.ts'
import { jsonOption } from './options.ts'

const roleOption = {
  type: 'enum' as const,
  options: [...roles],
  default: 'host',
  description: 'Whose key: host (what serves and earns), relay, or ask (what asks)',
}

const show = command({
  meta: { name: 'show', description: 'Print the public keys of this machine' },
  args: { json: jsonOption },
  async run({ args }) {
    const keys = await Promise.all(
      roles.map(async (role) => {
        const key = hex(publicKeyOf(await readSecret(homeFolder(), role)))
        return { role, key, peerId: peerIdOf(key).toString() }
      }),
    )
    if (args.json) return printJson({ keys })
    for (const { role, key, peerId } of keys) process.stdout.write(`${role.padEnd(6)} ${key}\n       ${peerId}\n`)
  },
})

const exportKey = command({
  meta: { name: 'export', description: 'Print the 24 words of a key: whoever has them is this peer' },
  args: { of: roleOption },
  async run({ args }) {
    const secret = await readSecret(homeFolder(), args.of as Role)
    say('Write these words down and show them to nobody.')
    process.stdout.write(`${phraseOf(secret)}\n`)
  },
})

const importKey = command({
  meta: { name: 'import', description: 'Become the peer of 24 words; the old key is kept beside the new one' },
  args: {
    of: roleOption,
    words: { type: 'positional', required: false, description: 'The words, in quotes (default: standard input, which keeps them out of the history)' },
  },
  async run({ args }) {
    const words = args.words ?? (await readInput())
    try {
      const secret = secretOf(words)
      await writeSecret(homeFolder(), args.of as Role, secret)
      process.stdout.write(`${args.of} is now ${hex(publicKeyOf(secret))}\n`)
    } catch (error) {
      if (error instanceof PhraseError) throw new UsageError(`${error.message}.`)
      throw error
    }
  },
})

async function readInput(): Promise<string> {
  if (process.stdin.isTTY) say('The 24 words, then Enter and Ctrl-D:')
  let text = ''
  process.stdin.setEncoding('utf8')
  for await (const piece of process.stdin) text += piece
  return text
}

export const identity = defineCommand({
  meta: { name: 'identity', description: "This machine's keys in the mesh" },
  subCommands: { show, export: exportKey, import: importKey },
})
