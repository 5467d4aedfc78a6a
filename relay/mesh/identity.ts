// The keys of this machine's peers, under $MEADOW_HOME/keys: one per role (`host`, `relay`, `ask`), 32 bytes each, readable by their owner only. A key is used
// by one process at a time: two peers under one name would push each other out of the mesh.

import { randomBytes } from 'node:crypto'
import { mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { hex } from '../../protocol/hash.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { isAlive } from '../alive.ts'
import { codeOf, RelayError } from '../errors.ts'
import './native-keys.ts'

export const roles = ['host', 'relay', 'ask'] as const
export type Role = (typeof roles)[number]

export interface Identity {
  secret: Uint8Array
  /** 64 hex digits of the public key. */
  key: string
  /** False: another process holds this role's key, and this one is gone with the process. */
  kept: boolean
  /** Frees the key for others. */
  release(): Promise<void>
}

const folderOf = (home: string) => join(home, 'keys')
const pathOf = (home: string, role: Role) => join(folderOf(home), role)

/** The key of a role, made on first use. Throws RelayError when the file is damaged. */
export async function readSecret(home: string, role: Role): Promise<Uint8Array> {
  const path = pathOf(home, role)
  try {
    const text = (await readFile(path, 'utf8')).trim()
    if (!/^[0-9a-f]{64}$/.test(text)) throw new RelayError(`${path} holds no key: restore it with \`meadow identity import\`, or remove it.`)
    return new Uint8Array(Buffer.from(text, 'hex'))
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error
  }
  await mkdir(folderOf(home), { recursive: true, mode: 0o700 })
  const secret = new Uint8Array(randomBytes(32))
  try {
    await writeFile(path, `${hex(secret)}\n`, { mode: 0o600, flag: 'wx' })
    return secret
  } catch (error) {
    // Another process was first.
    if (codeOf(error) === 'EEXIST') return readSecret(home, role)
    throw error
  }
}

/** Puts `secret` in place of the role's key; the old one is kept beside it under its public key. */
export async function writeSecret(home: string, role: Role, secret: Uint8Array): Promise<void> {
  const path = pathOf(home, role)
  await mkdir(folderOf(home), { recursive: true, mode: 0o700 })
  const old = await readSecret(home, role).catch(() => null)
  if (old && hex(old) !== hex(secret)) await rename(path, `${path}.${hex(publicKeyOf(old)).slice(0, 12)}`)
  await writeFile(path, `${hex(secret)}\n`, { mode: 0o600 })
}

/** The role's key for this process, or a fresh one for its lifetime when another process holds it. */
export async function takeIdentity(home: string, role: Role): Promise<Identity> {
  const secret = await readSecret(home, role)
  const lock = `${pathOf(home, role)}.pid`
  if (await takeLock(lock)) return { secret, key: hex(publicKeyOf(secret)), kept: true, release: () => rm(lock, { force: true }) }
  const passing = new Uint8Array(randomBytes(32))
  return { secret: passing, key: hex(publicKeyOf(passing)), kept: false, release: async () => {} }
}

async function takeLock(path: string): Promise<boolean> {
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      const file = await open(path, 'wx')
      await file.writeFile(`${process.pid}\n`)
      await file.close()
      return true
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error
    }
    const holder = Number(await readFile(path, 'utf8').catch(() => ''))
    if (holder && isAlive(holder)) return false
    // Its holder is gone, or is writing its number this moment: then the next turn finds it.
    if (holder) await rm(path, { force: true })
    else await new Promise((resolve) => setTimeout(resolve, 50))
  }
  await rm(path, { force: true })
  return takeLock(path)
}
