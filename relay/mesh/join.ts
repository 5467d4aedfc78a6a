// A Node peer: joins the mesh of a relay given by its web address, as a host, as a requester, or both.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { keychain } from '@libp2p/keychain'
import { FsDatastore } from 'datastore-fs'
import { InvitationError, invitationOf } from '../../mesh/group.ts'
import { createNetwork, type Network } from '../../mesh/network.ts'
import { createMeshNode, type MeshNode } from '../../mesh/node.ts'
import { libp2pKey } from '../../mesh/peer-key.ts'
import { createShell, type Engines, type Shell, type Vault } from '../../mesh/shell.ts'
import { meshTransports } from '../../mesh/transports.ts'
import { publicKeyOf } from '../../protocol/keys.ts'
import { frameBytesMax } from '../../protocol/limits.ts'
import type { Notice, PeerOptions } from '../../protocol/peer/machine.ts'
import { Peer } from '../../protocol/peer/peer.ts'
import { networkOf, type PresenceTable } from '../../protocol/peer/presence.ts'
import { UsageError } from '../errors.ts'
import { fetchMeshJson } from './address.ts'
import type { Identity } from './identity.ts'

export interface JoinOptions {
  home: string
  relay: URL
  identity: Identity
  /** Text of an invitation to a private group. */
  invitation?: string
  engines?: Engines
  /** Lets others connect: listens on ws and webrtc-direct, holds a reservation for tabs. A peer that only asks listens on nothing. */
  reachable: boolean
  onNotice?: (notice: Notice) => void
  /** Into what it is paid as a host, and where it keeps vouchers. */
  earnings?: PeerOptions['earnings']
  vault?: Vault
}

export interface NodePeer {
  readonly node: MeshNode
  readonly network: Network
  readonly shell: Shell
  readonly table: PresenceTable
  /** Says goodbye and leaves. A reachable peer's process is to end after this: see Network.close. */
  close(): Promise<void>
}

/** Throws RelayError when the relay does not answer or has no mesh, UsageError for a wrong invitation. */
export async function joinMesh(options: JoinOptions): Promise<NodePeer> {
  const { relay, identity, home } = options
  const invitation = readInvitation(options.invitation)
  const info = await fetchMeshJson(relay)
  const { secret } = identity
  const networkName = networkOf(invitation)
  const folder = join(home, 'mesh', identity.kept ? 'host' : `host-${process.pid}`)
  const datastore = options.reachable ? new FsDatastore(folder) : undefined
  await datastore?.open()
  const local = ['localhost', '127.0.0.1', '[::1]'].includes(relay.hostname)
  const address = local ? '127.0.0.1' : '0.0.0.0'
  const node = await createMeshNode({
    privateKey: libp2pKey(secret, publicKeyOf(secret)),
    transports: meshTransports({ iceServers: info.iceServers }),
    listen: options.reachable ? ['/p2p-circuit', '/webrtc', `/ip4/${address}/tcp/0/ws`, `/ip4/${address}/udp/0/webrtc-direct`] : [],
    connectionsMax: 200,
    gossip: 'leaf',
    ...(datastore ? { datastore, services: { keychain: keychain() } } : {}),
    inboundPerSecondMax: 50,
  })
  const machine = new Peer({ secret, seed: new Uint8Array(randomBytes(32)), boot: Math.floor(Date.now() / 1000), invitation, earnings: options.earnings })
  const validate = (bytes: Uint8Array) => machine.judge(bytes, performance.now())
  const network = createNetwork({ node, network: networkName, relays: relaysOf(info.relays), frameBytesMax, validate })
  const shell = createShell({ network, machine, engines: options.engines, onNotice: options.onNotice, vault: options.vault })
  return {
    node,
    network,
    shell,
    table: machine.table,
    async close() {
      await shell.leave()
      await network.close(!options.reachable)
      await datastore?.close()
    },
  }
}

/** One address of each relay: the WebSocket where there is one. Dialing all would only make second connections to the same peer. */
function relaysOf(addresses: string[]): string[] {
  const chosen = new Map<string, string>()
  for (const address of addresses) {
    const id = /\/p2p\/([^/]+)$/.exec(address)?.[1]
    if (id && (!chosen.has(id) || (/\/wss?\//.test(address) && !/\/wss?\//.test(chosen.get(id)!)))) chosen.set(id, address)
  }
  return [...chosen.values()].slice(0, 4)
}

function readInvitation(text: string | undefined): Uint8Array | null {
  try {
    return invitationOf(text)
  } catch (error) {
    if (error instanceof InvitationError) throw new UsageError(`--invite: ${error.message}.`)
    throw error
  }
}
