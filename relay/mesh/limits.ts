// How much of a relay strangers may take, each with its reason.

/** What strangers may take from a relay. Refusals are the protocols' own: no reservation, resource limit, connection closed. */
export interface RelayLimits {
  /** Peers connected at once. One costs about a megabyte. */
  connectionsMax: number
  /** Peers that may be called through this relay. */
  reservationsMax: number
  /** A peer that is gone frees its place at once, one that hangs after so long. */
  reservationMs: number
  /** Of one relayed connection: an SDP exchange with its candidates takes 10 KiB and a second. Activations and shards must not fit. */
  relayedBytesMax: number
  relayedMsMax: number
  /** Relayed connections that one peer may begin in a minute. */
  relayedPerMinuteMax: number
  /** Private groups whose gossip is carried. */
  groupsMax: number
}

export const relayLimits: RelayLimits = {
  connectionsMax: 600,
  reservationsMax: 600,
  reservationMs: 10 * 60_000,
  relayedBytesMax: 64 << 10,
  relayedMsMax: 60_000,
  relayedPerMinuteMax: 60,
  groupsMax: 256,
}

export interface UpgradeLimits {
  /** WebSockets at once, from everywhere. */
  connectionsMax: number
  /** WebSockets at once from one address: a household or an office behind one. This machine's own are not counted: a proxy's visitors all come from there. */
  connectionsPerAddressMax: number
  /** New WebSockets a second from one address, after a burst of as many as it may have. */
  connectionsPerSecondMax: number
}

export const upgradeLimits: UpgradeLimits = { connectionsMax: 1000, connectionsPerAddressMax: 64, connectionsPerSecondMax: 5 }
