// The ways peers reach each other: WebSockets to relays and Node hosts, WebRTC through a relay's signalling to tabs, WebRTC without signalling to Node.
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { webRTC, webRTCDirect } from '@libp2p/webrtc'
import { webSockets } from '@libp2p/websockets'
import type { Libp2pInit } from 'libp2p'

export interface TransportOptions {
  /** STUN and TURN servers the operator named; none by default, since no third party shall learn who takes part. */
  iceServers?: { urls: string | string[]; username?: string; credential?: string }[]
  /** Options of webrtc-direct, in Node: where its certificate is kept. */
  direct?: { certificateDatastoreKey?: string; certificateKeychainName?: string; certificateLifespan?: number }
}

/** All transports. A relay leaves out `webrtc` (one peer connection costs Node tens of megabytes) and `circuit` (it needs no relay itself). */
export function meshTransports(options: TransportOptions = {}, only: { webrtc?: boolean; circuit?: boolean } = {}): NonNullable<Libp2pInit['transports']> {
  const rtcConfiguration = { iceServers: options.iceServers ?? [] }
  return [
    webSockets(),
    webRTCDirect({ rtcConfiguration, ...options.direct }),
    ...(only.webrtc === false ? [] : [webRTC({ rtcConfiguration })]),
    ...(only.circuit === false ? [] : [circuitRelayTransport({ reservationCompletionTimeout: 10_000 })]),
  ]
}
