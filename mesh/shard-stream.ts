// /meadow/shard/1: a range of a shard from a peer that has it, over a direct connection: where neither torrent nor web seed works. One request and one answer a
// stream. What comes is a stranger's bytes until the whole shard's SHA-256 is the manifest's; whoever asks checks that.
import type { Connection, PeerId, Stream, StreamMessageEvent } from '@libp2p/interface'
import { codec, hexBytes, integer, MessageError, map, type Of, text } from '../protocol/codec.ts'
import { FrameError, FrameReader, frameWrites } from './frames.ts'
import type { MeshNode } from './node.ts'

export const shardProtocol = '/meadow/shard/1'

/** Bytes of one answer: an eighth of a second at 16 Mbit/s, so that a request that is given up costs little. */
export const rangeBytesMax = 256 << 10
/** Of one peer at once, and of all: serving shards must not hold up the ring. */
const streamsPerPeerMax = 2
const streamsMax = 16
const patienceMs = 20_000

const requestShape = map({ modelId: hexBytes(32), shard: text(64), from: integer(0, 2 ** 40), length: integer(1, rangeBytesMax) })
export type ShardRequest = Of<typeof requestShape>
const requestCodec = codec('a request for a shard', requestShape, 256)

/** The first byte of an answer: bytes follow, or a sentence. */
const given = 0
const refused = 1

/** The other side does not give it; the sentence is its reason, or what went wrong. */
export class ShardRefused extends Error {
  override name = 'ShardRefused'
}

/** Answers requests with `read`, which gives null for what is not here. Returns how to stop. */
export async function serveShards(node: MeshNode, read: (request: ShardRequest) => Promise<Uint8Array | null>): Promise<() => Promise<void>> {
  let open = 0
  const answer = async (stream: Stream, connection: Connection): Promise<void> => {
    open++
    try {
      if (connection.limits != null || open > streamsMax) return await say(stream, 'too many ask at once')
      const request = requestCodec.decode(await oneFrame(stream, 256))
      const bytes = await read(request)
      if (!bytes) return await say(stream, 'this shard is not here')
      await write(stream, given, bytes)
    } catch (error) {
      stream.abort(error instanceof Error ? error : new Error(String(error)))
    } finally {
      open--
    }
  }
  await node.handle(shardProtocol, answer, { maxInboundStreams: streamsPerPeerMax, runOnLimitedConnection: false })
  return () => node.unhandle(shardProtocol)
}

/** Bytes [from, from + length) of a shard, as the peer has them. Throws ShardRefused, or the signal's reason. */
export async function fetchShardRange(node: MeshNode, peer: PeerId, request: ShardRequest, signal?: AbortSignal): Promise<Uint8Array> {
  const connection = node.getConnections(peer).find((one) => one.limits == null && one.status === 'open')
  if (!connection) throw new ShardRefused('there is no direct connection to it')
  const patience = AbortSignal.any([AbortSignal.timeout(patienceMs), ...(signal ? [signal] : [])])
  let stream: Stream | undefined
  try {
    stream = await connection.newStream(shardProtocol, { signal: patience, maxOutboundStreams: streamsPerPeerMax })
    const answered = oneFrame(stream, rangeBytesMax + 1, patience)
    // Nobody waits for it when the request itself cannot be sent.
    answered.catch(() => {})
    for (const piece of frameWrites([requestCodec.encode(request)])) stream.send(piece)
    const frame = await answered
    const bytes = frame.subarray(1)
    if (frame[0] !== given) throw new ShardRefused(new TextDecoder().decode(bytes).slice(0, 200))
    if (bytes.length !== request.length) throw new ShardRefused(`it sent ${bytes.length} bytes instead of ${request.length}`)
    await stream.close().catch(() => {})
    return bytes
  } catch (error) {
    stream?.abort(error instanceof Error ? error : new Error(String(error)))
    signal?.throwIfAborted()
    if (error instanceof ShardRefused) throw error
    throw new ShardRefused(error instanceof Error ? error.message : String(error))
  }
}

async function say(stream: Stream, reason: string): Promise<void> {
  await write(stream, refused, new TextEncoder().encode(reason))
}

async function write(stream: Stream, kind: number, bytes: Uint8Array): Promise<void> {
  const frame = new Uint8Array(1 + bytes.length)
  frame[0] = kind
  frame.set(bytes, 1)
  for (const piece of frameWrites([frame])) if (!stream.send(piece)) await stream.onDrain({ signal: AbortSignal.timeout(patienceMs) })
  await stream.close()
}

/** The first frame of a stream. Throws FrameError, MessageError when it ends before, or the signal's reason. */
function oneFrame(stream: Stream, bytesMax: number, signal: AbortSignal = AbortSignal.timeout(patienceMs)): Promise<Uint8Array> {
  const reader = new FrameReader(bytesMax)
  return new Promise((resolve, reject) => {
    const fail = (): void => reject(new MessageError('the stream ended before its frame'))
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    stream.addEventListener('close', fail)
    stream.addEventListener('remoteCloseWrite', () => setTimeout(fail))
    stream.addEventListener('message', (event: StreamMessageEvent) => {
      try {
        const [frame] = reader.push(event.data instanceof Uint8Array ? event.data : event.data.subarray())
        if (frame) resolve(frame)
      } catch (error) {
        reject(error instanceof FrameError ? error : new FrameError(String(error)))
      }
    })
  })
}
