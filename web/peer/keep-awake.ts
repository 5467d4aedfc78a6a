// Two ways to keep a device from putting this tab to sleep, both off until the person turns them on: a wake lock (the screen stays on), and a tone that nobody hears,
// because browsers do not slow down a tab that plays sound.

/** Far below hearing at 30 Hz, above what Chromium takes for silence (−72 dB). */
const toneHertz = 30
const toneGain = 0.0006

export class KeepAwake {
  private wanted = false
  private lock: WakeLockSentinel | null = null
  private audio: AudioContext | null = null

  constructor() {
    // The browser takes the lock back from a hidden page, and does not return it.
    document.addEventListener('visibilitychange', () => {
      if (this.wanted && document.visibilityState === 'visible') void this.lockScreen()
    })
  }

  static readonly hasWakeLock = 'wakeLock' in navigator
  static readonly hasTone = typeof AudioContext !== 'undefined'

  private async lockScreen(): Promise<boolean> {
    try {
      this.lock = await navigator.wakeLock.request('screen')
      return true
    } catch {
      return false
    }
  }

  /** False when the browser refuses (a nearly empty battery, say). */
  async wake(on: boolean): Promise<boolean> {
    this.wanted = on
    if (on) return this.lockScreen()
    await this.lock?.release()
    this.lock = null
    return true
  }

  /** Call it from a click: browsers play nothing before one. */
  async tone(on: boolean): Promise<boolean> {
    if (!on) {
      await this.audio?.close()
      this.audio = null
      return true
    }
    if (this.audio) return true
    try {
      const audio = new AudioContext()
      const oscillator = new OscillatorNode(audio, { frequency: toneHertz })
      oscillator.connect(new GainNode(audio, { gain: toneGain })).connect(audio.destination)
      oscillator.start()
      await audio.resume()
      this.audio = audio
      return true
    } catch {
      return false
    }
  }

  async end(): Promise<void> {
    await this.wake(false)
    await this.tone(false)
  }
}
