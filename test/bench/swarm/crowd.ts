// Many peers in one process: real libp2p nodes that are connected to a relay and listen to presence. Spoken to over the process channel.
import { randomBytes } from 'node:crypto'
import { createNetwork, type Network } from '../../../mesh/network.ts'
import { createMeshNode } from '../../../mesh/node.ts'
import { libp2pKey } from '../../../mesh/peer-key.ts'
import { meshTransports } from '../../../mesh/transports.ts'
import { hex } from '../../../protocol/hash.ts'
import { publicKeyOf } from '../../../protocol/keys.ts'
import { frameBytesMax } from '../../../protocol/limits.ts'
import { decodePresence, encodePresence, PresenceTable } from '../../../protocol/peer/presence.ts'
import '../../../relay/mesh/native-keys.ts'

const [, , relay, countText] = process.argv
const count = Number(countText)
const patienceMs = 15_000

interface Member {
  secret: Uint8Array
  key: string
  network: Network
  /** When a record was heard, by key and sequence; milliseconds since 1970 with fractions, the same clock in all processes. */
  heard: Map<string, number>
}

const nowMs = (): number => performance.timeOrigin + performance.now()
const members: Member[] = []
let sequence = 0

async function join(): Promise<Member> {
  const secret = new Uint8Array(randomBytes(32))
  const node = await createMeshNode({
    privateKey: libp2pKey(secret, publicKeyOf(secret)),
    transports: meshTransports({}, { webrtc: false, circuit: false }),
    listen: [],
    connectionsMax: 20,
    gossip: 'leaf',
  })
  const table = new PresenceTable('main')
  const heard = new Map<string, number>()
  const network = createNetwork({
    node,
    network: 'main',
    relays: [relay!],
    frameBytesMax,
    // As every peer does: judged before it is passed on.
    validate: (bytes) => (table.offer(bytes, performance.now()) === 'new' ? 'accept' : 'ignore'),
  })
  network.subscribe((event) => {
    if (event.kind !== 'gossip') return
    const presence = decodePresence(event.bytes, 'main')
    heard.set(`${presence.peer} ${presence.sequence}`, nowMs())
  })
  await new Promise<void>((resolve) => network.subscribe((event) => event.kind === 'relay' && event.up && resolve()))
  return { secret, key: hex(publicKeyOf(secret)), network, heard }
}

async function answer(message: { kind: string; index?: number; key?: string; sequence?: number }): Promise<object> {
  if (message.kind === 'join') {
    // Ten at a time: a crowd that comes at once is another test.
    while (members.length < count) members.push(...(await Promise.all(Array.from({ length: Math.min(10, count - members.length) }, join))))
    // Gossip meshes form at the next heartbeats.
    await new Promise((resolve) => setTimeout(resolve, 3000))
    return { joined: members.length }
  }
  if (message.kind === 'speak') {
    const member = members[message.index! % members.length]!
    const bytes = encodePresence(member.secret, {
      version: 1,
      network: 'main',
      peer: member.key,
      boot: 1,
      sequence: ++sequence,
      state: 'serving',
      throttled: false,
      ttlMs: 90_000,
      addresses: [],
      near: [],
      pay: null,
      held: [],
    })
    const atMs = nowMs()
    member.network.publish(bytes)
    member.heard.set(`${member.key} ${sequence}`, atMs)
    return { key: member.key, sequence, atMs }
  }
  const name = `${message.key} ${message.sequence}`
  const untilMs = nowMs() + patienceMs
  while (nowMs() < untilMs && members.some((member) => !member.heard.has(name))) await new Promise((resolve) => setTimeout(resolve, 10))
  const times = members.flatMap((member) => member.heard.get(name) ?? [])
  return { times, missing: members.length - times.length }
}

process.on('message', (message: { kind: string }) => {
  void answer(message).then((reply) => process.send!(reply))
})
process.once('disconnect', () => process.exit())
