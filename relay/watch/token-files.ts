// Token lists of jobs that are not open, as files: $MEADOW_HOME/tokens/<root>.json. The requester hands its prompt to a host it trusts, the host its answer to the requester,
// by whatever way they have; nobody else can solve, check or defend such a claim, and nothing here sends them anywhere.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { TokenList } from '../../protocol/engine/proof/tokens.ts'
import { fromHex, hex } from '../../protocol/hash.ts'
import { RelayError } from '../errors.ts'
import type { PinnedTokens } from '../ledger/pins.ts'

const fileJson = z.object({
  tokenKey: z.string().regex(/^[0-9a-f]{64}$/),
  kind: z.union([z.literal(0), z.literal(1)]),
  tokens: z.array(z.number().int().min(0).max(0xffffffff)).min(1).max(32_768),
})

/** Reads a file of a token list. Throws RelayError when it is none. */
export function readTokenFile(path: string): PinnedTokens {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw new RelayError(`${path} cannot be read: ${(error as Error).message}.`)
  }
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw new RelayError(`${path} is no JSON.`)
  }
  const found = fileJson.safeParse(json)
  if (!found.success) throw new RelayError(`${path} is no list of tokens: {"tokenKey", "kind", "tokens"} was expected.`)
  return { ...found.data, tokenKey: fromHex(found.data.tokenKey) }
}

export class TokenFiles {
  private readonly folder: string

  constructor(home: string) {
    this.folder = join(home, 'tokens')
  }

  pathOf(root: string): string {
    return join(this.folder, `${root}.json`)
  }

  /** The list of a root in hex; null when it is not here, or is not what its name says. */
  readonly knows = (root: string): PinnedTokens | null => {
    try {
      const found = readTokenFile(this.pathOf(root))
      return hex(new TokenList(found.tokens, found.tokenKey, found.kind).root) === root ? found : null
    } catch (error) {
      if (error instanceof RelayError) return null
      throw error
    }
  }

  /** Keeps a list; where it lies. */
  readonly keeps = (list: PinnedTokens): string => {
    const path = this.pathOf(hex(new TokenList(list.tokens, list.tokenKey, list.kind).root))
    mkdirSync(this.folder, { recursive: true, mode: 0o700 })
    writeFileSync(path, JSON.stringify({ tokenKey: hex(list.tokenKey), kind: list.kind, tokens: list.tokens }), { mode: 0o600 })
    return path
  }
}
