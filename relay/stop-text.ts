// Cuts a stream of text at the first of some stop texts, holding back no more than could still become one.

export class StopText {
  private readonly stops: readonly string[]
  private held = ''
  /** A stop text has come; everything after it is dropped. */
  found = false

  constructor(stops: readonly string[]) {
    this.stops = stops
  }

  /** What may be shown now. */
  push(piece: string): string {
    if (this.found) return ''
    const text = this.held + piece
    const at = this.stops.map((stop) => text.indexOf(stop)).filter((index) => index >= 0)
    if (at.length > 0) {
      this.found = true
      this.held = ''
      return text.slice(0, Math.min(...at))
    }
    const keep = Math.max(0, ...this.stops.map((stop) => overlap(text, stop)))
    this.held = keep > 0 ? text.slice(-keep) : ''
    return keep > 0 ? text.slice(0, -keep) : text
  }

  /** What was held back, once nothing more comes. */
  end(): string {
    const rest = this.held
    this.held = ''
    return rest
  }
}

/** Characters at the end of `text` that begin `stop`. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length - 1); length > 0; length--) if (text.endsWith(stop.slice(0, length))) return length
  return 0
}
