// Hosts that can be called only through the relay's signalling, as tabs are: the connections they then have are direct, and no activation passes the relay.
import { atMost, type Bar } from '../bars/bar.ts'
import { answer, ask, type BenchModel, startFleet } from './fleet.ts'

export async function relayedBars(model: BenchModel, say: (line: string) => void): Promise<Bar[]> {
  const fleet = await startFleet(model)
  try {
    const { layers } = model.facts
    const half = Math.round(layers / 2)
    const listen = ['/p2p-circuit', '/webrtc']
    const hosts = [await fleet.host(0, half, { listen }), await fleet.host(half, layers, { listen })]
    const peer = await fleet.requester(2, true)
    const question = ask(model, 'Write a long story about a fox and a crow.', 32)
    await answer(peer, { ...question, maxTokens: 4 }, model.facts, false)
    const before = (await fleet.counts()).webSockets as unknown as { bytes: number }
    await answer(peer, question, model.facts, false)
    const after = (await fleet.counts()).webSockets as unknown as { bytes: number }
    const statistics = await Promise.all(hosts.map((host) => host.statistics()))
    const all = [...statistics, peer.network.statistics()]
    const ring = all.reduce((sum, one) => sum + one.bytesSent, 0)
    say(
      `ring bytes ${ring}, over relayed connections ${all.reduce((sum, one) => sum + one.bytesRelayed, 0)}; the relay's WebSockets carried ${after.bytes - before.bytes} bytes meanwhile (gossip, pings)`,
    )
    return [
      atMost(
        'activation bytes through a relay while a direct path exists',
        all.reduce((sum, one) => sum + one.bytesRelayed, 0),
        'bytes',
        0,
      ),
      // An answer of 32 tokens carries 32 rows of 2,304 bytes; what the relay sees must be far from it.
      atMost("relay's own traffic during the answer, as a share of the ring's", (after.bytes - before.bytes) / ring, 'share', 0.5),
    ]
  } finally {
    await fleet.close()
  }
}
